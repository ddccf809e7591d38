"""Says before a study starts on which nodes bfloat16 products are slower than float32 products."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ffnet.spec.study import Study

PATIENCE = 60.0  # seconds within which the nodes must answer; those that are busy are left out


class Rates(NamedTuple):
    """What a node multiplies in a second, with the threads of a trial.

    Attributes:
        host: the node's name.
        float32, bfloat16: GFLOP/s.
    """

    host: str
    float32: float
    bfloat16: float


def warnings(study: Study) -> Iterator[str]:
    """Yield a line for each node where bfloat16 is slower, if the study asks for it on CPUs."""
    resources = study.resources
    if study.training.precision != "bfloat16" or resources.gpus:
        return
    # With max_calls the process ends, so that no worker finds TensorFlow already configured.
    measure = ray.remote(num_cpus=resources.cpus, max_calls=1)(_rates)
    answers = [
        measure.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(node["NodeManagerHostname"], resources.threads)
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) >= resources.cpus
    ]
    done, late = ray.wait(answers, num_returns=len(answers), timeout=PATIENCE)
    for answer in late:
        ray.cancel(answer)
    yield from lines(ray.get(done))


def lines(nodes: Iterable[Rates]) -> Iterator[str]:
    """Yield a line for each node that multiplies bfloat16 slower than float32."""
    for node in sorted({*nodes}):
        if node.bfloat16 < node.float32:
            yield (
                f"{node.host} multiplies bfloat16 slower than float32 ({node.bfloat16:.0f} against "
                f'{node.float32:.0f} GFLOP/s): precision = "float32" is faster there'
            )


def _rates(host: str, threads: int) -> Rates:
    """Runs on a node."""
    from ffnet.training.devices import configure
    from ffnet.training.speed import products

    configure(threads, gpus=0)
    return Rates(host, products("float32"), products("bfloat16"))
