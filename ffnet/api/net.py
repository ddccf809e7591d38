"""A trained net that predicts from raw examples, in this process. Imports TensorFlow."""

import re
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.data.rows import by_name, is_table, numbers_by_name, of_user
from ffnet.errors import InputError
from ffnet.export.card import choose
from ffnet.export.ensemble import Ensemble, ServedEnsemble
from ffnet.export.export import Served, ServedNet
from ffnet.run.folder import RunFolder
from ffnet.spec.validation import shown

AT_ONCE = 1024
"""Examples are predicted in parts of this size, which limits the memory."""


class Net:
    """A trained net, or an ensemble of nets. It takes raw examples, because it scales them itself.

    Attributes:
        trial: number of the trial that trained the net; None for an ensemble.
        epoch: epochs after which it had these weights: the trial's best epoch; None for an
            ensemble.
        weights: {trial: share of its net in the mean of the probabilities}. The sum is 1.
        classes: names of the C classes, in the order of the probabilities.
        example_shape: shape of a raw example, such as (28, 28) or (13,).
    """

    def __init__(self, run: RunFolder, trial: int | None, ensemble: Ensemble | None = None) -> None:
        """Read the weights: see `Run.load`."""
        if ensemble:
            choice, notes = ensemble.members[0].choice, ensemble.notes
            self.trial: int | None = None
            self.epoch: float | None = None
            self.weights = ensemble.weights
            self._net: Served = ServedEnsemble(ensemble.members)
        else:
            choice = choose(run, None if trial is None else str(trial))
            notes = (choice.note,) if choice.note else ()
            self.trial, self.epoch = int(choice.row["trial"]), float(choice.report["epoch"])
            self.weights = {self.trial: 1.0}
            self._net = ServedNet(choice)
        for note in notes:
            warnings.warn(note, stacklevel=3)
        data = choice.document["data"]
        self.classes = tuple(data["classes"])
        self.example_shape = tuple(data["example_shape"])
        self._dtype = np.dtype(data["dtype"])
        self._names = data.get("columns")
        self._missing = choice.missing

    def probabilities(self, x: Any) -> npt.NDArray[np.float32]:
        """The probability of each class, for each example.

        Args:
            x: raw examples [N, *example_shape], as in the data: pixels from 0 to 255, or features
                that are not standardised. Anything that NumPy can convert to an array. For data
                with named columns also, and with categories, dates or gaps only: a DataFrame, a
                PyArrow Table or a list of dicts, with the columns of the data in any order; null,
                NaN and the texts that were gaps in the data are gaps. Other columns are ignored.

        Returns:
            Probabilities [N, C], in the order of `classes`; each row sums to 1.

        Raises:
            InputError: `x` has another shape, lacks a column, or has values that the data cannot
                have.
        """
        examples = self._examples(x)
        parts = [
            self._net.answer(by_name(examples[start : start + AT_ONCE]))["probabilities"]
            for start in range(0, len(examples), AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(self.classes)), np.float32)

    def predict(self, x: Any) -> npt.NDArray[Any]:
        """The most probable class of each example.

        Args:
            x: raw examples, as for `probabilities`.

        Returns:
            The classes [N]: int64 if the names of all classes are integers, else text.

        Raises:
            InputError: `x` has another shape, lacks a column, or has values that the data cannot
                have.
        """
        names = np.array(self.classes)
        if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", name) for name in self.classes):
            names = names.astype(np.int64)
        predicted: npt.NDArray[Any] = names[self.probabilities(x).argmax(axis=1)]
        return predicted

    def _examples(self, x: Any) -> npt.NDArray[Any]:
        if self._net.columns:
            return of_user(self._net.columns, x, self._missing)
        given = np.asarray(numbers_by_name(self._names, x) if self._names and is_table(x) else x)
        if given.dtype.kind not in "buif":
            raise InputError(f"examples must be numbers. Given: {given.dtype}, {shown(x)}")
        if given.shape[1:] != self.example_shape:
            wanted = ", ".join(map(str, ("N", *self.example_shape)))
            raise InputError(f"examples must have the shape [{wanted}]. Given: {given.shape}")
        if given.dtype.kind == "f" and not np.isfinite(given).all():
            raise InputError("examples must be finite numbers. Given: NaN or infinity")
        if self._dtype == np.uint8 and given.dtype != np.uint8:
            odd = given[(given < 0) | (given > 255) | (given != np.floor(given))]
            if odd.size:
                raise InputError(f"pixels must be whole numbers from 0 to 255. Given: {odd[0]}")
        with np.errstate(over="ignore"):
            examples = given.astype(self._dtype)
        if self._dtype.kind == "f" and not np.isfinite(examples).all():
            raise InputError(
                f"examples must be numbers that {self._dtype} can hold. Given: larger numbers"
            )
        return examples
