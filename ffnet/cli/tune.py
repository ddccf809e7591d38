"""Run a study: many trials of a net over a search space, weak ones pruned.

  ffnet tune digits
  ffnet tune cifar10 --data-dir ~/data --trials 64
  ffnet submit -- tune digits        on a cluster: see cluster/README.md

Every field of the study is also a flag. [In brackets] is its default. A switch needs no value:
--batch-norm means true, --no-batch-norm means false.

Ctrl-C, SIGTERM, SIGHUP or SIGUSR1 stop the study cleanly: its progress is saved. The same command
with --out and --resume continues it, even after a kill; more --trials or --epochs extend it.

If FFNET_WEBHOOK is set, the headline is sent to this URL at the end, for example to a chat.

Exit status: 0; 1 when no trial finished or more than max_failed failed; 2 for bad input; 75 when a
signal stopped the study; 130 when a signal stopped it before it had begun, or a second signal
stopped it at once.
"""

import argparse
import os
import shlex
import shutil
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ffnet.cli import command
from ffnet.cli.flags import add_flags, given, override
from ffnet.errors import InputError, RunError
from ffnet.ray_cluster.private_host import LOWER, Host, own_cpus
from ffnet.report.message import study_ended
from ffnet.run import confirm, ended, ledger
from ffnet.run.begin import as_begun, begin, holds_a_study, new_place
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold, held
from ffnet.run.recorded import read_study_json
from ffnet.run.study_files import found, is_of_run, name_of, read_study
from ffnet.run.tables import Status
from ffnet.spec import presets
from ffnet.spec.relevance import relevant
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.system import notify, output, scratch
from ffnet.system.environment import ray_address
from ffnet.system.signals import held_back, ignore
from ffnet.training.ensemble import check_draws

if TYPE_CHECKING:
    from ffnet.data.dataset import DataSet
    from ffnet.run.past import Past
    from ffnet.system.live import LiveLine
    from ffnet.tuning.recorder import Recorder


def main(argv: list[str]) -> int:
    """Parse, validate, run, summarise."""
    flags = _parser().parse_args(argv)
    if flags.resume and not flags.out:
        raise InputError("--resume needs --out with the folder of the run")
    if flags.retry_failed and not flags.resume:
        raise InputError("--retry-failed needs --resume: a new study has no failed trials")
    if flags.ensemble is not None:
        _refuse_ensemble(flags)
    flags.study = found(flags.study)
    values, recorded = read_study(flags.study), is_of_run(flags.study)
    if flags.resume and holds_a_study(flags.out):  # the run may be older than some rules
        values, said = as_begun(relevant(values), flags.out)
        print("\n".join(said), end="\n" if said else "")
        recorded = True
    values = override({"name": name_of(flags.study), **values}, flags, Study)
    study = validated(Study, values, flags.study, given(flags, Study), recorded)
    address = ray_address(flags.address)
    scratch.clear_killed()  # also if nothing is left to train
    out = flags.out or new_place(study.name)
    if flags.confirm:
        _refuse_confirm(study, out)
    # A run that is continued may have nothing left to train: then Ray does not start.
    with nullcontext() if address or flags.resume else _starting_ray(study) as host:
        status = _tune(flags, study, out, address, host, argv)
        ignore()  # the study has ended, and Ray needs a second to stop
        return status


def _starting_ray(study: Study) -> Host:
    """A private Ray, which starts while this process reads the data and imports Ray."""
    return Host(own_cpus(study.resources, study.budget.concurrency, LOWER))


def _tune(
    flags: argparse.Namespace,
    study: Study,
    out: str,
    address: str | None,
    host: Host | None,
    argv: list[str],
) -> int:
    from ffnet.data.load import load
    from ffnet.system.live import LiveLine

    data = load(study.data)
    with (
        held(RunFolder.at(out)) as hold,
        output.screen() as screen,
        LiveLine(screen) as live,
        notify.told(lambda: study_ended(hold.folder), _warn),
    ):
        status = _run(flags, study, data, hold, address, argv, live, host)
        if flags.confirm and status == 0:
            _confirm(hold, data, address, live, flags.ensemble)
        elif flags.confirm:
            print(f"not confirmed, because the study ended with exit status {status}")
        return status


