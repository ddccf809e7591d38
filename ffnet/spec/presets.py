"""The studies and the nets that come with ffnet, by name."""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def studies() -> dict[str, Path]:
    """The file of each study: `ffnet tune digits` runs the one named digits."""
    return _files("studies")


def nets() -> dict[str, Path]:
    """The file of each net: `ffnet train --preset mnist-dense` trains the one named mnist-dense."""
    return _files("presets")


def _files(kind: str) -> dict[str, Path]:
    """Name → file. The files are in the package; in a clone, jobs/ has links to them."""
    return {path.stem: path for path in sorted((PACKAGE / kind).glob("*.toml"))}
