"""Train the best configurations of a run again, choose one, and measure it on the test part.

  ffnet confirm runs/digits-…
  ffnet confirm runs/digits-… --top 5 --seeds 10
  ffnet confirm runs/wine-… --folds 5          for a small data set
  ffnet confirm runs/digits-… --ensemble 15    also an ensemble of the nets

The best figure of a study is partly luck: many trials were compared on one validation part. So the
best configurations are trained again from fresh seeds, each to the last epoch. The configuration
with the best mean of the study's metric is chosen; a net counts with its best epoch. Only then its
nets are evaluated on the test part, with the weights of their best epochs. The test part is looked
at once: study.json records it, and a second look needs --again.

With --folds K, training and validation part together are divided into K stratified folds, for each
seed in another way; examples of one group stay in one fold. Each fold is the validation part of
one net. The test part stays as it is.

With --ensemble N, an ensemble is tested in the same look: the mean of the probabilities of several
of the nets, of any of the configurations. The best net on the validation part is taken first; then
N - 1 times the net with which the mean is best there. A net may be taken several times. Draws that
make the ensemble worse are taken back. Its test accuracy has one interval, for other examples.

RUN/confirm.parquet has a row for each net, RUN/ensembles.parquet one for each ensemble. Ctrl-C
leaves the run as it was. Exit status: 0; 1 when each configuration has a net that diverged or
failed; 2 for bad input; 130 after a signal.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from ffnet.cli import command
from ffnet.cli.again import Given, Result, add_common_flags, with_run
from ffnet.run import confirm, recorded
from ffnet.system.signals import held_back

if TYPE_CHECKING:
    from ffnet.run.ended import Ended


def main(argv: list[str]) -> int:
    """Parse, train, and print what the nets say."""
    flags = _parser().parse_args(argv)

    def check(run: "Ended") -> None:
        confirm.refuse_second_look(run.document, flags.again)
        confirm.best_configurations(run.rows, run.study.tuning, flags.top)

    return with_run(
        flags,
        check,
        lambda given: confirmed(
            given, flags.top, flags.seeds, flags.folds, flags.again, flags.ensemble
        ),
    )


def confirmed(
    given: Given, top: int | None = None, seeds: int = 5, folds: int | None = None,
    again: bool = False, ensemble: int | None = None,
) -> Result:  # fmt: skip
    """Confirm a run: see `ffnet.tuning.confirm`."""
    with held_back():  # a signal during an import of Ray leads to unclear errors
        from ffnet.tuning.confirm import Wish, plan, run_confirm

    wish = Wish(top, seeds, folds, again, ensemble)
    jobs = plan(given.run, given.data, wish)
    trials = ", ".join(map(str, dict.fromkeys(job.config.number for job in jobs)))
    epochs = given.run.study.budget.epochs
    print(f"trials {trials} again: {len(jobs)} nets of up to {epochs} epochs")
    sys.stdout.flush()
    try:
        return run_confirm(*given[:3], wish, *given[3:])
    except KeyboardInterrupt:
        given.live.clear()
        looked = len(recorded.read_study_json(given.run.folder).get("test_looks", []))
        if looked > len(given.run.document.get("test_looks", [])):
            print(f"stopped after the look at the test part: see {given.run.folder.confirm}")
        else:
            print("stopped: the test part was not looked at, and the run is as it was")
        raise


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("confirm RUN [options]", __doc__)
    add_common_flags(parser)
    parser.add_argument(
        "--top", type=int, help="configurations to train again, 1 or more [3, or all if fewer]"
    )
    parser.add_argument(
        "--seeds", type=int, default=5, help="fresh seeds for each of them, 2 to 1000 [5]"
    )
    parser.add_argument(
        "--folds", type=int, help="folds of a cross-validation, 2 or more [the study's own split]"
    )
    parser.add_argument(
        "--again", action="store_true", help="look at the test part once more; it is recorded"
    )
    parser.add_argument(
        "--ensemble", metavar="N", type=int, help="test an ensemble of N draws, 2 to 1000 [none]"
    )
    return parser
