"""Gives TensorFlow the threads and GPUs that a trial holds, and no others."""

import os
from contextlib import AbstractContextManager

import tensorflow as tf

from ffnet.errors import InputError


def configure(threads: int, gpus: float) -> None:
    """Set TensorFlow's threads and visible GPUs; must come before its first operation.

    Both thread pools get this many threads, for otherwise every trial would use every core.
    Without GPUs all are hidden: Ray leaves them visible to such a trial. GPUs are asked to grow
    their memory as needed, so that fractions of one can share it.

    Args:
        threads: as many as CPUs held.
        gpus: GPUs held; Ray has narrowed the visible ones to these already.

    Raises:
        InputError: GPUs are held, but this TensorFlow sees none.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    if not gpus:
        tf.config.set_visible_devices([], "GPU")
        return
    seen = tf.config.list_physical_devices("GPU")
    if not seen:
        raise InputError(
            f"gpus = {gpus:g} needs a TensorFlow that sees one. Given: "
            f"{[d.name for d in tf.config.list_physical_devices()]}; install ffnet[gpu]"
        )
    for gpu in seen:
        tf.config.experimental.set_memory_growth(gpu, True)


def on(device: str) -> AbstractContextManager[None]:
    """A context in which nets train on "cpu" or "gpu", without a change of TensorFlow's settings.

    Raises:
        InputError: there is no such device.
    """
    kind = device.upper()
    if not tf.config.list_physical_devices(kind):
        raise InputError(
            f"device must be one that TensorFlow sees. Given: {device}; it sees "
            f"{[d.name for d in tf.config.list_physical_devices()]}"
        )
    scope: AbstractContextManager[None] = tf.device(f"/{kind}:0")
    return scope


def threads() -> int:
    """The threads that TensorFlow uses in one operation."""
    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
