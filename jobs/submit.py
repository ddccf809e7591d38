"""Run a job on a cluster, as `ffnet submit` does."""

from _environment import main

if __name__ == "__main__":
    main.run("submit")
