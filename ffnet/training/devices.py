"""Limits TensorFlow to the threads and GPUs that Ray has assigned to a trial."""

import os
from contextlib import AbstractContextManager

import tensorflow as tf

from ffnet.errors import InputError


def configure(threads: int, gpus: float) -> None:
    """Set TensorFlow's threads and visible GPUs. Call this before TensorFlow's first operation.

    By default every trial would use every core, so both of TensorFlow's thread pools are limited.
    Ray leaves all GPUs visible to a trial without GPUs; they are hidden here. TensorFlow takes
    GPU memory as it needs it, so that several trials can share a GPU.

    Args:
        threads: size of each thread pool, the number of CPUs assigned to the trial.
        gpus: number of GPUs assigned to the trial. Ray has already hidden all others.

    Raises:
        InputError: the trial has GPUs, but this TensorFlow sees none.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    if not gpus:
        tf.config.set_visible_devices([], "GPU")
        return
    seen = tf.config.list_physical_devices("GPU")
    if not seen:
        raise InputError(
            f"gpus = {gpus:g} needs a TensorFlow that sees a GPU. Given: "
            f"{[d.name for d in tf.config.list_physical_devices()]}; install ffnet[gpu]"
        )
    for gpu in seen:
        tf.config.experimental.set_memory_growth(gpu, True)


def on(device: str) -> AbstractContextManager[None]:
    """Return a context manager: nets in its block train on the device "cpu" or "gpu".

    Raises:
        InputError: TensorFlow sees no such device.
    """
    kind = device.upper()
    if not tf.config.list_physical_devices(kind):
        raise InputError(
            f"device must be a device that TensorFlow sees. Given: {device}; TensorFlow sees "
            f"{[d.name for d in tf.config.list_physical_devices()]}"
        )
    scope: AbstractContextManager[None] = tf.device(f"/{kind}:0")
    return scope


def threads() -> int:
    """Return how many threads TensorFlow uses in one operation."""
    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
