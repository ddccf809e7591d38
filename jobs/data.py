"""Show what ffnet understands of a data set: the command `ffnet data` as a file."""

from _environment import main

if __name__ == "__main__":
    main.run("data")
