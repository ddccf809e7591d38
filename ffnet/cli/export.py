"""Write the net of a run as a SavedModel, which TensorFlow alone can load.

  ffnet export runs/digits-…                 the best trial
  ffnet export runs/digits-… --trial 17 --out models/digits
  ffnet export runs/digits-… --ensemble 5    several nets as one model

RUN is the folder or URI of a run of `ffnet tune` or `ffnet train --out`. Each export is a new
version, OUT/1, OUT/2, …, with a card.json. The signature serving_default takes raw examples,
"images" (uint8) or "features" (float32; float64 where float32 cannot hold the numbers of the data),
or, for a table with categories, dates or gaps, an input for each column, which card.json describes.
It returns "probabilities" and "class". `ffnet serve OUT` serves the model.

The exported weights are those of the best epoch of the best trial, the first row of `ffnet table`.
They are measured again on the validation part, if the data are here, and refused if their figures
differ from the table's. Runs of earlier versions kept no best weights: their last weights are
exported, and a note says so. A study keeps the weights of its best trials (`keep_checkpoints`).

With --ensemble N the model answers with the mean of the probabilities of several of these nets. The
best net is taken first; then N - 1 times the net with which the mean is best on the validation part
by the study's metric. A net may be taken several times, which is its weight. It needs the data. Its
figures on the validation part, which chose it, are too good: `ffnet confirm RUN --ensemble N`
measures an ensemble on the test part.

Exit status: 0; 2 for bad input.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ffnet.cli import command
from ffnet.errors import InputError
from ffnet.run.folder import RunFolder
from ffnet.system.output import redirected


def main(argv: list[str]) -> int:
    """Parse, choose the trial or the ensemble, export it, and print what was exported."""
    flags = _parser().parse_args(argv)
    if flags.ensemble is not None and flags.trial is not None:
        raise InputError("--ensemble chooses the trials itself: leave --trial out")
    run = RunFolder.existing(flags.run)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    card, out = _of_trial(run, flags) if flags.ensemble is None else _of_ensemble(run, flags)
    print(
        f"validation accuracy {card['val_accuracy']:.4f}, loss {card['val_loss']:.4f}"
        f"{_after(card)}; {_measured(card['measured_again'])}"
    )
    print(f"{card['name']}, version {card['version']}: {out / str(card['version'])}")
    return 0


def _of_trial(run: RunFolder, flags: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """Export a trial, and say which one. Returns its card, and the model's folder."""
    from ffnet.export.card import choose

    choice = choose(run, flags.trial)
    out = choice.out(flags.out)
    with _with_tensorflow():
        from ffnet.export.export import export

        card = export(choice, out)
    if choice.note:
        print(choice.note)
    print(f"trial {card['trial']}: {card['chosen']}")
    return card, out


def _of_ensemble(run: RunFolder, flags: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """Export an ensemble, and say which nets it has. Returns its card, and the model's folder."""
    with _with_tensorflow():
        from ffnet.export import ensemble

        chosen = ensemble.choose(run, flags.ensemble)
        out = chosen.out(flags.out)
        card = ensemble.export(chosen, out)
    print(*chosen.notes, sep="\n", end="\n" * bool(chosen.notes))
    for member in card["members"]:
        print(
            f"trial {member['trial']}: weight {member['draws']}/{chosen.draws}, alone validation "
            f"accuracy {member['val_accuracy']:.4f}, loss {member['val_loss']:.4f}"
        )
    print(f"ensemble: {card['chosen']}")
    return card, out


@contextmanager
def _with_tensorflow() -> Iterator[None]:
    """Import and use TensorFlow on all CPUs, without its greetings."""
    with redirected(Path(os.devnull), 2):
        from ffnet.training.devices import configure

        configure(len(os.sched_getaffinity(0)), gpus=0)
        yield


def _after(card: dict[str, Any]) -> str:
    return f" after {card['epochs']:g} epochs" if "epochs" in card else ""


def _measured(again: dict[str, Any]) -> str:
    if again["val_accuracy"] is None:
        return f"not measured again: {again['reason']}"
    return f"measured again: {again['val_accuracy']:.4f}, loss {again['val_loss']:.4f}"


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("export RUN [options]", __doc__)
    parser.add_argument("run", metavar="RUN", help="folder of the run, or its s3:// or gs:// URI")
    parser.add_argument("--trial", help="number of the trial in the table [the table's first]")
    parser.add_argument(
        "--ensemble",
        metavar="N",
        type=int,
        help="export an ensemble of N draws, 2 or more [one net]",
    )
    parser.add_argument("--out", type=Path, help="folder of the model [RUN/export/NAME]")
    return parser
