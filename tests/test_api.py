"""ffnet from Python, in scripts and notebooks; it leaves their process as it was."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import nbclient
import nbformat
import numpy as np
import pyarrow as pa
import pytest

import ffnet
from conftest import RunningRay
from ffnet.data.load import load
from ffnet.spec.sections import Data

pytestmark = pytest.mark.filterwarnings("ignore:.*alone tells the class:UserWarning")  # a note

SPACE = {"learning_rate": {"log_uniform": [0.05, 1.0]}}
BUDGET = {"trials": 3, "epochs": 2, "concurrency": 1}
STUDY = {"space": SPACE, "net": {"hidden_sizes": 16}, "budget": BUDGET}

TINY = ffnet.Study(net={"dropout": 1e-60, "hidden_sizes": 8}, space=SPACE)

STATE = """
import os, signal, sys

def state():
    handlers = [signal.getsignal(number) for number in range(1, 32)]
    files = [os.fstat(number).st_ino for number in (1, 2)]
    return dict(os.environ), handlers, sys.stdout, sys.stderr, sys.excepthook, files, os.getcwd()
"""

NOTEBOOK: dict[str, Any] = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}}
CODE: dict[str, Any] = {
    "cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def frame() -> Any:
    """Make a table with named columns and three classes that one feature separates."""
    x = np.random.default_rng(0).normal(size=(300, 4))
    species = np.array(["setosa", "versicolor", "virginica"])[np.digitize(x[:, 0], [-0.5, 0.5])]
    return pa.table({f"f{i}": x[:, i] for i in range(4)} | {"species": species})


@pytest.fixture(scope="module")
def fit(frame: Any, tmp_path_factory: pytest.TempPathFactory) -> ffnet.Run:
    return ffnet.train(
        hidden_sizes=[32], learning_rate=0.5, batch_size=16, epochs=30, data=frame,
        target="species", out=tmp_path_factory.mktemp("fit") / "run",
    )  # fmt: skip


def test_the_import_loads_nothing_that_takes_time() -> None:
    heavy = "{'tensorflow', 'ray', 'pyarrow', 'pydantic', 'numpy'}"
    code = f"import ffnet, sys; assert not {heavy} & sys.modules.keys(), dir(ffnet)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_documented() -> None:
    for name in ffnet.__all__:
        assert getattr(ffnet, name).__doc__
        assert name in dir(ffnet)
    with pytest.raises(AttributeError, match="has no attribute 'tunes'"):
        _ = ffnet.tunes


def test_one_net_learns_a_table_predicts_its_labels_and_is_exported(
    fit: ffnet.Run, frame: Any, tmp_path: Path
) -> None:
    assert fit.trials().column("status").to_pylist() == ["done"]
    assert fit.epochs().num_rows == 30
    assert isinstance(fit.study, ffnet.OneNet)
    assert fit.study.net.hidden_sizes == (32,)
    best = fit.best()
    assert best is not None
    assert best["best_val_accuracy"] > 0.9
    x = np.column_stack([frame.column(f"f{i}") for i in range(4)])
    net = fit.load()
    predicted = net.predict(x)
    assert (predicted == np.array(frame.column("species"))).mean() > 0.9
    probabilities = net.probabilities(x)
    assert probabilities.shape == (300, 3)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(300), abs=1e-5)
    assert (np.array(net.classes)[probabilities.argmax(axis=1)] == predicted).all()
    assert net.predict(x[:0]).shape == (0,)
    card = fit.export(tmp_path / "species")
    assert (tmp_path / "species" / str(card["version"]) / "saved_model.pb").exists()
    assert (card["trial"], card["val_accuracy"]) == (0, best["best_val_accuracy"])


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((2, 3)), r"must have the shape \[N, 4\]. Given: \(2, 3\)"),
        (np.full((1, 4), np.nan), "must be finite numbers"),
        ([["a", "b", "c", "d"]], "must be numbers"),
        (np.zeros(4), r"must have the shape \[N, 4\]"),
    ],
)
def test_examples_that_the_net_cannot_take_are_refused(fit: ffnet.Run, x: Any, words: str) -> None:
    with pytest.raises(ffnet.InputError, match=words):
        fit.load().predict(x)


def test_pixels_are_whole_numbers_and_predictions_are_the_digits(tmp_path: Path) -> None:
    run = ffnet.train(hidden_sizes=16, epochs=5, learning_rate=0.2, out=tmp_path / "run")
    test, net = load(Data()).test, run.load(0)
    assert test is not None
    assert (net.predict(test.x.astype(float)) == test.y).mean() > 0.7
    with pytest.raises(ffnet.InputError, match=r"whole numbers from 0 to 255. Given: 0.5"):
        net.predict(np.full((1, 8, 8), 0.5))
    with pytest.raises(ffnet.InputError, match=r"the trial must be one of the run's 1 trials"):
        run.load(7)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ffnet.train(hiden_sizes=[8]), r"hiden_sizes \(did you mean hidden_sizes\?"),
        (lambda: ffnet.train(epochs=0), "greater than or equal to 1"),
        (lambda: ffnet.train(cast(Any, 3)), "a net is a path, a name, a dict"),
        (lambda: ffnet.train(device="tpu"), "device must be cpu or gpu. Given: tpu"),
        (lambda: ffnet.tune("digit"), r"did you mean digits\?"),
        (lambda: ffnet.tune({"spce": {}}), r"unknown key 'spce'.*did you mean space"),
        (lambda: ffnet.tune({}), "the search space is empty"),
        (lambda: ffnet.tune(STUDY, resume=True), "resume needs out"),
        (lambda: ffnet.tune(STUDY, retry_failed=True), "retry_failed needs resume"),
        (lambda: ffnet.tune(cast(Any, ["digits"])), "a study is a path, a name, a dict"),
        (lambda: ffnet.tune("mnist", data=([[1.0]], [1])), "dataset must be left out"),
        (lambda: ffnet.tune(STUDY, target=""), "data: target: .* at least 1"),
        (lambda: ffnet.Run("/nowhere"), "is not a run"),
        (lambda: ffnet.Study(**cast(Any, {"spce": {}})), "spce.*did you mean space"),
        (lambda: ffnet.Study(net={"dropout": 2}, space=SPACE), "^net.dropout.*Given: 2"),
        (lambda: ffnet.tune(TINY), "dropout.*Given: 1e-60"),
        (lambda: ffnet.OneNet(epochs=0), "^epochs: .*greater than or equal to 1. Given: 0"),
        (lambda: ffnet.NetSpec(hidden_sizes=[0]), "^hidden_sizes.0: .*Given: 0"),
        (lambda: ffnet.Training(optimizer="adma"), r"^optimizer: .*\(did you mean adam\?\)"),
    ],
)  # fmt: skip
def test_bad_input_is_an_exception_with_the_rule(
    call: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ffnet.InputError, match=words):
        call()
    assert list(tmp_path.iterdir()) == []


def test_a_net_that_diverges_is_an_error_that_keeps_its_reports(tmp_path: Path) -> None:
    with pytest.raises(ffnet.RunError, match="no longer finite"):
        ffnet.train(hidden_sizes=8, learning_rate=1e30, epochs=3, out=tmp_path / "run")
    assert ffnet.Run(tmp_path / "run").trials().column("status").to_pylist() == ["diverged"]


@pytest.mark.slow
def test_a_ray_that_the_script_has_initialised_is_used_and_left(
    running_ray: RunningRay, tmp_path: Path
) -> None:
    script = f"""{STATE}
