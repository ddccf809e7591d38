"""What a resumed trial on a worker reports, tested without Ray."""

import os
import subprocess
import sys
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import ROOT
from ffnet.run.folder import RunFolder
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Tuning
from ffnet.spec.trial import TrialConfig
from ffnet.training.loop import Report
from ffnet.training.metrics import Score
from ffnet.tuning.driver import Folders
from ffnet.tuning.pulse import Pulse
from ffnet.tuning.worker import KEPT_BYTES, TrialWorker

NOW = datetime(2026, 11, 25, tzinfo=UTC)
SCORE = Score(9, 10, 0.4, balanced_accuracy=0.8, macro_f1=0.7, auc=0.95)


def report(epoch: int) -> Report:
    return Report(epoch * 10, epoch, 0.5, 0.5, SCORE, False, 1.0, 0.1, NOW, NOW)


def saved(number: int | None, epochs: int) -> list[dict[str, Any]]:
    """Return the reports of a checkpoint. In early versions reports do not name their trial."""
    own = {} if number is None else {"trial": number}
    return [{**own, "step": e * 10, "epoch": float(e)} for e in range(1, epochs + 1)]


def going_on(
    reports: list[dict[str, Any]],
    scheduler: Any = "asha",
    epochs: int = 4,
    tuning: Tuning | None = None,
) -> TrialWorker:
    """Return trial 3 on a worker, with the reports of its checkpoint."""
    trial: Any = TrialWorker.__new__(TrialWorker)
    config = TrialConfig(number=3, net=NetSpec(), training=Training(), epochs=epochs, seed=0)
    trial._tuning = tuning or Tuning(scheduler=scheduler)
    trial._pulse, trial._folder = Pulse(), RunFolder.at("run")
    trial.reset_config({"trial": config.model_dump()})

    def start() -> Any:
        trial._know(reports)
        return iter([report(e) for e in range(len(reports) + 1, epochs + 1)])

    trial._start, trial._place, trial._save = start, dict, lambda step: None
    return trial  # type: ignore[no-any-return]


def told(trial: TrialWorker) -> list[tuple[float, bool, bool, list[float]]]:
    """Return (epoch, whether it is repeated, whether it is the last, epochs of earlier reports)."""
    rows: list[tuple[float, bool, bool, list[float]]] = []
    while not rows or not rows[-1][2]:
        row = trial.step()
        assert row["status"] == "running", row
        earlier = [r["epoch"] for r in row.get("earlier", [])]
        rows.append((row["epoch"], row.get("again", False), row["done"], earlier))
    return rows


def test_a_new_trial_tells_each_report_once() -> None:
    assert told(going_on([])) == [(e, False, e == 4, []) for e in (1, 2, 3, 4)]


@pytest.mark.parametrize("number", [3, None])
def test_a_trial_that_goes_on_tells_its_last_report_again_before_it_trains(
    number: int | None,
) -> None:
    assert told(going_on(saved(number, 2))) == [
        (2, True, False, [1]),
        (3, False, False, []),
        (4, False, True, []),
    ]


def test_a_trial_that_had_trained_to_its_end_tells_so_and_trains_no_more() -> None:
    assert told(going_on(saved(3, 4))) == [(4, True, True, [1, 2, 3])]


def test_weights_of_another_trial_bring_none_of_its_reports() -> None:
    assert told(going_on(saved(7, 2), "pbt")) == [(3, False, False, []), (4, False, True, [])]
    mixed = [*saved(7, 1), *saved(3, 2)[1:]]  # it copied epoch 1 and trained epoch 2
    assert told(going_on(mixed, "pbt"))[0] == (2, True, False, [])


def test_weights_that_another_trial_had_trained_to_the_end_end_the_trial() -> None:
    trial = going_on(saved(7, 4), "pbt")
    row = trial.step()
    assert (row["trial"], row["epoch"], row["done"]) == (3, 4, True)


def test_ray_tunes_empty_folder_of_an_ended_trial_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # Ray goes into a trial's folder, and monkeypatch comes back
    trial: Any = going_on([])
    trial._logdir = str(tmp_path / "one")
    trial._stdout_context = trial._stderr_context = trial._stderr_logging_handler = None
    Path(trial.logdir).mkdir()
    config = {"trial": trial._config.model_dump()}
    for _ in range(2):  # the second time, the trial itself begins again
        assert trial.reset(dict(config), SimpleNamespace(trial_working_directory=tmp_path / "two"))
        assert [path.name for path in tmp_path.iterdir()] == ["two"]
    Folders().on_trial_complete(SimpleNamespace(local_path=str(tmp_path / "two")))
    assert [*tmp_path.iterdir()] == []


# --- trainers that a worker keeps --------------------------------------------------------------


def kept_after(sizes: dict[str, int], *used: str) -> list[str]:
    """Train structures in this order. Returns the bytes of those that the worker keeps."""
    trial: Any = TrialWorker.__new__(TrialWorker)
    trial._trainers = OrderedDict()
    for name in used:
        trial._trainers[name] = SimpleNamespace(held_bytes=lambda size=sizes[name]: size)
        trial._trainers.move_to_end(name)
        trial._forget_trainers()
    return list(trial._trainers)


def test_a_worker_keeps_the_eight_structures_that_it_trained_last() -> None:
    sizes = dict.fromkeys("abcdefghij", 1)
    assert kept_after(sizes, *"abcdefgh") == list("abcdefgh")
    assert kept_after(sizes, *"abcdefgh", "a", "i") == list("cdefghai")
    assert kept_after(sizes, *"abcdefghij") == list("cdefghij")


def test_a_worker_keeps_fewer_when_they_hold_much_memory_but_always_the_latest() -> None:
    most = KEPT_BYTES
    assert kept_after({"a": most // 2, "b": most // 2, "c": 1}, *"abc") == list("abc")
    assert kept_after({"a": most // 2, "b": most // 2 + 1, "c": 1}, *"abc") == list("bc")
    assert kept_after({"a": 1, "b": 1, "c": 9 * most}, *"abc") == list("abc")
    assert kept_after({"a": 9 * most, "b": 1}, *"ab") == ["b"]


STAND_IN = """
try:
    import matplotlib
except ImportError:
    matplotlib = None
"""


def test_tensorflow_is_imported_without_matplotlib_which_can_be_imported_later(
    tmp_path: Path,
) -> None:
    (tmp_path / "tensorflow.py").write_text(STAND_IN)
    (tmp_path / "matplotlib.py").write_text("")
    program = (
        "from ffnet.tuning.lean import import_tensorflow; import_tensorflow()\n"
        "import sys; found = sys.modules['tensorflow'].matplotlib, 'matplotlib' in sys.modules\n"
        "import matplotlib; import_tensorflow(); print(*found, sys.modules['matplotlib'].__name__)"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["None", "False", "matplotlib"]
