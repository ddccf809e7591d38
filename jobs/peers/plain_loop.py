"""Trains nets in a plain TensorFlow loop in a single warm process, without a tuner.

  python jobs/peers/plain_loop.py WORK.json        (jobs/bench.py writes the file and runs this)

A tf.function trains a whole epoch, and it is traced before the clock starts. Configurations run one
after another, each on all threads. Prints a line of JSON.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from ffnet.data.load import load
from ffnet.spec.sections import Data


def main(path: str) -> None:
    """Train every configuration in turn."""
    sweep = json.loads(Path(path).read_text())
    data = load(Data.model_validate(sweep["data"]))
    x, x_val = (
        tf.constant(data.normalized(part.x).reshape(len(part), -1))
        for part in (data.train, data.validation)
    )
    y, y_val = tf.constant(data.train.y), tf.constant(data.validation.y)
    classes, batch = len(data.classes), sweep["batch_size"]
    w1 = tf.Variable(tf.zeros((data.features, 1)), shape=(data.features, None))
    w2 = tf.Variable(tf.zeros((1, classes)), shape=(None, classes))

    def scores(batch_x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(batch_x @ w1) @ w2

    @tf.function  # type: ignore[untyped-decorator]
    def epoch(learning_rate: tf.Tensor) -> None:
        order = tf.random.shuffle(tf.range(len(x)))
        for start in tf.range(0, len(x), batch):
            index = order[start : start + batch]
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(
                        labels=tf.gather(y, index), logits=scores(tf.gather(x, index))
                    )
                )
            for weight, gradient in zip((w1, w2), tape.gradient(loss, (w1, w2)), strict=True):
                weight.assign_sub(learning_rate * gradient)

    @tf.function  # type: ignore[untyped-decorator]
    def accuracy() -> tf.Tensor:
        hits = tf.equal(tf.argmax(scores(x_val), 1, tf.int32), y_val)
        return tf.reduce_mean(tf.cast(hits, tf.float32))

    def train(number: int, hidden_sizes: int, learning_rate: float, epochs: int) -> None:
        for weight, shape in ((w1, (data.features, hidden_sizes)), (w2, (hidden_sizes, classes))):
            weight.assign(tf.random.normal(shape) * np.sqrt(2 / shape[0]))
        for at in range(epochs):
            epoch(tf.constant(learning_rate, tf.float32))
            report = {"trial": number, "epoch": at + 1, "val_accuracy": float(accuracy())}
            reports.append(report | {"at": time.time()})

    reports: list[dict[str, float]] = []
    train(0, 8, 0.01, 1)  # traces the functions before the clock starts
    reports.clear()
    begun = time.time()
    for number, values in enumerate(sweep["configurations"]):
        train(number, **values, epochs=sweep["epochs"])
    print(json.dumps({"begun": begun, "reports": reports, "lost": 0}))


if __name__ == "__main__":
    main(sys.argv[1])
