"""Measures how fast this machine multiplies matrices. No training of wide nets can be faster.

  python jobs/peers/peak.py        (jobs/bench.py sweep runs this)

It multiplies 2048×2048 matrices on all CPUs and prints a line of JSON: GFLOP/s for each dtype, the
best of five repeats.
"""

import json
import time

import tensorflow as tf

SIZE, REPEATS = 2048, 5


def rate(dtype: tf.DType) -> float:
    """Return the GFLOP/s of a dtype."""
    a, b = (tf.cast(tf.random.normal((SIZE, SIZE)), dtype) for _ in range(2))
    seconds = []
    for _ in range(REPEATS + 1):  # the first one warms up
        begun = time.perf_counter()
        for _ in range(4):
            product = tf.matmul(a, b)
        product.numpy()
        seconds.append((time.perf_counter() - begun) / 4)
    return 2 * SIZE**3 / min(seconds[1:]) / 1e9


if __name__ == "__main__":
    print(json.dumps({dtype.name: rate(dtype) for dtype in (tf.float32, tf.bfloat16)}))
