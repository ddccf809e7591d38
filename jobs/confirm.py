"""Train the best configurations of a run again and test one: `ffnet confirm` as a file."""

from _environment import main

if __name__ == "__main__":
    main.run("confirm")
