"""Show a run in TensorBoard, as `ffnet board` does."""

from _environment import main

if __name__ == "__main__":
    main.run("board")
