"""Shows the notes about a data set to a caller from Python."""

import warnings

from ffnet.data.dataset import DataSet


def warn(data: DataSet, frames: int) -> None:
    """Give each note about the data as a warning, at the line of the caller of ffnet.

    Args:
        data: the data set.
        frames: how many functions lie between this one and the caller's line.
    """
    for note in data.notes:
        warnings.warn(f"{data.name}: {note}", stacklevel=frames + 2)
