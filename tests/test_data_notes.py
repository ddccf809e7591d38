"""Notes about the data reach the user: from the commands and from Python, once."""

import argparse
import warnings
from pathlib import Path

import numpy as np
import pytest

import ffnet
import made_runs
from conftest import Job
from data_files import LABELS, N, loaded, refusal, savez, write
from ffnet.cli import again
from ffnet.errors import InputError
from ffnet.run import provenance
from ffnet.spec.study import Study

LEFT_OUT = "left out: column same, as all its values are equal"


def noted(folder: Path) -> Path:
    """Write a table with a column that is left out."""
    return write(folder / "own.parquet", same=["x"] * N)


def test_train_prints_the_notes(tmp_path: Path, job: Job) -> None:
    done = job("train", "--dataset", noted(tmp_path), "--epochs", 1, "--hidden-sizes", "[4]")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == LEFT_OUT
    assert done.stdout.count(LEFT_OUT) == 1


def test_confirm_and_audit_print_the_notes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = noted(tmp_path)
    study = Study.model_validate(
        {"data": {"dataset": str(path)}, "space": {"learning_rate": {"choice": [0.1, 0.2]}}}
    )
    about = provenance.about(loaded(path))
    made_runs.write(tmp_path / "run", study, *made_runs.trials(study, ["done", "done"]), **about)
    flags = argparse.Namespace(
        run=str(tmp_path / "run"), address="x:1", dataset=None, data_dir=None
    )

    class Nothing:
        def lines(self) -> list[str]:
            return ["the end"]

    assert again.with_run(flags, lambda run: None, lambda given: Nothing()) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [LEFT_OUT, "the end"]


def test_from_python_a_note_is_a_warning_at_the_callers_line(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ffnet.train(
            dataset=str(noted(tmp_path)), epochs=1, hidden_sizes=[4], out=str(tmp_path / "run")
        )
    told = [each for each in caught if LEFT_OUT in str(each.message)]
    assert [(each.filename, str(each.message)) for each in told] == [(__file__, f"own: {LEFT_OUT}")]


def test_a_study_from_python_warns_before_it_starts(tmp_path: Path) -> None:
    study = {"data": {"dataset": str(noted(tmp_path))},
             "space": {"learning_rate": {"choice": [0.1, 0.2]}}}  # fmt: skip
    (tmp_path / "out").write_text("no folder")
    with (
        pytest.warns(UserWarning, match=f"own: {LEFT_OUT}") as caught,
        pytest.raises(InputError, match="must be writable"),
    ):
        ffnet.tune(study, out=tmp_path / "out" / "run")
    assert caught[0].filename == __file__


def test_fields_about_columns_without_effect_are_told(tmp_path: Path) -> None:
    numbers = write(tmp_path / "own.parquet")
    assert loaded(numbers, imputation="median", max_categories=5).notes[-2:] == (
        "imputation has no effect, because no column of numbers or dates has a gap",
        "max_categories has no effect, because no column holds categories",
    )
    gap = np.where(np.arange(N) == 3, np.nan, np.arange(N) / 4)
    both = write(tmp_path / "own.parquet", a=gap, b=np.array(["u", "v"])[LABELS % 2])
    notes = loaded(both, imputation="median", max_categories=5).notes
    assert not any("no effect" in note for note in notes)
    savez(tmp_path / "own.npz", x=np.arange(2.0 * N).reshape(N, 2), y=LABELS)
    assert refusal(tmp_path / "own.npz", imputation="median").startswith("imputation must be left")
    assert "Given: 5" in refusal(tmp_path / "own.npz", max_categories=5)
