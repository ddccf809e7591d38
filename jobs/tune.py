"""Run a study, as `ffnet tune` does; a file, to be submitted as a job."""

from _environment import main

if __name__ == "__main__":
    main.run("tune")
