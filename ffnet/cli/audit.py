"""Train pruned trials of a run to the end, to see what pruning has cost and saved.

  ffnet audit runs/digits-…
  ffnet audit runs/digits-… --trials 20

Draws pruned trials at random, from the study's seed, and trains each again from its own seed to the
last epoch. Prints how many of them would have beaten the study's winner, by how much, and the
compute that pruning saved. Until the epoch where the study pruned a trial, its reports must be the
same, bit for bit; the result says for how many trials they are. The test part is not used.

RUN/audit.parquet has a row for each of these trials; a new audit replaces it. Ctrl-C leaves the run
as it was. Exit status: 0; 2 for bad input; 130 after a signal.
"""

import sys

from ffnet.cli import command
from ffnet.cli.again import Given, Result, add_common_flags, with_run
from ffnet.run import audit
from ffnet.run.ended import Ended
from ffnet.run.tables import Row
from ffnet.system.signals import held_back


def main(argv: list[str]) -> int:
    """Parse, train, and print what the trials say."""
    parser = command.parser("audit RUN [options]", __doc__)
    add_common_flags(parser)
    parser.add_argument(
        "--trials", type=int, help="pruned trials to train, 1 or more [10, or all if fewer]"
    )
    flags = parser.parse_args(argv)

    def check(run: Ended) -> list[Row]:
        return audit.chosen(run.rows, run.study.seed, flags.trials)

    return with_run(flags, check, lambda given: _audited(given, flags.trials))


def _audited(given: Given, trials: int | None) -> Result:
    with held_back():  # a signal during an import of Ray leads to unclear errors
        from ffnet.tuning.audit import run_audit

    count = len(audit.chosen(given.run.rows, given.run.study.seed, trials))
    print(f"{count} pruned trials again, to epoch {given.run.study.budget.epochs}")
    sys.stdout.flush()
    return run_audit(*given[:3], trials, *given[3:])
