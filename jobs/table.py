"""Print the table of a run: the command `ffnet table` as a file, to submit it as a job."""

from _environment import main

if __name__ == "__main__":
    main.run("table")
