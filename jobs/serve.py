"""Serve an exported net, as `ffnet serve` does."""

from _environment import main

if __name__ == "__main__":
    main.run("serve")
