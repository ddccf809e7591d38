"""Labels that are text, held as numbers: memory has no text for each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Coded:
    """The texts `texts[codes]`.

    Attributes:
        codes: the position of each label in `texts`, int32 [N].
        texts: the different labels, sorted.
    """

    codes: npt.NDArray[np.int32]
    texts: npt.NDArray[np.str_]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the texts."""
        return self.texts.dtype

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self.codes)

    def __getitem__(self, rows: Any) -> "Coded":
        """Return the labels of some rows."""
        return Coded(self.codes[rows], self.texts)

    def different(self) -> npt.NDArray[np.str_]:
        """Return the labels that some row has, sorted."""
        return self.texts[np.flatnonzero(np.bincount(self.codes, minlength=len(self.texts)))]

    def tolist(self) -> list[str]:
        """Return a text for each row."""
        texts = self.texts.tolist()
        return [texts[code] for code in self.codes.tolist()]


def coded(y: npt.NDArray[np.str_] | Coded) -> Coded:
    """Return texts [N] as `Coded`."""
    if isinstance(y, Coded):
        return y
    texts, codes = np.unique(y, return_inverse=True)
    return Coded(codes.astype(np.int32), texts)


def joined(labels: Sequence[Any]) -> Any:
    """Return the labels of several files, one after the other: arrays, or `Coded`."""
    if not any(isinstance(y, Coded) for y in labels):
        return np.concatenate(labels)
    every = [coded(y) for y in labels]
    texts = np.unique(np.concatenate([y.texts for y in every]))
    codes = [np.searchsorted(texts, y.texts).astype(np.int32)[y.codes] for y in every]
    return Coded(np.concatenate(codes), texts)
