"""Train one net, as `ffnet train` does; a file, to be submitted as a job."""

from _environment import main

if __name__ == "__main__":
    main.run("train")
