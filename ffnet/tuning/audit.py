"""Trains some of a study's pruned trials to the end, to see what pruning has cost."""

from collections import defaultdict
from collections.abc import Iterable

from ffnet.data.dataset import DataSet
from ffnet.errors import InputError
from ffnet.run import audit, ranking, recorded, storage, tables
from ffnet.run.audit import Audited
from ffnet.run.ended import Ended
from ffnet.run.hold import Hold
from ffnet.run.tables import Row
from ffnet.system.live import LiveLine
from ffnet.tuning import again
from ffnet.tuning.again import Job, Trained

COMPARED = ("train_loss", "val_loss", "val_accuracy")


def run_audit(
    run: Ended,
    hold: Hold,
    data: DataSet,
    trials: int | None,
    address: str | None,
    live: LiveLine,
    guest: bool = False,
) -> Audited:
    """Train pruned trials again, from their own seeds to the last epoch, and write audit.parquet.

    Args:
        run: the run.
        hold: gives this process the right to write into the run's folder.
        data: the run's data set. Its test part is not used.
        trials: how many pruned trials; None for ten, or as many as there are.
        address: address of a running Ray cluster: see `cluster.connected`.
        live: shows the progress.
        guest: whether the process belongs to a caller, for example a notebook.

    Raises:
        InputError: there are fewer pruned trials, or the cluster cannot be reached.
    """
    chosen = audit.chosen(run.rows, run.study.seed, trials)
    winner = ranking.best(run.rows, run.study.tuning)
    if winner is None:
        raise InputError("an audit needs a trial with a figure. Given: a run without one")
    jobs = [Job(recorded.config(run.document["study"], row)) for row in chosen]
    reports = defaultdict(list)
    for report in tables.read(run.folder.epochs):
        reports[report["trial"]].append(report)
    rows: dict[int, Row] = {}
    with again.opened(run, data, address, live, guest) as pool:
        for at, net, _ in live.counted(pool.train(jobs), len(jobs), "nets trained"):
            pruned = chosen[at]
            matches = _matches(reports[pruned["trial"]], net)
            rows[at] = _row(run, pruned, winner, net) | {"matches": matches}
    in_order = [rows[at] for at in sorted(rows)]
    hold.check()
    try:
        tables.write(run.folder.audit, in_order, audit.KIND.schema)
    except OSError as error:
        raise storage.named(error, run.folder.audit) from error
    found = audit.summary(in_order, run.rows, run.document["study"])
    assert found
    return found


def _row(run: Ended, pruned: Row, winner: Row, net: Trained) -> Row:
    tuning = run.study.tuning
    row = {name: net.row.get(name) for name in audit.KIND.schema.names}
    return row | {
        "pruned_epoch": pruned["epochs"],
        "winner": winner["trial"],
        "winner_figure": winner[f"best_{tuning.metric}"],
        "gain": audit.gain(net.row, winner, tuning),
    }


def _matches(before: Iterable[Row], net: Trained) -> bool | None:
    """Whether the reports until the pruning are the same. None if there is nothing to compare."""
    now = {report["step"]: report for report in net.reports}
    pairs = [(report, now.get(report["step"], {})) for report in before]
    if not pairs or not net.reports:
        return None
    return all(old[name] == new.get(name) for old, new in pairs for name in COMPARED)
