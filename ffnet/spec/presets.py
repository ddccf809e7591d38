"""The studies and the nets that come with ffnet, by name."""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def studies() -> dict[str, Path]:
    """The file of each study: `ffnet tune digits` runs the one named digits."""
    return _files("studies")


def nets() -> dict[str, Path]:
    """The file of each net of the source lesson: `ffnet train --preset mnist-dense`."""
    return _files("presets")


def _files(kind: str) -> dict[str, Path]:
    """They lie in jobs/ of a clone, and inside the package where it was installed from a wheel."""
    clone = PACKAGE.parent / "jobs" / kind
    folder = clone if clone.is_dir() else PACKAGE / kind
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}
