"""What a net gets for the columns of a table: how many numbers, and which learned vectors.

This module does not import TensorFlow.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ffnet.data.encoding import Column
from ffnet.data.raw import listed
from ffnet.errors import InputError
from ffnet.spec.net import NetSpec, NumberVectors


class Vectors(NamedTuple):
    """The learned vectors of a column of categories: a table [rows, size], a row for each code.

    Attributes:
        rows: the codes that the column can have.
        trained: so many codes, the first ones, are in the training part.
        size: the numbers of a vector.
    """

    rows: int
    trained: int
    size: int


@dataclass(frozen=True)
class Inputs:
    """What a net gets.

    Attributes:
        dense: how many numbers an example has without learned vectors.
        vectors: the learned vectors. For each of them an example has a code after its numbers.
        numbers: so many numbers, the first ones, become vectors.
        number_vectors: how they become vectors; None if they stay numbers.
    """

    dense: int
    vectors: tuple[Vectors, ...] = ()
    numbers: int = 0
    number_vectors: NumberVectors | None = None

    @property
    def width(self) -> int:
        """The inputs of the first layer, D: the numbers and the learned vectors."""
        more = self.numbers * (self.number_vectors.size - 1) if self.number_vectors else 0
        return self.dense + more + sum(each.size for each in self.vectors)


def as_inputs(features: int | Inputs, net: NetSpec) -> Inputs:
    """The inputs of a net; a number means so many numbers without codes."""
    return features if isinstance(features, Inputs) else inputs_of(features, None, 0, net)


def own(column: Column, max_categories: int) -> int:
    """How many categories of a column get a number of their own: the most frequent ones."""
    return min(len(column.categories), max_categories)


def one_hot_width(column: Column, max_categories: int) -> int:
    """How many numbers a column of categories becomes without learned vectors.

    The categories beyond `max_categories` share one number, if there are any. A gap has a number of
    its own, if the training part has gaps.
    """
    joined = len(column.categories) > max_categories
    return own(column, max_categories) + joined + column.gaps


class Examples(Protocol):
    """A data set, or its parts on a device: the attributes of `DataSet` that decide the inputs."""

    @property
    def features(self) -> int: ...
    @property
    def encoding(self) -> tuple[Column, ...] | None: ...
    @property
    def max_categories(self) -> int: ...


def of_net(data: Examples, net: NetSpec) -> Inputs:
    """What a net gets for the examples of a data set. Raises InputError as `inputs_of`."""
    return inputs_of(data.features, data.encoding, data.max_categories, net)


def inputs_of(
    features: int,
    encoding: tuple[Column, ...] | None,
    max_categories: int,
    net: NetSpec,
) -> Inputs:
    """What a net gets for an example.

    Args:
        features: numbers in an example.
        encoding: the columns of a table; None for other data.
        max_categories: the study's field.
        net: the net; its fields say what it learns about its inputs.

    Raises:
        InputError: `embedding_sizes` does not fit the columns.
    """
    columns = encoding or ()
    learned = embedded(columns, net.embedding_sizes)
    of = net.number_vectors
    numbers = numbers_of(features, encoding) if of else 0
    of = of if numbers else None
    if not columns:
        return Inputs(features, (), numbers, of)
    dense = sum(
        one_hot_width(column, max_categories) if column.kind == "category" else 1 + column.gaps
        for i, column in enumerate(columns)
        if i not in learned
    )
    vectors = tuple(_vectors(columns[i], size) for i, size in learned.items())
    return Inputs(dense, vectors, numbers, of)


def numbers_of(features: int, encoding: tuple[Column, ...] | None) -> int:
    """How many numbers an example has, dates included."""
    return sum(each.kind != "category" for each in encoding) if encoding else features


def embedded(encoding: tuple[Column, ...], sizes: tuple[int, ...] | None) -> dict[int, int]:
    """{position of a column: size of its learned vectors} for a net's `embedding_sizes`.

    Raises:
        InputError: the sizes do not fit the columns.
    """
    if not sizes or not any(sizes):
        return {}
    places = [i for i, column in enumerate(encoding) if column.kind == "category"]
    if not places:
        raise InputError(
            f"embedding_sizes needs data with a column of categories. Given: {list(sizes)}, and "
            f"data without such a column; leave it out"
        )
    if len(sizes) == 1:
        return {i: sizes[0] for i in places if len(encoding[i].categories) > sizes[0]}
    if len(sizes) != len(places):
        raise InputError(
            f"embedding_sizes must be a number, or a list with a number for each of the "
            f"{len(places)} columns of categories: {listed([encoding[i].name for i in places], 12)}"
            f". Given: {list(sizes)}"
        )
    return {i: size for i, size in zip(places, sizes, strict=True) if size}


def _vectors(column: Column, size: int) -> Vectors:
    count = len(column.categories)
    return Vectors(count + 2, count + column.gaps, size)
