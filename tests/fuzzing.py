"""Feeds damaged inputs to ffnet's parsers: each must be read, or refused in one short line.

    python tests/fuzzing.py idx pickle --inputs 100000 --seed 1 --keep found/

Without names, all parsers run. They are in tests/fuzz_*.py: functions with the decorator `fuzzed`
that get an input and an empty folder. The seed decides the inputs. Forked processes with limited
memory and time parse them, so a crash shows which input caused it. A parser must not start a
process, open a connection, look up a class for a pickle, or write outside its folder. The exit
status is 1 if an input led to anything but a value or a refusal.
"""

import argparse
import importlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ffnet.errors import InputError

Parse = Callable[[bytes, Path], object]

BATCH = 500
"""How many inputs a forked process parses."""

MEMORY = 2 << 30
"""How many bytes of address space a parser may add to the process."""

CPU_SECONDS = 20
"""Seconds for an input. SIGPROF kills a process that takes longer."""

LONGEST = 500
"""A refusal may have up to so many characters."""

BAD = ("traceback", "message", "stray", "crash")
FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect",
    "pickle.find_class",
)  # fmt: skip
"""Python's audit events that no parser may cause."""


@dataclass(frozen=True)
class Fuzzed:
    """A parser under test.

    Attributes:
        name: the parser's name on the command line.
        seeds: returns valid inputs; damaged inputs are made from them.
        parse: reads an input; it may write to the folder that it gets.
        words: bytes with a meaning for the parser; they are put into inputs.
        refusals: the exceptions with which the parser refuses an input.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    parse: Parse
    words: tuple[bytes, ...]
    refusals: tuple[type[Exception], ...]


PARSERS: dict[str, Fuzzed] = {}


def fuzzed(
    name: str,
    seeds: Callable[[], list[bytes]],
    words: Sequence[bytes] = (),
    refusals: tuple[type[Exception], ...] = (InputError,),
) -> Callable[[Parse], Parse]:
    """Register the decorated function as a parser; see `Fuzzed` for the arguments."""

    def register(parse: Parse) -> Parse:
        PARSERS[name] = Fuzzed(name, seeds, parse, tuple(words), refusals)
        return parse

    return register


# --- inputs --------------------------------------------------------------------------------------

NUMBERS = (0, 1, -1, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1)


def mutated(draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Make an input: a seed with one to eight changes."""
    data = bytearray(draw.choice(seeds))
    for _ in range(min(8, 1 + int(draw.expovariate(0.7)))):
        draw.choice(CHANGES)(draw, data, seeds, words)
    return bytes(data)


def _place(draw: random.Random, data: bytearray) -> int:
    """Choose a position, more often near the start or the end, where the sizes are."""
    near = draw.choice((len(data), len(data), 64))
    at = draw.randrange(min(near, len(data)) + 1)
    return len(data) - at if draw.random() < 0.25 else at


def _flip(draw: random.Random, data: bytearray, *_: Any) -> None:
    for _i in range(draw.choice((1, 1, 1, 2, 8))):
        at = _place(draw, data)
        data[at : at + 1] = [draw.choice((draw.randrange(256), 0, 255, 1 << draw.randrange(8)))]


def _cut(draw: random.Random, data: bytearray, *_: Any) -> None:
    at = _place(draw, data)
    del data[at : draw.choice((at + 1, at + draw.randrange(64) + 1, len(data)))]


def _copy(draw: random.Random, data: bytearray, *_: Any) -> None:
    at, length = _place(draw, data), 1 << draw.randrange(10)
    block = data[at : at + length] * draw.choice((1, 1, 2, 50))
    to = _place(draw, data)
    data[to : to + draw.choice((0, len(block)))] = block


def _splice(draw: random.Random, data: bytearray, seeds: Sequence[bytes], *_: Any) -> None:
    other = draw.choice(seeds)
    at = draw.randrange(len(other) + 1)
    data[_place(draw, data) :] = other[at:]


def _number(draw: random.Random, data: bytearray, *_: Any) -> None:
    at, size = _place(draw, data), draw.choice((1, 2, 4, 8))
    value = draw.choice(NUMBERS) % (1 << 8 * size)
    data[at : at + size] = value.to_bytes(size, draw.choice(("big", "little")))


def _digits(draw: random.Random, data: bytearray, *_: Any) -> None:
    at = _place(draw, data)
    text = str(draw.choice((*NUMBERS, 1e308, 1e-320, 10**30)))
    data[at : at + draw.choice((0, 1, len(text)))] = text.encode()


def _swap(draw: random.Random, data: bytearray, *_: Any) -> None:
    size = draw.choice((1, 2, 4, 8))
    one, other = sorted((_place(draw, data), _place(draw, data)))
    if one + size <= other:
        data[one : one + size], data[other : other + size] = (
            data[other : other + size],
            data[one : one + size],
        )


def _word(draw: random.Random, data: bytearray, _: Any, words: Sequence[bytes]) -> None:
    if words:
        word, at = draw.choice(words), _place(draw, data)
        data[at : at + draw.choice((0, len(word)))] = word


CHANGES = (_flip, _flip, _cut, _copy, _splice, _number, _digits, _swap, _word, _word)


# --- one input -----------------------------------------------------------------------------------


class Stray(BaseException):
    """A parser did something forbidden."""


def _watch(folder: Path) -> None:
    """From now on, raise Stray in this process when a parser does something forbidden."""
    inside = f"{folder}/"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN:
            raise Stray(f"{event} {arguments!r}")
        if event == "open" and isinstance(arguments[0], str) and arguments[2] is not None:
            path = os.path.abspath(arguments[0])  # noqa: PTH100 - links are not followed
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not path.startswith((inside, "/dev/")):
                raise Stray(f"wrote {path}")

    sys.addaudithook(hook)


