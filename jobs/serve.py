"""Serve an exported net: the command `ffnet serve` as a file."""

from _environment import main

if __name__ == "__main__":
    main.run("serve")
