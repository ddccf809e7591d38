"""The minibatch iterator of the source lesson."""

import numpy as np
import pytest

from ffnet.data.dataset import Part
from ffnet.data.minibatches import Minibatches
from ffnet.errors import InputError


def part(n: int) -> Part:
    return Part(np.arange(2 * n).reshape(n, 2), np.arange(n, dtype=np.int32))


def test_an_epoch_has_the_lessons_batches_with_a_short_last_one() -> None:
    batches = Minibatches(part(49_000), 64, seed=0)
    sizes = [len(y) for _, y in batches]
    assert sizes == [64] * 765 + [40]
    assert len(batches) == 766


def test_every_example_comes_once_an_epoch_with_its_label() -> None:
    for x, y in [
        tuple(map(np.concatenate, zip(*Minibatches(part(103), 10, seed), strict=True)))
        for seed in (None, 0, 1)
    ]:
        assert sorted(y) == list(range(103))
        assert (x[:, 0] == 2 * y).all()


def test_orders_differ_by_epoch_and_follow_the_seed() -> None:
    def orders(seed: int | None) -> list[list[int]]:
        batches = Minibatches(part(50), 7, seed)
        return [[int(one) for _, y in batches for one in y] for _ in range(3)]

    assert orders(3) == orders(3)
    assert orders(3) != orders(4)
    first, second, third = orders(3)
    assert first != second != third != list(range(50))
    assert orders(None) == [list(range(50))] * 3


@pytest.mark.parametrize(
    ("of", "batch_size", "words"),
    [
        (Part(np.zeros((3, 2)), np.zeros(2, np.int32)), 1, "Given: 3 examples, 2 labels"),
        (part(0), 1, "Given: an empty part"),
        (part(5), 0, "batch_size must be 1 or more. Given: 0"),
    ],
)
def test_what_cannot_be_batched_is_refused(of: Part, batch_size: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Minibatches(of, batch_size)
