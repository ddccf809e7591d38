"""One net without a tuner, as the lesson trains it."""

import re
from pathlib import Path

import pytest

from conftest import Job


def test_the_lessons_barebones_run(job: Job, real_data: Path) -> None:
    """Three seeds, as the last steps of SGD at this rate move the accuracy by a hundredth."""
    correct = []
    for seed in range(3):
        done = job(
            "train", "--preset", "cifar10-barebones", "--data-dir", real_data, "--seed", seed
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        lines = re.findall(
            r"^Iteration (\d+), loss = (\d+\.\d+)\nGot (\d+) / 1000 correct \((.*)%\)$",
            done.stdout,
            re.MULTILINE,
        )
        assert [int(line[0]) for line in lines] == [*range(0, 701, 100), 765]
        assert all(float(line[3]) == int(line[2]) / 10 for line in lines)
        correct.append(int(lines[-1][2]))
    assert sum(correct) / 3 >= 450


def test_flags_override_the_preset(job: Job, blobs: Path) -> None:
    done = job(
        "train", "--preset", "cifar10-barebones", "--dataset", blobs, "--hidden-sizes", "[16, 8]",
        "--report-steps", 10, "--epochs", 3, "--learning-rate", 0.1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("blobs: 840/180/180")
    match = re.search(r"validation accuracy (0\.\d+|1\.0+) after 3 epochs", done.stdout)
    assert match
    assert float(match[1]) > 0.8


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--learning-rate", "nan"], "finite number. Given: nan"),
        (["--hidden-sizes", "[4, 0]"], "greater than or equal to 1. Given: 0"),
        (["--epochs", "many"], "valid integer. Given: 'many'"),
        (["--validation", "5000"], "validation must leave examples"),
    ],
)
def test_bad_flags_are_one_line(job: Job, flags: list[str], words: str) -> None:
    done = job("train", *flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_loss_that_diverges_says_so(job: Job, blobs: Path) -> None:
    done = job("train", "--dataset", blobs, "--learning-rate", "1e30")
    assert done.returncode == 1
    assert "the loss is no longer finite: lower the learning rate" in done.stdout
