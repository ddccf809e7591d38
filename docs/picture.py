"""Draws the README's pictures: a terminal in which a study of the digits ran, and the run's page.

make picture        runs the study, and writes docs/terminal.svg and docs/page.png

The page is drawn by Chromium (Debian's package chromium), the terminal without it.
"""

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyte
from rich.console import Console
from rich.text import Text

COLUMNS, LINES = 80, 40
COMMANDS = (
    "tune digits --out runs/digits",
    "table runs/digits --columns trial,status,reason --top 4",
)
TERMINAL, PAGE = (Path(__file__).with_name(name) for name in ("terminal.svg", "page.png"))
PAGE_SIZE = 1200, 2300  # pixels of the window: down to the first figures
BIN = Path(sys.executable).parent


def screen_after(command: str, folder: str) -> list[str]:
    """Run a command of ffnet in a terminal, and return the lines that it leaves there."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ |= {"COLUMNS": str(COLUMNS), "PATH": f"{BIN}:{os.environ['PATH']}"}
        os.execvp("ffnet", ["ffnet", *command.split()])
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    try:
        while read := os.read(terminal, 65536):
            stream.feed(read)
    except OSError:  # Linux says so where a terminal has no writer any more
        pass
    if status := os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
        raise SystemExit(f"ffnet {command} ended with exit status {status}")
    return "\n".join(line.rstrip() for line in screen.display).rstrip().splitlines()


def draw_page(folder: str) -> None:
    """Draw the upper part of the run's page."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit(f"{PAGE} is not drawn anew: it needs Debian's package chromium")
    subprocess.run([BIN / "ffnet", "report", "runs/digits"], cwd=folder, check=True)
    subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--disable-background-networking", "--hide-scrollbars",
            f"--user-data-dir={folder}/home",
            "--window-size={},{}".format(*PAGE_SIZE), "--virtual-time-budget=20000",
            f"--screenshot={PAGE}", f"file://{folder}/runs/digits/report.html",
        ],
        check=True,
    )  # fmt: skip


def main() -> None:
    """Run the commands one after another, and draw what the terminal and the browser show."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (f"ffnet {command}", "bold")))
            for line in screen_after(command, folder):
                console.print(Text(line.replace(folder, "~")), soft_wrap=True)
            console.print()
        draw_page(folder)
    drawn = console.export_svg(title="ffnet", unique_id="ffnet")
    drawn = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # fonts from the network
    TERMINAL.write_text("\n".join(line.rstrip() for line in drawn.splitlines()) + "\n")


if __name__ == "__main__":
    main()
