"""Only one file uses Ray's private parts, and a private Ray's host finds ffnet by itself."""

import ast
import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray._private import services

from conftest import ROOT
from ffnet.ray_cluster import ray_host, ray_internals

ONE_FILE = ROOT / "ffnet" / "ray_cluster" / "ray_internals.py"
MODULES = ("ray.core", "ray.experimental", "ray.autoscaler", "ray.scripts", "unittest")
"""Modules that are private although their names do not show it, or that only tests need."""

PUBLIC = {"_exit", "_replace", "_ArgumentGroup", "_abc_impl", "_trial_id"}
"""Names with an underscore that belong to `os`, named tuples, `argparse`, `abc` and Optuna."""


def private_uses(tree: ast.AST) -> Iterator[str]:
    """Return the private modules of Ray that a module imports, and the private names it uses.

    Private names count for all objects but `self`, as the code does not show what belongs to Ray.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            for alias in node.names:
                name = f"{module}.{alias.name}" if module else alias.name
                hidden = name.startswith("ray.") and any(p[0] == "_" for p in name.split("."))
                if hidden or any(f"{name}.".startswith(f"{m}.") for m in MODULES):
                    yield name
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = node.value
            if not (isinstance(owner, ast.Name) and owner.id in ("self", "cls")):
                yield node.attr


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC


def modules() -> list[Path]:
    """Return all modules that are installed or submitted, except the one file."""
    places = [*(ROOT / "ffnet").rglob("*.py"), *(ROOT / "jobs").glob("*.py")]
    return sorted(path for path in places if path != ONE_FILE)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_uses_a_private_part_of_ray(path: Path) -> None:
    assert list(private_uses(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "code",
    [
        "from ray._private import state",
        "import ray._raylet",
        "from ray.tune.schedulers.hyperband import _Bracket",
        "from ray.core.generated import autoscaler_pb2",
        "from ray.experimental.internal_kv import internal_kv_get_gcs_client",
        "from unittest.mock import patch",
        "actor._actor_id.hex()",
        "super()._process_bracket(bracket)",
    ],
)
def test_a_private_part_is_recognised(code: str) -> None:
    assert list(private_uses(ast.parse(code)))


def test_no_class_hides_a_private_name_of_its_base_in_ray() -> None:
    """If a method of ours had the name of a private method of Ray, Ray would call ours."""
    from ray import tune
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher

    from ffnet.ray_cluster import ray_internals
    from ffnet.tuning import driver, schedulers, search

    bases = (tune.Trainable, tune.Callback, tune.Stopper, TrialScheduler, Searcher)
    changed = {ray_internals.ExploresItself}
    ours = [
        value
        for module in (driver, schedulers, search)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, bases) and "ffnet" in value.__module__
    ]
    assert len(ours) > 8
    for kind in ours:
        theirs = {n for base in kind.__mro__ if "ray." in base.__module__ for n in vars(base)}
        for base in kind.__mro__:
            if base.__module__.startswith("ffnet.") and base not in changed:
                assert not [n for n in vars(base) if is_private(n) and n in theirs], base


def test_the_host_of_a_private_ray_finds_ffnet_from_its_own_place(tmp_path: Path) -> None:
    """As in a clone: without installed packages (-S) and without PYTHONPATH."""
    folder = tmp_path / "ffnet-run-1"
    folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    program = [sys.executable, "-S", "-P", ray_host.__file__, "clear", str(folder)]
    subprocess.run(program, cwd=tmp_path, env=environment, check=True)
    assert not folder.exists()


def test_a_node_may_start_later_than_ray_waits_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each answer that the node is not there takes 20 s of a clock that nobody waits for."""
    now, asked = [0.0], [0]

    def sleep(seconds: float) -> None:
        now[0] += 20

    def ask(address: str, node: str) -> str:
        asked[0] += 1
        if now[0] < starts_at:
            raise RuntimeError("not there")
        return f"{node} at {address}"

    monkeypatch.setattr(services, "get_node", ask)
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
    monkeypatch.setattr(ray_internals, "time", clock)
    starts_at = 90.0
    with ray_internals.patient():
        assert services.get_node("gcs", "n") == "n at gcs"
    assert asked == [6]
    starts_at = 1000.0
    with ray_internals.patient(), pytest.raises(RuntimeError, match="not there"):
        services.get_node("gcs", "n")
    assert services.get_node is ask


def test_tune_saves_no_state_for_a_study_and_saves_it_again_for_others() -> None:
    """The state of 6,000 trials takes Tune ten seconds after the last trial."""
    module = importlib.import_module("ray.tune.tune")
    source = inspect.getsource(module.run)
    assert "runner = TuneController(" in source
    assert "return ExperimentAnalysis(" in source
    before = module.TuneController, module.ExperimentAnalysis
    with ray_internals.stateless_tune():
        controller = object.__new__(module.TuneController)  # Ray's own would miss its attributes
        assert isinstance(controller, before[0])
        controller.checkpoint()
        controller.checkpoint(force=True, wait=True)
        module.ExperimentAnalysis(experiment_checkpoint_path="/nowhere", trials=[])
    assert (module.TuneController, module.ExperimentAnalysis) == before
    with pytest.raises(AttributeError):
        object.__new__(module.TuneController).checkpoint()
