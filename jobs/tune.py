"""Run a study: the command `ffnet tune` as a file, to submit it as a job."""

from _environment import main

if __name__ == "__main__":
    main.run("tune")
