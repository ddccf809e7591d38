"""A damaged checkpoint is noticed, and the checkpoint before it is kept."""

import io
import json
import random
import shutil
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import tensorflow as tf

from ffnet.errors import InputError
from ffnet.run import checkpoints
from ffnet.run.folder import RunFolder
from ffnet.run.storage import File
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Tuning
from ffnet.spec.trial import TrialConfig
from ffnet.tuning.worker import TrialWorker

NOW = "2026-01-01T00:00:00+00:00"
REPORTS = [
    {
        "step": 40, "epoch": 1.0, "val_loss": 0.5, "node": "here:1", "worker": 7,
        "worker_memory": 9, "train_seconds": 0.5, "evaluate_seconds": 0.1, "started_at": NOW,
        "reported_at": NOW,
    }
]  # fmt: skip


def variables(seed: int = 0) -> list[tf.Variable]:
    draw = np.random.default_rng(seed)
    shapes: list[tuple[int, ...]] = [(20, 30), (30,), (30, 3), (3,)]
    return [tf.Variable(draw.normal(size=shape).astype(np.float32)) for shape in shapes]


def values(of: list[tf.Variable]) -> list[Any]:
    return [variable.numpy().tolist() for variable in of]


@pytest.fixture(scope="module")
def whole() -> bytes:
    """Return the bytes of a checkpoint of today's version."""
    file = io.BytesIO()
    checkpoints.write(file, 40, REPORTS, variables())
    return file.getvalue()


@pytest.fixture(scope="module")
def old() -> bytes:
    """Return the bytes of a checkpoint of version 1, which has no checksum."""
    file = io.BytesIO()
    np.save(file, 40)
    np.save(file, json.dumps(REPORTS))
    for variable in variables():
        np.save(file, variable.numpy())
    return file.getvalue()


def changed(content: bytes, draw: random.Random) -> bytes:
    """Change one to sixteen bytes, scattered or in a row, or cut or double a part."""
    data = bytearray(content)
    kind = draw.choice(("places", "places", "row", "cut", "end", "double"))
    at = draw.randrange(len(data))
    if kind == "places":
        for _ in range(draw.randint(1, 16)):
            data[draw.randrange(len(data))] ^= draw.randint(1, 255)
    elif kind == "row":
        data[at : at + 16] = draw.randbytes(16)
    elif kind == "cut":
        del data[at : at + draw.randint(1, 16)]
    elif kind == "end":
        del data[at:]
    else:
        data[at:at] = data[at : at + 16]
    return bytes(data)


def test_what_was_written_is_read(whole: bytes, old: bytes) -> None:
    for content in (whole, old):
        saved, other = checkpoints.parse(content), variables(seed=1)
        saved.assign(other)
        assert (saved.step, saved.reports) == (40, REPORTS)
        assert values(other) == values(variables())


def test_of_a_thousand_changed_checkpoints_none_is_read(whole: bytes) -> None:
    draw = random.Random(0)
    for _ in range(1000):
        data = changed(whole, draw)
        if data == whole:
            continue
        with pytest.raises(InputError):
            checkpoints.parse(data)


def test_an_old_one_that_is_damaged_is_refused_or_has_its_shapes_and_finite_numbers(
    old: bytes,
) -> None:
    draw, refused = random.Random(0), 0
    for _ in range(1000):
        other = variables(seed=1)
        try:
            checkpoints.parse(changed(old, draw)).assign(other)
        except InputError:
            refused += 1
        assert all(np.isfinite(variable.numpy()).all() for variable in other)
    assert refused > 300


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"ffnet checkpoint 3, CRC-32 00000000, 00000000000000000000 bytes\n",
        b"ffnet checkpoint 2, CRC-32 00000000, 00000000000000000000 bytes\n",
        b"\x93NUMPY\x01\x00\xff\xff{'descr': '<f4', ",
        b"\x93NUMPY\x01\x00\x40\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9999,), }\n",
        b"\x93NUMPY\x01\x00\x36\x00{'descr': '|O', 'fortran_order': False, 'shape': (), }\n",
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(content: bytes) -> None:
    with pytest.raises(InputError):
        checkpoints.parse(content)


