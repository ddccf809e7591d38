"""Export the net of a run: the command `ffnet export` as a file, to submit it as a job."""

from _environment import main

if __name__ == "__main__":
    main.run("export")
