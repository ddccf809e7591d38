"""`ffnet.compare`, which compares runs from Python. It needs neither Ray nor TensorFlow."""

from collections.abc import Sequence
from pathlib import Path

from ffnet.api.run import Run
from ffnet.report import compare as comparing
from ffnet.report.comparison import Comparison
from ffnet.run.folder import RunFolder


def compare(*runs: Run | str | Path, levels: Sequence[float] | None = None) -> Comparison:
    """Compare runs on the same data: which is better, how sure that is, and what each cost.

    Args:
        *runs: two or more different runs, each as a `Run`, a folder or a URI.
        levels: validation accuracies for which the time until a run had them is computed, each
            above 0 and at most 1. With None, the highest round ones that all runs and that any run
            reached.

    Returns:
        The comparison: `.lines()` in sentences, `.table()` as a PyArrow table, `.markdown()`, and
        `.report("compared.html")` writes a page with figures.

    Raises:
        InputError: a run cannot be read, or the runs do not have the same validation part.

    Example:
        >>> found = ffnet.compare("runs/asha", "runs/hyperband")
        >>> print(found.lines()[0])
        >>> found.table().to_pandas()
    """
    places = [run.place if isinstance(run, Run) else run for run in runs]
    return comparing.compare([RunFolder.existing(place) for place in places], levels)
