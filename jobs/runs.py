"""List the runs in a folder: the command `ffnet runs` as a file."""

from _environment import main

if __name__ == "__main__":
    main.run("runs")
