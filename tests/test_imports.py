"""Which package of ffnet may import which. Reading a run must need neither Ray nor TensorFlow."""

import ast
from pathlib import Path

import pytest

from conftest import ROOT

ROOMS = {
    "errors": "",
    "system": "errors",
    "spec": "errors",
    "data": "errors system spec",
    "nets": "errors spec data",
    "run": "errors system spec data",
    "report": "errors spec run",
    "training": "errors system spec data nets",
    "export": "errors spec data run nets training serving",
    "ray_cluster": "errors system spec run",
    "serving": "errors system spec run export ray_cluster",
    "tuning": "errors system spec data run training ray_cluster",
    "api": "errors system spec data run report training export tuning",
}
"""{package: packages that it may import}; `cli` may import all, and nothing may import `cli`."""

WITHOUT = {
    "ray": {"api", "cli", "data", "errors", "export", "nets", "report", "run", "spec", "system"},
    "tensorflow": {"cli", "data", "errors", "ray_cluster", "report", "run", "spec", "system"},
}
"""{library: packages of ffnet that never import it at the top of a module}."""

FILES = sorted((ROOT / "ffnet").rglob("*.py"))


def room(path: Path) -> str:
    """Return the name of the package or module below ffnet."""
    inside = path.relative_to(ROOT / "ffnet").with_suffix("")
    return inside.parts[0]


def imported(tree: ast.AST) -> list[str]:
    """Return the modules that the code below a node imports."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_those_below_it(path: Path) -> None:
    own = room(path)
    if own in ("cli", "__main__", "__init__"):
        return
    used = {
        name.split(".")[1] for name in imported(ast.parse(path.read_text())) if name[:6] == "ffnet."
    }
    assert used <= {own, *ROOMS[own].split()}


@pytest.mark.parametrize("library", WITHOUT)
def test_what_is_looked_at_needs_neither_ray_nor_tensorflow(library: str) -> None:
    for path in FILES:
        if room(path) in WITHOUT[library]:
            top = ast.parse(path.read_text()).body
            names = [
                name
                for node in top
                if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If)
                for name in imported(node)
            ]
            assert not [n for n in names if n.split(".")[0] == library], path
