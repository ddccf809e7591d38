"""`python -m ffnet` is the command `ffnet`."""

from ffnet.cli.main import main

if __name__ == "__main__":
    main()
