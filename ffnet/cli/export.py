"""Write the net of a run as a SavedModel, which TensorFlow alone can load.

  ffnet export runs/digits-…                 the best trial
  ffnet export runs/digits-… --trial 17 --out models/digits

RUN is the folder or URI of a run of `ffnet tune` or `ffnet train --out`. Each export is a new
version, OUT/1, OUT/2, …, with a card.json. The signature serving_default takes raw examples,
"images" (uint8) or "features" (float32; float64 where float32 cannot hold the numbers of the data),
or, for a table with categories, dates or gaps, an input for each column, which card.json describes.
It returns "probabilities" and "class". `ffnet serve OUT` serves the model.

The exported weights are those of the best epoch of the best trial, the first row of `ffnet table`.
They are measured again on the validation part, if the data are here, and refused if their figures
differ from the table's. Runs of earlier versions kept no best weights: their last weights are
exported, and a note says so. A study keeps the weights of its best trials (`keep_checkpoints`).
Exit status: 0; 2 for bad input.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from ffnet.cli import command
from ffnet.run.folder import RunFolder
from ffnet.system.output import redirected


def main(argv: list[str]) -> int:
    """Parse, choose the trial, export it, and print what was exported."""
    flags = _parser().parse_args(argv)
    run = RunFolder.existing(flags.run)

    from ffnet.export.card import choose

    choice = choose(run, flags.trial)
    out = choice.out(flags.out)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with redirected(Path(os.devnull), 2):  # TensorFlow's greetings
        from ffnet.export.export import export
        from ffnet.training.devices import configure

        configure(len(os.sched_getaffinity(0)), gpus=0)
        card = export(choice, out)
    if choice.note:
        print(choice.note)
    print(f"trial {card['trial']}: {card['chosen']}")
    print(
        f"validation accuracy {card['val_accuracy']:.4f}, loss {card['val_loss']:.4f} after "
        f"{card['epochs']:g} epochs; {_measured(card['measured_again'])}"
    )
    print(f"{card['name']}, version {card['version']}: {out / str(card['version'])}")
    return 0


def _measured(again: dict[str, Any]) -> str:
    if again["val_accuracy"] is None:
        return f"not measured again: {again['reason']}"
    return f"measured again: {again['val_accuracy']:.4f}, loss {again['val_loss']:.4f}"


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("export RUN [options]", __doc__)
    parser.add_argument("run", metavar="RUN", help="folder of the run, or its s3:// or gs:// URI")
    parser.add_argument("--trial", help="number of the trial in the table [the table's first]")
    parser.add_argument("--out", type=Path, help="folder of the model [RUN/export/NAME]")
    return parser
