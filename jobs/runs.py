"""List the runs in a folder, as `ffnet runs` does."""

from _environment import main

if __name__ == "__main__":
    main.run("runs")
