"""Make the page of a run: one HTML file with figures, tables and warnings.

  ffnet report                          of the newest run in runs/
  ffnet report runs/digits-…            writes runs/digits-…/report.html
  ffnet report runs/digits-… --serve    shows the same page while the study runs
  ffnet report runs/digits-… --figures paper/    also PNG, PDF and SVG files

The file needs no network and no other file, so it can be sent to others. The page says what was
searched, what won, how sure that is and what it cost, and warns where an expert would. If the
weights of the best net and the data of the run are on this machine, the page shows which validation
examples the net takes for another class, and its weights. This needs TensorFlow and some seconds,
with --serve again when another net becomes the best; --no-net leaves it out.

Exit status: 0, also when Ctrl-C ended --serve; 2 for bad input.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from ffnet.cli import command
from ffnet.errors import InputError
from ffnet.run.folder import RunFolder
from ffnet.run.listing import runs
from ffnet.system.output import redirected

PORT = 8050


def main(argv: list[str]) -> int:
    """Write the page and the figures, or serve the page."""
    flags = _parser().parse_args(argv)
    _check(flags)
    folder = RunFolder.existing(flags.run) if flags.run else runs()[0]
    # Imported here: Optuna and Plotly take a second, and a wrong flag must not wait for them.
    from ffnet.report.page import live, page, papers

    if flags.serve:
        measure = None if flags.no_net else lambda: _net(folder)[0]
        return live.serve(folder, PORT if flags.port is None else flags.port, measure)
    out = Path(flags.out) if flags.out else folder.local / "report.html"
    part, drawn = (None, {}) if flags.no_net else _net(folder)
    page.write(page.page_of(folder, [part] if part else []), out)
    print(f"page: {out}")
    if flags.figures:
        written = papers.write(folder, Path(flags.figures), drawn)
        print(f"figures: {len(written)} files in {flags.figures}")
    return 0


def _net(folder: RunFolder) -> tuple[Any, Any]:
    """The section about the best net, and its figures by name."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from ffnet.api.best_net import looked_at

    with redirected(Path(os.devnull), 2):  # TensorFlow's greetings
        return looked_at(folder)


def _check(flags: argparse.Namespace) -> None:
    """Refuse flags that have no effect together."""
    for given in ("--out", "--figures"):
        if flags.serve and getattr(flags, given[2:]):
            raise InputError(f"{given} has no effect with --serve: leave one of them out")
    if flags.port is not None and not flags.serve:
        raise InputError("--port has an effect only with --serve: add it, or leave --port out")
    if flags.port is not None and not 0 <= flags.port < 2**16:
        raise InputError(f"--port must be from 0 (any free port) to 65535. Given: {flags.port}")


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("report [RUN] [options]", __doc__)
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="folder of the run, or its s3:// or gs:// URI [the newest in runs/]",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="the page's file [report.html in the run's folder]"
    )
    parser.add_argument(
        "--figures", metavar="FOLDER", help="also write the figures as PNG, PDF and SVG files"
    )
    parser.add_argument(
        "--no-net", action="store_true", help="leave out what needs the best net's weights"
    )
    parser.add_argument(
        "--serve",
        action="store_true",
        help="show the page on 127.0.0.1, refreshed while the study runs, until Ctrl-C",
    )
    parser.add_argument("--port", type=int, help=f"port for --serve; 0 for any free port [{PORT}]")
    return parser