import numpy as np, ray
if __name__ == "__main__":
    ray.init(address={running_ray.address!r})
    import ffnet
    x = np.random.default_rng(0).normal(size=(200, 3))
    before = state()
    run = ffnet.tune({STUDY!r}, data=(x, x[:, 0] > 0), out={str(tmp_path / "run")!r})
    assert state() == before
    assert ray.is_initialized() and ray.get(ray.put(7)) == 7
    assert run.trials().num_rows == 3 and run.study.data.dataset == "given"
    try:
        ffnet.tune({STUDY!r}, address="127.0.0.1:1", out={str(tmp_path / "other")!r})
    except ffnet.InputError as error:
        print(error)
    ray.shutdown()
"""
    path = tmp_path / "script.py"
    path.write_text(script)
    environment = os.environ | running_ray.environment
    done = subprocess.run(
        [sys.executable, path], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "given: 140/30/30 train/validation/test" in done.stdout
    assert "connected to a Ray already" in done.stdout


@pytest.mark.slow
def test_a_notebook_runs_a_study_and_is_afterwards_as_before(tmp_path: Path) -> None:
    """Do what a user does: run a study, read its table, load its best net, predict."""
    sources = [
        f"{STATE}\nimport ffnet\nbefore = state()",
        f"run = ffnet.tune({STUDY!r}, out='run')",
        "assert state() == before",
        "frame = run.trials().to_pandas()\nframe[['trial', 'status', 'best_val_accuracy']]",
        "import numpy\nrun.load().predict(numpy.zeros((2, 8, 8))).shape",
        "assert state() == before",
    ]
    cells = [CODE | {"source": source} for source in sources]
    notebook: Any = cast(Any, nbformat.from_dict)(NOTEBOOK | {"cells": cells})
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown = "".join(
        output.get("text", "") + str(output.get("data", ""))
        for cell in notebook.cells
        for output in cell.outputs
    )
    assert "3 trials of up to 2 epochs" in shown
    assert "best_val_accuracy" in shown
    assert "(2,)" in shown
