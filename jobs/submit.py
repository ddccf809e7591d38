"""Run a job on a cluster: the command `ffnet submit` as a file."""

from _environment import main

if __name__ == "__main__":
    main.run("submit")
