"""The command `ffnet`: it finds a subcommand's module and runs it."""

import importlib
import signal
import sys
from typing import NoReturn

COMMANDS = {
    "tune": "run a study: many trials of a net over a search space",
    "train": "train one net: a preset, a net of your own, or a trial again",
    "data": "show what is understood of a data set: columns, classes",
    "table": "print the table of a run's trials, while it runs or after",
    "compare": "compare runs on the same data: which is better, and at what cost",
    "runs": "list the runs in a folder, each with its best trial",
    "board": "show a run in TensorBoard, while it runs or after",
    "report": "make the page of a run: figures, tables, warnings; also live",
    "best": "print the best net of a run as a TOML file, to train it again",
    "confirm": "train the best nets again from fresh seeds, and test one of them",
    "audit": "train pruned trials to the end: what pruning has cost and saved",
    "export": "write the net of a run as a SavedModel, for TensorFlow alone",
    "export-study": "hand a run to Optuna, MLflow or Weights & Biases",
    "serve": "serve an exported net over HTTP",
    "submit": "run one of these commands on a cluster, and show its log",
    "bench": "measure ffnet's speed against other programs (in a clone only)",
}

HELP = """usage: ffnet COMMAND [arguments]

Tune feed-forward neural networks: Ray Tune schedules, TensorFlow trains, tables
keep the results.

{commands}

  ffnet COMMAND --help      the arguments of a command
  ffnet --version

A first study, of the digits that ffnet contains: ffnet tune digits
"""


def main() -> NoReturn:
    """Run the command line of this process: `ffnet COMMAND …`."""
    name, *words = sys.argv[1:] or ["--help"]
    if name == "help" and words:
        name, *words = *words[:1], "--help"
    if name in COMMANDS:
        run(name, words)
    # Imported here, so that no command waits for an import that it does not need.
    from ffnet.cli import command

    command.run(lambda argv: _answer(argv[0]), [name])


def run(name: str, words: list[str] | None = None) -> NoReturn:
    """Run a subcommand.

    Args:
        name: one of COMMANDS.
        words: its arguments. With None, the arguments of this process, which a file of jobs/ runs.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until `command.run` begins, Ctrl-C ends the process, without the traceback of an import.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ffnet.cli import command

    module = importlib.import_module(f"ffnet.cli.{name.replace('-', '_')}")
    command.run(module.main, words, must_print=name != "tune")


def _answer(word: str) -> int:
    """Answer --help, --version, or an unknown command with an error and the nearest command."""
    if word in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        lines = [f"  {name:<{width}}  {about}" for name, about in COMMANDS.items()]
        print(HELP.format(commands="\n".join(lines)), end="")
        return 0
    if word in ("-V", "--version"):
        from ffnet.run.provenance import versions

        print(f"ffnet {versions()['ffnet']}")
        return 0
    from ffnet.errors import InputError
    from ffnet.spec.validation import did_you_mean

    raise InputError(
        f"the first word must be a command: {', '.join(COMMANDS)}. "
        f"Given: {word}{did_you_mean(word, COMMANDS)}"
    )
