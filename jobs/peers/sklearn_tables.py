"""Measures what others reach on a table: scikit-learn's models, and RealMLP where it is installed.

  python jobs/peers/sklearn_tables.py TRAIN.csv TEST.csv TARGET SEED    (ffnet bench tables does it)

Numbers get the mean in their gaps, an indicator of the gaps, mean 0 and deviation 1; texts become
one-hot columns. All models have their default settings, so this says what a user gets without any
tuning. Prints a line of JSON: {model: test accuracy}. It needs scikit-learn and pandas, and RealMLP
(Holzmüller et al., 2024) needs pytabkit: a model whose package is missing is left out.
"""

import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def main(train: str, test: str, target: str, seed: str) -> None:
    """Fit each model on the training file, and test it on the other file."""
    (x, y), (x_test, y_test) = (
        (table.drop(columns=target), table[target]) for table in map(pd.read_csv, (train, test))
    )
    found = {}
    for name, model in models(int(seed)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # with default settings, some do not converge
            found[name] = float((model.fit(x, y).predict(x_test) == y_test).mean())
    print(json.dumps(found))


def models(seed: int) -> Iterator[tuple[str, Any]]:
    """Yield the models that are installed here, by name."""
    yield "logistic regression", prepared(LogisticRegression(max_iter=1000))
    yield "MLPClassifier", prepared(MLPClassifier(random_state=seed))
    yield (
        "the same, early stopping",
        prepared(MLPClassifier(random_state=seed, early_stopping=True)),
    )
    trees = HistGradientBoostingClassifier(random_state=seed)
    yield "HistGradientBoosting", prepared(trees, numbers="passthrough")  # it knows gaps itself
    try:
        from pytabkit import RealMLP_TD_Classifier
    except ImportError:
        return
    yield "RealMLP", RealMLP_TD_Classifier(random_state=seed)


def prepared(model: Any, numbers: Any = None) -> Pipeline:
    """Return the model behind the usual preparation of mixed columns."""
    numbers = numbers or make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (texts, make_column_selector(dtype_exclude="number")),
    )
    return make_pipeline(columns, model)


if __name__ == "__main__":
    main(*sys.argv[1:])
