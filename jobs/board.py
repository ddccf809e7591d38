"""Show a run in TensorBoard: the command `ffnet board` as a file."""

from _environment import main

if __name__ == "__main__":
    main.run("board")
