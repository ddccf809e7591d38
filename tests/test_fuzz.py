"""Every registered parser reads or refuses a thousand damaged inputs; more by hand: fuzzing.py."""

import subprocess
import sys
from pathlib import Path


def test_damaged_inputs_are_read_or_refused_in_one_line() -> None:
    command = [sys.executable, str(Path(__file__).with_name("fuzzing.py")), "--inputs", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "idx: 1000 inputs" in done.stdout
