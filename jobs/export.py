"""Hand on the net of a run, as `ffnet export` does; a file, to be submitted as a job."""

from _environment import main

if __name__ == "__main__":
    main.run("export")