def outcome(parser: Fuzzed, data: bytes, folder: Path) -> tuple[str, str]:
    """Parse an input. Returns what happened, and the message or traceback."""
    try:
        parser.parse(data, folder)
    except parser.refusals as refusal:
        message = str(refusal)
        odd = [c for c in message if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
        if not message or odd or len(message) >= LONGEST:
            return "message", f"{len(message)} characters: {message[:200]!r}"
        return "refused", message
    except Stray as stray:
        return "stray", str(stray)
    except Exception:
        return "traceback", traceback.format_exc()
    return "read", ""


# --- many inputs ---------------------------------------------------------------------------------


@dataclass
class Tally:
    """Counts what happened with a parser's inputs."""

    counts: Counter[str]
    found: list[tuple[int, str, str]]
    """Index, outcome and text of each input with a bad outcome."""
    most_bytes: int = 0
    """The largest memory that a process took, in bytes."""


def run(parser: Fuzzed, inputs: int, seed: int) -> Tally:
    """Parse so many inputs in forked processes."""
    tally = Tally(Counter(), [])
    seeds = parser.seeds()
    first = 0
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # thrice as fast as a disk
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory) as place:
        inside = Path(place, "a", "b", "c")  # so that ../../x is seen too
        inside.mkdir(parents=True)
        while first < inputs:
            batch = range(first, min(first + BATCH, inputs))
            first = _batch(parser, seeds, seed, batch, inside, tally)
            left = [p for p in Path(place).rglob("*") if inside not in p.parents]
            if len(left) != 3:
                tally.counts["stray"] += 1
                tally.found.append((batch.start, "stray", f"one of this batch wrote {left}"))
    return tally


def _input(parser: Fuzzed, seeds: Sequence[bytes], seed: int, index: int) -> bytes:
    return mutated(random.Random(f"{parser.name} {seed} {index}"), seeds, parser.words)


def _batch(
    parser: Fuzzed, seeds: list[bytes], seed: int, batch: range, inside: Path, tally: Tally
) -> int:
    """Parse a batch in a process. Returns the index of the next input."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.close(reader)
        status = 1
        try:
            _parse_all(parser, ((i, _input(parser, seeds, seed, i)) for i in batch), inside, writer)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
        done = [line.rstrip("\n").split("\t", 1) for line in lines]
    _, status, usage = os.wait4(child, 0)
    tally.most_bytes = max(tally.most_bytes, usage.ru_maxrss << 10)
    for i, (what, text) in zip(batch, done, strict=False):
        tally.counts[what] += 1
        if what in BAD:
            tally.found.append((i, what, text.replace("\v", "\n")))
    shutil.rmtree(inside)
    inside.mkdir()
    if status == 0:
        return batch.stop
    index = batch.start + len(done)
    signal_ = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    why = signal.Signals(signal_).name if signal_ else f"exit status {os.WEXITSTATUS(status)}"
    tally.counts["crash"] += 1
    tally.found.append((index, "crash", why))
    return index + 1


def _parse_all(
    parser: Fuzzed, inputs: Iterator[tuple[int, bytes]], inside: Path, writer: int
) -> None:
    """In the forked process: parse, and write a line for each input that is done."""
    silent = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(silent, standard)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    os.chdir(inside)
    tempfile.tempdir = str(inside)
    os.environ |= {"TMPDIR": str(inside), "FFNET_CACHE": str(inside / "cache")}
    sys.dont_write_bytecode = True
    _watch(inside)
    for index, data in inputs:
        folder = inside / str(index)
        folder.mkdir()
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        what, text = outcome(parser, data, folder)
        signal.setitimer(signal.ITIMER_PROF, 0)
        line = text.replace("\n", "\v").encode("utf-8", "replace") if what in BAD else b""
        line = what.encode() + b"\t" + line[-4000:].replace(b"\n", b" ") + b"\n"
        while line:
            line = line[os.write(writer, line) :]
        shutil.rmtree(folder, ignore_errors=True)


# --- command line --------------------------------------------------------------------------------


def main(argv: list[str]) -> int:
    """Run the command line. Returns the exit status."""
    for path in sorted(Path(__file__).parent.glob("fuzz_*.py")):
        importlib.import_module(path.stem)
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("parsers", nargs="*", help=f"of {', '.join(PARSERS)}; default: all")
    arguments.add_argument("--inputs", type=int, default=1000, help="inputs of each parser")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--keep", type=Path, help="a folder for the inputs that failed")
    options = arguments.parse_args(argv)
    if unknown := set(options.parsers) - PARSERS.keys():
        arguments.error(f"there is no parser {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without removing its folder
    bad = 0
    for parser in [PARSERS[name] for name in options.parsers or PARSERS]:
        tally = run(parser, options.inputs, options.seed)
        named = ", ".join(f"{tally.counts[what]} {what}" for what in ("read", "refused", *BAD))
        memory = f"{tally.most_bytes >> 20} MiB at most"
        print(f"{parser.name}: {options.inputs} inputs: {named}; {memory}", flush=True)
        for index, what, text in tally.found[:10]:
            print(f"  {what} by input {index} of seed {options.seed}: {text}", flush=True)
        if options.keep:
            _keep(parser, tally, options.seed, options.keep)
        bad += len(tally.found)
    return 1 if bad else 0


def _keep(parser: Fuzzed, tally: Tally, seed: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    seeds = parser.seeds()
    for index, what, _ in tally.found:
        path = folder / f"{parser.name}-{seed}-{index}.{what}"
        path.write_bytes(_input(parser, seeds, seed, index))


if __name__ == "__main__":
    import fuzzing  # the module that tests/fuzz_*.py register with, which __main__ is not

    sys.exit(fuzzing.main(sys.argv[1:]))
