"""Makes the copy of the working directory that is sent to a cluster, and the command of the job."""

import argparse
import os
import shutil
from datetime import datetime
from pathlib import Path

from ffnet.errors import InputError
from ffnet.ray_cluster.named import Named, settle
from ffnet.run.study_files import name_of
from ffnet.spec.presets import studies
from ffnet.spec.validation import did_you_mean

DATA = {
    ".arrow", ".bin", ".csv", ".feather", ".gz", ".h5", ".idx", ".keras", ".npy", ".npz",
    ".parquet", ".tar", ".tsv", ".zip", ".zst",
}  # fmt: skip
LEFT_OUT = {"__pycache__", "build", "dist", "runs"}
PACKAGE_LIMIT = 100e6  # bytes


def copy_code(here: Path, to: Path) -> None:
    """Copy the working directory to the new folder `to`, without files that no job needs.

    Left out are hidden files (.git, .venv, caches, files with secrets), runs, environments, builds,
    links to folders, and data except ffnet's own. The copy keeps the code as it is now, so that a
    job that is submitted again after hours runs the same code.

    Raises:
        InputError: the copy would have more than 100 MB.
    """
    largest: list[tuple[int, str]] = []

    def left_out(folder: str, names: list[str]) -> set[str]:
        out = {name for name in names if _left_out(Path(folder, name), here)}
        for path in (Path(folder, name) for name in names if name not in out):
            if path.is_file():
                largest.append((path.stat().st_size, str(path.relative_to(here))))
        _refuse_large(largest)
        return out

    shutil.copytree(here, to, ignore=left_out)


def is_copied(path: Path, here: Path) -> bool:
    """Whether a path of the working directory is in its copy."""
    path = Path(os.path.normpath(path))
    if not path.is_relative_to(here):
        return False
    inside = path.relative_to(here).parts
    return not any(_left_out(here.joinpath(*inside[: i + 1]), here) for i in range(len(inside)))


def _left_out(path: Path, here: Path) -> bool:
    if path.name.startswith(".") or path.name in LEFT_OUT or path.suffix == ".egg-info":
        return True
    if path.is_dir():
        inside = ("pyvenv.cfg", "study.json")  # marks of an environment and of a run
        return path.is_symlink() or any((path / name).exists() for name in inside)
    embedded = path.parent == here / "ffnet" / "data"
    return not path.is_file() or (path.suffix.lower() in DATA and not embedded)


def _refuse_large(files: list[tuple[int, str]]) -> None:
    total = sum(size for size, _ in files)
    if total > PACKAGE_LIMIT:
        size, name = max(files)
        raise InputError(
            f"the working directory, which is sent to the cluster, must have less than "
            f"{PACKAGE_LIMIT / 1e6:.0f} MB. Given: the largest file is {name} "
            f"({size / 1e6:.0f} MB); put data and results elsewhere"
        )


# --- the command -------------------------------------------------------------------------------


def command_of(words: list[str], here: Path) -> Named:
    """The arguments of Python for a job: its file in jobs/ and the job's own arguments.

    The cluster deletes the copy in which a job runs. So a relative `--out` becomes an absolute path
    below `here`, and a study without `--out` gets a new folder in runs/ below `here`. For other
    files that the job names, see `settle`.

    Args:
        words: the name of a job in jobs/, and its arguments.
        here: the working directory, absolute.

    Raises:
        InputError: there is no such job, or it names files that it would not find.
    """
    name, *arguments = words
    if not (here / "jobs" / f"{name}.py").is_file():
        known = sorted(path.stem for path in (here / "jobs").glob("[!_]*.py"))
        raise InputError(
            f"the first word after -- must be a job in {here / 'jobs'} "
            f"({', '.join(known) or 'none here'}). Given: {name}{did_you_mean(name, known)}"
        )
    out, rest = _split_out(arguments)
    if out is None and name == "tune" and "--resume" not in rest:
        out = f"runs/{_stem(rest)}-{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3]
    if out and "://" not in out:
        out = str(here / out)
    named = settle(name, rest, here, lambda path: is_copied(path, here))
    words = [*named.arguments, *(["--out", out] if out else [])]
    return Named([f"jobs/{name}.py", *map(_with_server, words)], named.sent)


def _with_server(word: str) -> str:
    """A place in an object store, with the server that this machine's environment names."""
    if not word.startswith(("s3://", "gs://")):
        return word
    from ffnet.run.storage import checked

    return checked(word)


def _split_out(arguments: list[str]) -> tuple[str | None, list[str]]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--out")
    try:
        flags, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise InputError(str(error)) from None
    if flags.out is not None and not flags.out.strip():
        raise InputError(f"--out needs a value, or leave it out. Given: {flags.out!r}")
    return flags.out, rest


def _stem(arguments: list[str]) -> str:
    named = [a for a in arguments if a.endswith((".toml", ".json")) or a in studies()]
    return name_of(named[0]) if named else "run"


def resumed(command: list[str]) -> list[str] | None:
    """The command that continues a job after its driver was lost. None if the job cannot."""
    if command[0] != "jobs/tune.py":
        return None
    return command if "--resume" in command else [*command, "--resume"]
