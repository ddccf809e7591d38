"""Every fuzzed parser reads or refuses a thousand damaged inputs; more by hand: fuzzing.py."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

BAD = """
import ctypes, os, sys
from pathlib import Path
import fuzzing
from ffnet.errors import InputError

class Refused(Exception):
    pass

def bad(name, run):
    fuzzing.fuzzed(name, lambda: [b"seed"], refusals=(InputError, Refused))(run)

def refuse(message):
    raise Refused(message)

bad("raises", lambda data, folder: {}["x"])
bad("takes-memory", lambda data, folder: bytearray(4 << 30))
bad("says-much", lambda data, folder: refuse("x" * 500))
bad("says-two-lines", lambda data, folder: refuse("x\\ny"))
bad("commands-a-terminal", lambda data, folder: refuse("\\x1b[31m"))
bad("writes", lambda data, folder: Path(sys.argv[1], "x").write_text("x"))
bad("makes-a-folder", lambda data, folder: (folder / ".." / ".." / "x").mkdir(exist_ok=True))
bad("runs", lambda data, folder: os.system("true"))
bad("crashes", lambda data, folder: ctypes.string_at(0))
bad("hangs", lambda data, folder: [0 for _ in iter(int, 1)])
bad("right", lambda data, folder: (folder / "x").write_bytes(data))
fuzzing.CPU_SECONDS = 0.2
sys.exit(fuzzing.main(["--inputs", "2", "--keep", sys.argv[1], *(
    name for name, parser in fuzzing.PARSERS.items() if parser.parse.__module__ == "__main__"
)]))
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=TESTS, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_damaged_inputs_are_read_or_refused_in_one_line() -> None:
    done = run("fuzzing.py", "--inputs", "1000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "idx: 1000 inputs" in done.stdout


def test_the_fuzzer_finds_what_a_parser_must_not_do(tmp_path: Path) -> None:
    done = run("-c", BAD, str(tmp_path))
    assert done.returncode == 1
    found = {}
    for line in done.stdout.splitlines():
        if not line.startswith(" ") and " inputs: " in line:
            name, counts = line.split(": 2 inputs: ")
            words = counts.split(";")[0].split(", ")
            found[name] = {word.split()[1]: int(word.split()[0]) for word in words}
    bad = {
        name: [what for what, count in counts.items() if count and what not in ("read", "refused")]
        for name, counts in found.items()
    }
    assert bad == {
        "raises": ["traceback"],
        "takes-memory": ["traceback"],
        "says-much": ["message"],
        "says-two-lines": ["message"],
        "commands-a-terminal": ["message"],
        "writes": ["stray"],
        "makes-a-folder": ["stray"],
        "runs": ["stray"],
        "crashes": ["crash"],
        "hangs": ["crash"],
        "right": [],
    }
    assert found["right"]["read"] == 2
    assert "crash by input 0 of seed 0: SIGSEGV" in done.stdout
    kept = {path.suffix for path in tmp_path.iterdir()}
    assert kept == {".traceback", ".message", ".stray", ".crash"}
