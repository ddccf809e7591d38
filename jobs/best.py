"""Print the best net of a run as TOML, as `ffnet best` does."""

from _environment import main

if __name__ == "__main__":
    main.run("best")
