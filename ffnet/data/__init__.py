"""Data sets: `load(Data(...))` finds, reads, checks, splits and measures one."""

from ffnet.data.dataset import DataSet, Part
from ffnet.data.load import load

__all__ = ["DataSet", "Part", "load"]
