"""Print the table of a run, as `ffnet table` does; a file, to be submitted as a job."""

from _environment import main

if __name__ == "__main__":
    main.run("table")