def test_pickled_objects_are_never_loaded() -> None:
    file = io.BytesIO()
    np.save(file, 40)
    np.save(file, json.dumps([]))
    np.save(file, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="something other than arrays"):
        checkpoints.parse(file.getvalue())


def test_weights_of_another_net_are_refused_and_change_nothing(whole: bytes) -> None:
    others = [*variables(seed=1)[:3], tf.Variable(np.zeros(4, np.float32))]
    before = values(others)
    with pytest.raises(InputError, match=r"must be \(4,\), float32. Given: \(3,\)"):
        checkpoints.parse(whole).assign(others)
    assert values(others) == before
    with pytest.raises(InputError, match=r"holds 4 variables\. Needed: 5"):
        checkpoints.parse(whole).assign([*variables(), tf.Variable(0.0)])


def _fail(file: IO[bytes]) -> None:
    file.write(b"half")
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("links", [True, False])
def test_the_one_before_is_kept_and_the_last_is_there_at_every_moment(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:  # as on file systems that have none
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("no")))
    file, before = File(str(tmp_path / "1.npy")), File(str(tmp_path / "1-before.npy"))
    for step in (1, 2, 3):
        with file.replacing(keep=before) as opened:
            checkpoints.write(opened, step, [], variables())
            if links and step > 1:
                assert checkpoints.load(file).step == step - 1
    assert (checkpoints.load(file).step, checkpoints.load(before).step) == (3, 2)
    with pytest.raises(OSError, match="No space"), file.replacing(keep=before) as opened:
        _fail(opened)
    assert (checkpoints.load(file).step, checkpoints.load(before).step) == (3, 2)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_file_is_named(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "1.npy").write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"1\.npy: the checkpoint is damaged \(it has"):
        checkpoints.load(File(str(tmp_path / "1.npy")))
    shutil.rmtree(tmp_path)
    with pytest.raises(OSError, match=r"1\.npy"):  # not damaged: not there
        checkpoints.load(File(str(tmp_path / "1.npy")))


# --- a trial that goes on ------------------------------------------------------------------------


@pytest.fixture
def trial(tmp_path: Path) -> TrialWorker:
    """Return a worker's trial, without Ray, that has written two checkpoints."""
    trial = TrialWorker.__new__(TrialWorker)
    trial._folder, trial._tuning = RunFolder.at(tmp_path), Tuning()
    config = TrialConfig(number=3, net=NetSpec(), training=Training(), epochs=1, seed=0)
    trial.reset_config({"trial": config.model_dump()})
    for step in (40, 80):
        with trial._checkpoint.replacing(keep=trial._before) as file:
            checkpoints.write(file, step, REPORTS, variables(seed=step))
    return trial


class Trainer:
    def __init__(self) -> None:
        self.variables = variables(seed=1)


def damage(file: File) -> None:
    content = bytearray(Path(file.place).read_bytes())
    content[len(content) // 2] ^= 4
    Path(file.place).write_bytes(content)


def restored(trial: TrialWorker) -> tuple[int, bool]:
    """Return the step from which the trial continues, and whether its weights match the step."""
    trainer: Any = Trainer()
    step = trial._restore(trainer)
    return step, values(trainer.variables) == values(variables(seed=step or 1))


def test_a_trial_goes_on_from_its_last_checkpoint(trial: TrialWorker) -> None:
    assert restored(trial) == (80, True)
    assert trial._note is None


def test_in_place_of_a_damaged_checkpoint_the_one_before_is_taken_with_a_note(
    trial: TrialWorker,
) -> None:
    damage(trial._checkpoint)
    assert restored(trial) == (40, True)
    assert "00003.npy: the checkpoint is damaged (its content" in str(trial._note)


def test_after_a_kill_between_the_two_the_one_before_is_taken(trial: TrialWorker) -> None:
    trial._checkpoint.delete()  # where the file system has no links
    assert restored(trial) == (40, True)


def test_a_trial_of_which_both_are_damaged_begins_again(trial: TrialWorker) -> None:
    damage(trial._checkpoint)
    damage(trial._before)
    assert restored(trial) == (0, True)
    assert "00003-before.npy: the checkpoint is damaged" in str(trial._note)
