"""Imports TensorFlow in a worker, without what a worker does not use."""

import sys


def import_tensorflow() -> None:
    """Import TensorFlow without matplotlib, which Keras imports for plots if it is installed.

    This saves 0.3 s and 17 MB of memory in each worker. Call it only in a process of ffnet's own:
    Keras's plots do not work there. A later import of matplotlib works.
    """
    if "matplotlib" not in sys.modules:
        sys.modules["matplotlib"] = None  # type: ignore[assignment]  # as if it were not installed
        try:
            import tensorflow  # noqa: F401
        finally:
            del sys.modules["matplotlib"]
