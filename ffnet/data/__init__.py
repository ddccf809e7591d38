"""Data sets: `ffnet.data.load.load` finds, reads, checks, splits and standardises a data set."""
