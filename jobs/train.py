"""Train a net: the command `ffnet train` as a file, to submit it as a job."""

from _environment import main

if __name__ == "__main__":
    main.run("train")
