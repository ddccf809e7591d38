"""Train pruned trials of a run to the end: the command `ffnet audit` as a file."""

from _environment import main

if __name__ == "__main__":
    main.run("audit")
