"""Compare the speed of ffnet and other tools: the command `ffnet bench` as a file."""

from _environment import main

if __name__ == "__main__":
    main.run("bench")
