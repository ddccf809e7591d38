"""Exported ensembles: one model that answers with the mean of its nets' probabilities."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import ffnet
from conftest import Job
from ffnet.api import one_net
from ffnet.data.dataset import DataSet
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run import checkpoints, provenance, storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.hold import held
from ffnet.run.writer import Writer
from ffnet.spec.sections import Data, Tuning
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.spec.validation import validated
from ffnet.training import loop
from ffnet.training.device_data import DeviceData
from ffnet.training.ensemble import Answers, select
from ffnet.training.trainer import Trainer
from test_serve import Server
from test_table_rows import as_rows, asked, cells, write

Values = dict[str, Any]

NETS: Sequence[Values] = (
    {"hidden_sizes": [16], "embedding_sizes": [4, 0, 0]},
    {"hidden_sizes": [8, 8], "batch_norm": True, "activation": "silu"},
    {
        "hidden_sizes": [6, 6], "number_embedding": "plr", "layer_norm": True, "residual": True,
        "learning_rate": 0.003,
    },
    {"hidden_sizes": [12], "embedding_sizes": [2], "api": "functional"},
)  # fmt: skip


def study_run(place: Path, data: DataSet, section: Values, nets: Sequence[Values]) -> ffnet.Run:
    """Write the run of a study with these nets, without Ray."""
    study = validated(Study, {"data": section, "space": {"batch_size": {"choice": [32]}}}, "test")
    with held(RunFolder.at(place)) as hold:
        hold.folder.begin()
        document = provenance.new_study_json(study.resolved(), data, threads=1)
        storage.write_json(hold.folder.study, document)
        writer = Writer(hold, study.tuning)
        for number, net in enumerate(nets):
            fields = study.net.model_dump() | study.training.model_dump() | net
            config = TrialConfig.of(fields | {"batch_size": 32}, number, 2, 100 + number)
            trainer = Trainer(DeviceData(data), config)
            trainer.initialize(config)
            reports = loop.train(trainer, config)
            for _ in one_net.trained(writer, study, config, trainer, reports):  # type: ignore[arg-type]
                pass
        writer.finish("", "")
    return ffnet.Run(place)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ffnet.Run:
    """Train four nets of different structures on a table with gaps, categories and dates."""
    folder = tmp_path_factory.mktemp("ensemble")
    (folder / "people").mkdir()
    for part, rows, jobs in (("train", 600, "abcdex"), ("validation", 200, "abcdefx")):
        write(folder / "people" / f"{part}.csv", rows, len(part), jobs)
    write(folder / "people" / "test.csv", 100, 9, "abfx")
    section = {"dataset": str(folder / "people"), "max_categories": 3}
    data = load(validated(Data, section, "test"))
    return study_run(folder / "run", data, section, NETS)


def copied(run: ffnet.Run, to: Path) -> ffnet.Run:
    return ffnet.Run(shutil.copytree(run.place, to))


def answer(model: Path, rows: list[Values]) -> Any:
    from ffnet.serving.model import Model

    predictions = asked(Model(model / "1"), {"instances": rows})["predictions"]
    return np.array([each["probabilities"] for each in predictions], np.float32)


def test_the_model_gives_the_mean_of_the_probabilities_of_the_single_exports(
    run: ffnet.Run, tmp_path: Path
) -> None:
    card = run.export(tmp_path / "all", ensemble=7)
    rows = as_rows(card, cells(run))
    draws = {member["trial"]: member["draws"] for member in card["members"]}
    assert len(draws) > 1
    alone = []
    for trial in draws:
        run.export(tmp_path / f"t{trial}", trial=trial)
        alone.append(answer(tmp_path / f"t{trial}", rows))
    expected = np.average(alone, axis=0, weights=[*draws.values()])
    found = answer(tmp_path / "all", rows)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    labels = np.array([["poor", "rich"].index(row["target"]) for row in cells(run)])
    assert card["val_accuracy"] == (found.argmax(axis=1) == labels).mean()
    loss = -np.log(found[np.arange(len(labels)), labels]).mean()
    assert card["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert card["measured_again"] == {
        "val_accuracy": card["val_accuracy"],
        "val_loss": pytest.approx(card["val_loss"], rel=1e-5),
    }


def test_the_members_are_those_of_the_greedy_selection(run: ffnet.Run) -> None:
    rows = cells(run)
    labels = np.array([["poor", "rich"].index(row["target"]) for row in rows])
    kinds = {"age (years)": float, "self": float}
    given = [{n: kinds.get(n, str)(v) if v else None for n, v in row.items()} for row in rows]
    nets = [
        Answers.of(np.log(run.load(trial).probabilities(given).astype(np.float64)), labels)
        for trial in range(4)
    ]
    draws = select(nets, Tuning(), 7)
    expected = {trial: times / sum(draws) for trial, times in enumerate(draws) if times}
    ensemble = run.load(ensemble=7)
    assert ensemble.weights == expected
    assert (ensemble.trial, ensemble.epoch) == (None, None)
    probabilities = ensemble.probabilities(given)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    names = np.array(["poor", "rich"])[probabilities.argmax(axis=1)]
    assert (ensemble.predict(given) == names).all()
    assert run.load(2).weights == {2: 1.0}


def test_the_card_has_the_members_with_their_own_figures(run: ffnet.Run, tmp_path: Path) -> None:
    card, trials = run.export(tmp_path / "all", ensemble=5), run.trials().to_pylist()
    assert json.loads(json.dumps(card)) == json.loads((tmp_path / "all/card.json").read_text())
    assert sum(member["weight"] for member in card["members"]) == pytest.approx(1)
    assert {"trial", "seed", "epochs", "hyperparameters"}.isdisjoint(card)
    assert card["test_accuracy"] is None
    for member in card["members"]:
        row = trials[member["trial"]]
        assert member["val_accuracy"] == row["best_val_accuracy"]
        assert member["measured_again"]["val_accuracy"] == row["best_val_accuracy"]
        assert [*member["hyperparameters"]["hidden_sizes"]] == row["hidden_sizes"]
        assert (member["seed"], member["epochs"]) == (row["seed"], row["best_val_accuracy_epoch"])
    assert card["val_accuracy"] >= max(row["best_val_accuracy"] for row in trials)
    assert "from 4 kept nets, the best by val_accuracy" in card["chosen"]
    assert card["note"].startswith("the ensemble was chosen on the validation part")


def test_the_command_says_the_weights_and_writes_the_next_version(
    run: ffnet.Run, tmp_path: Path, call_tensorflow: Job
) -> None:
    out = tmp_path / "people"
    assert call_tensorflow("export", run.place, "--out", out).returncode == 0
    done = call_tensorflow("export", run.place, "--ensemble", 5, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    *members, chosen, measured, where = done.stdout.splitlines()
    card = json.loads((out / "card.json").read_text())
    assert [line.split(":")[0] for line in members] == [
        f"trial {m['trial']}" for m in card["members"]
    ]
    assert chosen == f"ensemble: {card['chosen']}"
    assert f"measured again: {card['val_accuracy']:.4f}" in measured
    assert where == f"people, version 2: {out / '2'}"
    assert {path.name for path in out.iterdir()} == {"1", "2", "card.json"}


def damage(file: storage.File) -> None:
    content = bytearray(Path(file.place).read_bytes())
    content[-1] ^= 1
    Path(file.place).write_bytes(content)


def test_damaged_nets_are_left_out_and_the_model_says_so(run: ffnet.Run, tmp_path: Path) -> None:
    best = (run.best() or {})["trial"]
    other = copied(run, tmp_path / "run")
    folder = RunFolder.existing(other.place)
    files = sorted(Path(other.place, "checkpoints").glob(f"{best:05d}*.npy"))
    for file in files:
        damage(storage.File(str(file)))
    card = other.export(tmp_path / "model", ensemble=5)
    assert best not in [member["trial"] for member in card["members"]]
    assert f"trial {best} is left out: {files[0]}: the checkpoint is damaged (" in card["note"]
    assert "from 3 kept nets" in card["chosen"]
    for path in Path(other.place, "checkpoints").iterdir():
        if not path.name.startswith(f"{best:05d}"):
            damage(storage.File(str(path)))
    with pytest.raises(InputError, match=r"a run without any, and trial 0 is left out: .*damaged"):
        other.export(tmp_path / "none", ensemble=5)
    assert not (tmp_path / "none").exists()
    assert folder.has_study()


def test_weights_that_are_newer_than_the_tables_are_left_out(
    run: ffnet.Run, tmp_path: Path
) -> None:
    other = copied(run, tmp_path / "run")
    best = (run.best() or {})["trial"]
    folder = RunFolder.existing(other.place)
    reports = [r for r in tables.read(folder.epochs) if r["trial"] != best]
    tables.write(folder.epochs, reports, tables.EPOCHS)
    rows = tables.read(folder.trials)
    changed = [row | {"best_val_accuracy": 0.01} if row["trial"] == best else row for row in rows]
    tables.write(folder.trials, changed, tables.TRIALS)
    with pytest.warns(UserWarning, match=f"trial {best} is left out: its weights belong to no"):
        assert best not in other.load(ensemble=3).weights


def test_a_net_with_other_figures_than_the_table_is_left_out(
    run: ffnet.Run, tmp_path: Path
) -> None:
    other = copied(run, tmp_path / "run")
    best = (run.best() or {})["trial"]
    for path in Path(other.place, "checkpoints").glob(f"{best:05d}*.npy"):
        file = storage.File(str(path))
        saved = checkpoints.load(file)
        with file.replacing() as opened:
            larger = [tf.Variable(array * 1.2) for array in saved.arrays]
            checkpoints.write(opened, saved.step, saved.reports, larger)
    with pytest.warns(UserWarning, match=f"trial {best} is left out: the exported net must have"):
        assert best not in other.load(ensemble=3).weights


def test_one_kept_net_is_an_ensemble_of_one_and_none_is_refused(
    run: ffnet.Run, tmp_path: Path
) -> None:
    other = copied(run, tmp_path / "run")
    for path in Path(other.place, "checkpoints").iterdir():
        if not path.name.startswith("00001"):
            path.unlink()
    assert other.load(ensemble=5).weights == {1: 1.0}
    card = other.export(tmp_path / "one", ensemble=5)
    assert card["chosen"].startswith("1 draw with replacement from 1 kept net, the best by")
    shutil.rmtree(Path(other.place, "checkpoints"))
    with pytest.raises(InputError, match=r"needs a trial with a checkpoint .* any$"):
        other.export(tmp_path / "none", ensemble=5)


def test_an_ensemble_needs_the_data_of_the_run(run: ffnet.Run, tmp_path: Path) -> None:
    other = copied(run, tmp_path / "run")
    document = json.loads(Path(other.place, "study.json").read_text())
    document["study"]["data"]["dataset"] = str(tmp_path / "gone.npz")
    Path(other.place, "study.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"chosen on the validation part: it needs .*gone\.npz"):
        other.export(tmp_path / "none", ensemble=5)


def test_data_given_from_python_choose_an_ensemble(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    y = np.arange(300) % 2
    x = random.normal(size=(300, 4)) + y[:, None]
    data = load(Data(), (x, y))
    section = {"dataset": "given"}
    run = study_run(tmp_path / "run", data, section, [{"hidden_sizes": []}, {"hidden_sizes": [4]}])
    net = run.load(ensemble=4, data=(x, y))
    expected = sum(w * run.load(trial).probabilities(x) for trial, w in net.weights.items())
    np.testing.assert_allclose(net.probabilities(x), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match=r"it needs the data of the run; .*given"):
        run.load(ensemble=4)
    with pytest.raises(InputError, match=r"it needs the data of the run; "):
        run.load(ensemble=4, data=(x + 1, y))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--ensemble", 1], "an ensemble has from 2 to 1000 draws (--ensemble). Given: 1"),
        (
            ["--ensemble", 5, "--trial", 2],
            "--ensemble chooses the trials itself: leave",
        ),
        (["--ensemble", "two"], "argument --ensemble: invalid int value: 'two'"),
    ],
)
def test_what_is_no_ensemble_is_refused_in_one_line(
    run: ffnet.Run, call_tensorflow: Job, flags: list[Any], words: str
) -> None:
    done = call_tensorflow("export", run.place, *flags)
    assert done.returncode == 2
    assert words in done.stderr
    with pytest.raises(InputError, match="leave trial out"):
        run.export(trial=2, ensemble=5)


@pytest.mark.slow
def test_the_server_answers_with_the_ensemble(run: ffnet.Run, tmp_path: Path) -> None:
    card = run.export(tmp_path / "people", ensemble=5)
    rows = as_rows(card, cells(run))
    server = Server(tmp_path / "people").ready()
    try:
        status, answer = server.predict({"instances": rows})
    finally:
        server.process.terminate()
        server.process.communicate(timeout=120)
    assert status == 200, answer
    found = np.array([each["probabilities"] for each in answer["predictions"]])
    np.testing.assert_allclose(found, run.load(ensemble=5).probabilities(rows), rtol=1e-5)
    names = np.array([each["class"] for each in answer["predictions"]])
    right = names == [row["target"] for row in cells(run)]
    assert right.mean() == card["val_accuracy"]
