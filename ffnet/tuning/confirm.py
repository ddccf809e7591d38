"""Trains the best configurations of a study again, chooses one, and looks at the test part once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ffnet.data.dataset import DataSet, Part
from ffnet.data.folds import Fold, check, validation_labels
from ffnet.errors import InputError, RunError, StorageError
from ffnet.run import confirm, provenance, recorded, storage, tables
from ffnet.run import ensembles as of_looks
from ffnet.run.confirm import Confirmed
from ffnet.run.ended import Ended
from ffnet.run.hold import Hold
from ffnet.run.storage import File
from ffnet.run.tables import Kind, Row, Status
from ffnet.spec.sections import METRICS
from ffnet.spec.trial import TrialConfig
from ffnet.system.live import LiveLine
from ffnet.system.signals import held_back
from ffnet.training.ensemble import check_draws
from ffnet.training.metrics import refuse_undefined
from ffnet.tuning import again, ensembles
from ffnet.tuning.again import Job, Pool, Tested, Trained

MOST_SEEDS = 1000


@dataclass(frozen=True)
class Wish:
    """What a confirmation trains.

    Attributes:
        top: number of configurations; None for three, or as many as there are.
        seeds: number of fresh seeds, from 2 to MOST_SEEDS.
        folds: number of folds of a cross-validation; None for the study's own split.
        again: whether the test part may be looked at once more.
        ensemble: draws of an ensemble of the nets, 2 or more; None for no ensemble.
    """

    top: int | None = None
    seeds: int = 5
    folds: int | None = None
    again: bool = False
    ensemble: int | None = None


def plan(run: Ended, data: DataSet, wish: Wish) -> list[Job]:
    """The nets to train. The configurations that share a seed, and a fold, stand together.

    Raises:
        InputError: the run has too few configurations, its test part was looked at before, or its
            data cannot be divided into so many folds.
    """
    confirm.refuse_second_look(run.document, wish.again)
    confirm.last(run.folder, run.study.tuning, run.document["data"])  # refuses damaged tables
    if wish.ensemble is not None:
        check_draws(wish.ensemble)
    if not 2 <= wish.seeds <= MOST_SEEDS:
        raise InputError(
            f"--seeds must be from 2, for an interval, to {MOST_SEEDS}. Given: {wish.seeds}"
        )
    best = confirm.best_configurations(run.rows, run.study.tuning, wish.top)
    configs = [recorded.config(run.document["study"], row) for row in best]
    taken = [row["seed"] for row in run.rows if row["seed"] is not None]
    seeds = confirm.fresh_seeds(run.study.seed, taken, wish.seeds)
    if wish.folds is not None:
        check(data, wish.folds, seeds)
        parts = validation_labels(data, wish.folds, seeds)
        refuse_undefined(run.study.tuning.metric, data.classes, parts)
    return [
        Job(_reseeded(config, seed), fold)
        for seed in seeds
        for fold in _folds(wish.folds, seed)
        for config in configs
    ]


def run_confirm(
    run: Ended,
    hold: Hold,
    data: DataSet,
    wish: Wish,
    address: str | None,
    live: LiveLine,
    guest: bool = False,
) -> Confirmed:
    """Train the nets, choose by validation, evaluate the chosen nets on the test part, and write.

    The look at the test part is written into study.json before it happens, and no signal can
    interrupt it. Until then, an interruption leaves the run as it was.

    Args:
        run: the run.
        hold: gives this process the right to write into the run's folder.
        data: the run's data set, with its test part.
        wish: what to train.
        address: address of a running Ray cluster: see `cluster.connected`.
        live: shows the progress.
        guest: whether the process belongs to a caller, for example a notebook.

    Raises:
        InputError: the run cannot be confirmed so, or the cluster cannot be reached.
        RunError: each configuration has a net that diverged or failed. Then the test part is not
            looked at.
    """
    jobs = plan(run, data, wish)
    with again.opened(run, data, address, live, guest) as pool:
        nets, weights = _trained(pool, jobs, live)
        rows = [_row(run, number, net) for number, net in enumerate(nets)]
        order = confirm.order(rows, run.study.tuning)
        _refuse_broken(rows, order, hold, run)
        for row in rows:
            row["chosen"] = row["trial"] == order[0]
        ensemble = None
        if wish.ensemble is not None:
            possible = [number for group in ensembles.groups(rows) for number in group]
            known = _evaluated(pool, jobs, weights, possible, None)
            ensemble = ensembles.chosen(rows, known, data, run.study.tuning, wish.ensemble)
        chosen = [number for number, row in enumerate(rows) if row["chosen"]]
        looked = sorted({*chosen, *(ensemble["members"] if ensemble else ())})
        pool.fetch([weights[number] for number in looked])  # before the look: they may be lost
        with held_back():
            _write(run, hold, rows, ensemble)
            _note_look(run, hold, order[0])
            assert data.test  # every data set has three parts
            tested = _evaluated(pool, jobs, weights, looked, data.test)
            for number in chosen:
                rows[number] |= tested[number][0]
            if ensemble:
                ensemble |= ensembles.tested(ensemble, tested, data.test.y)
            _write_scores(run, hold, rows, ensemble)
    found = confirm.last(run.folder, run.study.tuning, run.document["data"])
    assert found
    return found


def _evaluated(
    pool: Pool,
    jobs: Sequence[Job],
    weights: Mapping[int, Any],
    nets: Sequence[int],
    test: Part | None,
) -> dict[int, Tested]:
    """Number of a net → figures and scores on the test part; with None, on the validation part."""
    found = pool.evaluate([jobs[n] for n in nets], [weights[n] for n in nets], test)
    return dict(zip(nets, found, strict=True))


def _folds(folds: int | None, seed: int) -> list[Fold | None]:
    return [Fold(number, folds, seed) for number in range(folds)] if folds else [None]


def _reseeded(config: TrialConfig, seed: int) -> TrialConfig:
    return config.model_copy(update={"seed": seed})


def _trained(
    pool: Pool, jobs: Sequence[Job], live: LiveLine
) -> tuple[list[Trained], dict[int, Any]]:
    """(the trained nets in the order of the jobs, number → reference to the net's weights)."""
    nets: dict[int, Trained] = {}
    weights = {}
    for number, net, of_net in live.counted(pool.train(jobs), len(jobs), "nets trained"):
        nets[number], weights[number] = net, of_net
    return [nets[number] for number in range(len(jobs))], weights


def _row(run: Ended, number: int, net: Trained) -> Row:
    """A net's row of confirm.parquet, with the figures after its best epoch."""
    best = net.best or {}
    row: Row = {name: net.row.get(name) for name in confirm.KIND.schema.names}
    row |= {metric: best.get(metric) for metric in METRICS}
    return row | {
        "look": len(run.document.get("test_looks", [])) + 1,
        "net": number,
        "best_epoch": best.get("epoch"),
        "chosen": False,
    }


def _refuse_broken(rows: list[Row], order: list[int], hold: Hold, run: Ended) -> None:
    if order[0] not in confirm.broken(rows):
        return
    _write(run, hold, rows)
    reason = next(row["reason"] for row in rows if row["status"] != Status.DONE)
    raise RunError(
        f"each of the {len(order)} configurations has a net that diverged or failed ({reason}): "
        f"none is chosen, and the test part was not looked at; {run.folder.confirm} has the nets"
    )


def _write(run: Ended, hold: Hold, rows: list[Row], ensemble: Row | None = None) -> None:
    """Write confirm.parquet and ensembles.parquet with the rows of earlier looks and these."""
    hold.check()
    look = rows[0]["look"]
    _write_table(run.folder.confirm, confirm.read(run.folder), look, rows, confirm.KIND)
    earlier = of_looks.read(run.folder)
    if ensemble or earlier:  # a look that was prepared and did not happen may have left a row
        now = [ensemble] if ensemble else []
        _write_table(run.folder.ensembles, earlier, look, now, of_looks.KIND)


def _write_table(file: File, before: list[Row], look: int, rows: list[Row], kind: Kind) -> None:
    earlier = [row for row in before if row["look"] != look]
    try:
        tables.write(file, [*earlier, *rows], kind.schema)
    except OSError as error:
        raise storage.named(error, file) from error


def _write_scores(run: Ended, hold: Hold, rows: list[Row], ensemble: Row | None) -> None:
    """Write the test figures. If that fails, the error has them, because nobody may look again."""
    try:
        _write(run, hold, rows, ensemble)
    except (InputError, StorageError) as error:
        scores = ", ".join(f"{r['test_accuracy']:.4f}" for r in rows if r["chosen"])
        joint = f", that of the ensemble is {ensemble['test_accuracy']:.4f}" if ensemble else ""
        raise RunError(
            f"{run.folder.confirm}: could not be written ({error}); the test part was looked at: "
            f"its accuracies are {scores}{joint}"
        ) from None


def _note_look(run: Ended, hold: Hold, trial: int) -> None:
    """Write into study.json that the test part is looked at now."""
    hold.check()
    now = {"at": datetime.now(UTC).isoformat(), "trial": trial, "commit": provenance.commit()}
    looks = [*run.document.get("test_looks", []), now]
    storage.write_json(run.folder.study, run.document | {"test_looks": looks})
