"""Times the source lesson's first model with Keras `fit`, to compare with `ffnet train`.

  python jobs/peers/keras_dense.py PRESET.toml SEED [DATA_DIR]     (jobs/bench.py dense runs this)

Prints a line of JSON.
"""

import json
import sys
import time
from pathlib import Path

import tensorflow as tf
from tensorflow import keras

from ffnet.data.load import load
from ffnet.run.study_files import read_toml
from ffnet.spec.study import OneNet
from ffnet.spec.validation import validated


def main(preset: str, seed: str, data_dir: str | None = None) -> None:
    """Train and evaluate the preset's net with the lesson's code."""
    one = validated(OneNet, read_toml(Path(preset)), preset)
    data = load(one.data.model_copy(update={"data_dir": data_dir}))
    assert data.test
    keras.utils.set_random_seed(int(seed))
    x, x_test = (part.x.astype("float32") / 255 for part in (data.train, data.test))
    model = keras.Sequential(
        [
            keras.layers.Flatten(),
            keras.layers.Dense(one.net.hidden_sizes[0], activation=one.net.activation),
            keras.layers.Dropout(one.net.dropout_rates[0]),
            keras.layers.Dense(len(data.classes), activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(one.training.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    begun = time.perf_counter()
    model.fit(x, data.train.y, batch_size=one.training.batch_size, epochs=one.epochs, verbose=0)
    seconds = time.perf_counter() - begun
    _, accuracy = model.evaluate(x_test, data.test.y, verbose=0)
    print(json.dumps({"seconds": seconds, "test_accuracy": accuracy, "keras": keras.__version__}))


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main(*sys.argv[1:])
