"""Train one net without a tuner, on the CPUs of this machine.

  python jobs/train.py --preset cifar10-barebones --data-dir ~/data
  python jobs/train.py --hidden-sizes '[256, 128]' --learning-rate 0.2 --epochs 20

Prints the loss of the batch and the validation accuracy after the first step and then every
report_steps (or epoch), as the source lesson does.
"""

import argparse
import os
import time
from pathlib import Path

from ffnet import command
from ffnet.flags import add_flags, override
from ffnet.output import redirected
from ffnet.study import OneNet, TrialConfig, read_toml, validated

PRESETS = Path(__file__).parent / "presets"


def main(argv: list[str]) -> int:
    """Parse, load, train, print."""
    flags = _parser().parse_args(argv)
    path = PRESETS / f"{flags.preset}.toml"
    values = read_toml(path) if flags.preset else {}
    one = validated(OneNet, override(values, flags, OneNet), flags.preset or "flags")

    from ffnet.data.load import load

    data = load(one.data)
    print(data.describe())
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    with redirected(Path(os.devnull), 2):  # TensorFlow's greetings
        from ffnet.training.device_data import DeviceData
        from ffnet.training.devices import configure
        from ffnet.training.loop import train
        from ffnet.training.trainer import Trainer

        configure(len(os.sched_getaffinity(0)), gpus=0)
        trainer = Trainer(DeviceData(data), one.net)
    trainer.net.initialize(one.net, one.seed)
    config = one.trial_config()
    begun = time.monotonic()
    for report in train(trainer, config, points=_points(config, trainer.examples)):
        score = report.validation
        print(f"Iteration {report.step - 1}, loss = {report.batch_loss:.4f}")
        print(f"Got {score.correct} / {score.count} correct ({100 * score.accuracy:.2f}%)\n")
        if report.diverged:
            print("the loss is no longer finite: lower the learning rate")
            return 1
    print(f"validation accuracy {score.accuracy:.4f} after {report.epoch:g} epochs", end=" ")
    print(f"in {time.monotonic() - begun:.1f} s")
    return 0


def _points(config: TrialConfig, examples: int) -> list[int]:
    """After the first step, then every so many, and after the last."""
    per_epoch = -(-examples // config.training.batch_size)
    end = config.epochs * per_epoch
    return sorted({*range(1, end, config.training.report_steps or per_epoch), end})


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    known = sorted(path.stem for path in PRESETS.glob("*.toml"))
    parser.add_argument("--preset", choices=known, help="begin from a run of the source lesson")
    add_flags(parser, OneNet)
    return parser


if __name__ == "__main__":
    command.run(main)
