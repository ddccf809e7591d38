"""ffnet tunes feed-forward neural networks: Ray Tune schedules, TensorFlow trains, tables keep.

    import ffnet

    run = ffnet.tune("digits")                    # a study: a file, a name, a dict
    run.trials()                                  # a PyArrow table; .to_pandas() where pandas is
    net = run.load()                              # the best trial's net
    net.predict(x)                                # raw examples in, classes out
    ffnet.train(hidden_sizes=[256], epochs=5)     # one net without a tuner
    ffnet.Run("runs/digits").best()               # a run that is there

What is named here is imported when it is first used: neither Ray nor TensorFlow is before it is
needed.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'ffnet' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
