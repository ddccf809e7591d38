"""ffnet tunes feed-forward neural networks with Ray Tune, TensorFlow and Parquet tables.

    import ffnet

    run = ffnet.tune("digits")                    # a study: a file, a name or a dict
    run.trials()                                  # a PyArrow table; .to_pandas() needs pandas
    net = run.load()                              # the best trial's net
    net.predict(x)                                # raw examples in, classes out
    ffnet.train(hidden_sizes=[256], epochs=5)     # one net without a tuner
    ffnet.Run("runs/digits").best()               # a run from before
    ffnet.compare("runs/a", "runs/b").lines()     # which run is better, and how sure that is

Each name is imported when it is first used, and Ray and TensorFlow only when they are needed.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ffnet.api.compare import compare
    from ffnet.api.run import Run
    from ffnet.api.studies import tune
    from ffnet.api.training import train
    from ffnet.errors import InputError, RunError
    from ffnet.spec.net import NetSpec, Training
    from ffnet.spec.study import OneNet, Study

_PLACES = {
    "tune": "ffnet.api.studies",
    "train": "ffnet.api.training",
    "Run": "ffnet.api.run",
    "compare": "ffnet.api.compare",
    "Study": "ffnet.spec.study",
    "OneNet": "ffnet.spec.study",
    "NetSpec": "ffnet.spec.net",
    "Training": "ffnet.spec.net",
    "InputError": "ffnet.errors",
    "RunError": "ffnet.errors",
}

__all__ = [
    "InputError",
    "NetSpec",
    "OneNet",
    "Run",
    "RunError",
    "Study",
    "Training",
    "compare",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'ffnet' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