def _refuse_ensemble(flags: argparse.Namespace) -> None:
    """Refuse --ensemble before the study starts, if it would be refused at the end."""
    if not flags.confirm:
        raise InputError(
            "--ensemble makes an ensemble of the nets that --confirm trains: add --confirm, or use "
            "`ffnet export RUN --ensemble N` after the study"
        )
    check_draws(flags.ensemble)


def _refuse_confirm(study: Study, out: str) -> None:
    """Refuse --confirm before the study starts, if it would be refused at the end."""
    if study.tuning.scheduler == "pbt":
        raise InputError(
            "--confirm trains the best nets again from fresh seeds, and under pbt the best nets "
            "take over weights of others: leave --confirm out, or choose another scheduler"
        )
    if holds_a_study(out):
        confirm.refuse_second_look(read_study_json(RunFolder.at(out)), again=False)


def _confirm(
    hold: Hold, data: "DataSet", address: str | None, live: "LiveLine", ensemble: int | None
) -> None:
    from ffnet.cli.again import Given, show
    from ffnet.cli.confirm import confirmed

    print()
    live.note = None  # it says that the study has ended
    given = Given(ended.read(hold.folder), hold, data, address, live)
    show(given, lambda given: confirmed(given, ensemble=ensemble))


def _warn(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run(
    flags: argparse.Namespace,
    study: Study,
    data: "DataSet",
    hold: Hold,
    address: str | None,
    argv: list[str],
    live: "LiveLine",
    host: Host | None,
) -> int:
    """Run the study in a folder that this process holds."""
    folder = hold.folder
    past = begin(folder, study, data, flags.resume, flags.retry_failed)
    print(data.describe(), *data.notes, *past.notes, sep="\n")
    print(f"{study.trials} trials of up to {study.budget.epochs} epochs → {folder}")
    if past.trials:
        _say_what_goes_on(past, folder, study)
    sys.stdout.flush()

    started = time.monotonic()
    try:
        if not past.trials or past.left(study):
            live.begin(f"connecting to {address}" if address else "starting Ray")
        with held_back():  # a signal during an import of Ray leads to unclear errors
            from ffnet.tuning.driver import run_study  # imports Ray: seconds

        recorder = run_study(study, data, address, past, hold, live, host=host)
    except RunError:  # keep the folder: --resume needs it with the tables that are saved elsewhere
        raise
    except BaseException as error:
        live.clear()
        folder.discard()
        if isinstance(error, KeyboardInterrupt):
            _say_what_is_left(folder, argv)
        raise
    live.clear()
    _summarise(study, recorder, folder, time.monotonic() - started)
    if recorder.stopping:
        print(f"go on:   {shlex.join(_resuming(argv, folder))}")
    return _end(study, recorder)


def _say_what_is_left(folder: RunFolder, argv: list[str]) -> None:
    """Print what a study has saved when a signal stopped it at once."""
    if not folder.begun():
        print("stopped before the first trial: nothing is kept")
        return
    print(f"stopped at once; the reports until then are in {folder}")
    print(f"go on:   {shlex.join(_resuming(argv, folder))}")


def _say_what_goes_on(past: "Past", folder: RunFolder, study: Study) -> None:
    """Print in one or two lines what --resume will train."""
    if not past.left(study):
        failed = any(row["status"] == Status.FAILED for row in past.trials)
        retry = ", --retry-failed tries failed trials again" if failed else ""
        print(
            f"nothing is left to train: all {study.trials} trials have ended. More --trials or "
            f"--epochs extend the study{retry}"
        )
        return
    ended = len(past.trials) - len(past.unfinished(study))
    print(f"going on after {ended} trials that have ended")
    longer = [
        r["trial"] for r in past.trials if r["status"] == Status.DONE and past.goes_on(r, study)
    ]
    if longer:
        anew = sum(not folder.checkpoint(number).exists() for number in longer)
        print(
            f"{len(longer)} finished trials train on to {study.budget.epochs} epochs; {anew} of "
            f"them begin again, with the same results, because only the best keep checkpoints"
        )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("tune STUDY [options]", __doc__)
    parser.add_argument(
        "study",
        metavar="STUDY",
        help=f"a TOML file, the study.json of a run, or one of {', '.join(presets.studies())}",
    )
    run = parser.add_argument_group("run")
    run.add_argument("--out", help="folder or URI (s3://, gs://) of the results [runs/NAME-TIME]")
    run.add_argument(
        "--resume", action="store_true", help="continue the study in --out, if there is one"
    )
    run.add_argument(
        "--retry-failed", action="store_true", help="with --resume: train failed trials again"
    )
    run.add_argument(
        "--confirm", action="store_true",
        help="at the end train the best three nets again from five fresh seeds, and look at the "
        "test part: see `ffnet confirm`",
    )  # fmt: skip
    run.add_argument(
        "--ensemble", metavar="N", type=int,
        help="with --confirm: test an ensemble of N draws of these nets, too [none]",
    )  # fmt: skip
    run.add_argument("--address", help="Ray cluster to use [$RAY_ADDRESS, else a private Ray here]")
    add_flags(parser, Study)
    return parser


def _resuming(argv: list[str], folder: RunFolder) -> list[str]:
    """The command that continues the study."""
    words = [*_itself(), "tune", *argv]
    if not any(word.partition("=")[0] == "--out" for word in argv):
        words += ["--out", _near(folder.place)]
    return words if "--resume" in argv else [*words, "--resume"]


def _summarise(study: Study, recorder: "Recorder", folder: "RunFolder", seconds: float) -> None:
    from ffnet.report import terminal
    from ffnet.report.text import default_columns

    counts = recorder.writer.counts()
    if best := recorder.writer.best(5):
        most = terminal.width()
        table, left_out = terminal.fitted(best, default_columns(study.resolved()), most)
        print(f"\n{table}")
        if left_out:
            print(terminal.left_out_line(left_out, "`ffnet table` has them with --columns", most))
    states = ", ".join(f"{n} {s}" for s, n in counts.items()) or "none began"
    print(f"\n{counts.total()} trials: {states}")
    print(f"{recorder.writer.epochs_run():g} epochs in {seconds:.1f} s")
    with suppress(InputError, OSError):  # `_end` says what is wrong with the run
        print(terminal.wrapped_text(ledger.read(folder).line(), terminal.width()))
    if recorder.stopping:
        print(f"ended early: {recorder.stopping}")
    if counts[Status.FAILED]:
        print(f"tracebacks of failed trials: {folder.errors}")
    print(f"results: {folder}")
    print(f"next:    {shlex.join([*_itself(), 'table', _near(folder.place)])}")


def _end(study: Study, recorder: "Recorder") -> int:
    """The exit status. Raises RunError if the run could not be written."""
    if recorder.interrupted:
        return os.EX_TEMPFAIL
    recorder.writer.refuse_given_up("--resume")
    failed = recorder.writer.counts()[Status.FAILED]
    return 0 if recorder.writer.finished() and failed <= study.budget.max_failed else 1


def _itself() -> list[str]:
    """The words with which the user calls ffnet in this folder."""
    script = Path(sys.executable).with_name("ffnet")
    if (known := shutil.which("ffnet")) and script.exists() and script.samefile(known):
        return ["ffnet"]
    return [_near(script)] if script.exists() else [_near(sys.executable), "-m", "ffnet"]


def _near(path: str | Path) -> str:
    """A path relative to the working directory if it is below, else the path itself."""
    below = Path(path).is_relative_to(Path.cwd())
    return str(Path(path).relative_to(Path.cwd()) if below else path)
