"""The machine's rate of matrix products: what no training of wide nets can exceed.

  python jobs/peers/peak.py        (jobs/bench.py sweep runs this)

The best of five repeats of 2048² products on all CPUs, in GFLOP/s by type. Prints one line of JSON.
"""

import json
import time

import tensorflow as tf

SIZE, REPEATS = 2048, 5


def rate(dtype: tf.DType) -> float:
    """GFLOP/s of one type."""
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
