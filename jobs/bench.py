"""Time ffnet beside its peers, as `ffnet bench` does."""

from _environment import main

if __name__ == "__main__":
    main.run("bench")
