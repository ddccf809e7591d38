"""Print the best net of a run as TOML: the command `ffnet best` as a file."""

from _environment import main

if __name__ == "__main__":
    main.run("best")
