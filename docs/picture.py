"""Draws the README's picture: a terminal of 80 columns in which a study of the digits ran.

make picture        runs the study, and writes docs/terminal.svg
"""

import io
import os
import pty
import re
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
PICTURE = Path(__file__).with_name("terminal.svg")
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


def main() -> None:
    """Run the commands one after another, and draw what the terminal shows."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (f"ffnet {command}", "bold")))
            for line in screen_after(command, folder):
                console.print(Text(line.replace(folder, "~")), soft_wrap=True)
            console.print()
    drawn = console.export_svg(title="ffnet", unique_id="ffnet")
    drawn = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # fonts from the network
    PICTURE.write_text("\n".join(line.rstrip() for line in drawn.splitlines()) + "\n")


if __name__ == "__main__":
    main()
