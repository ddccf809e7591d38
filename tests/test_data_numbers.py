"""Numbers: close numbers stay different, and all types of numbers are read."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_files import LABELS, RANDOM, N, loaded, original, refusal, savez, write

# --- numbers -------------------------------------------------------------------------------------


def near(n: int = 600) -> tuple[Any, Any]:
    """Return seconds since 1970: only the last minute separates the two classes."""
    y = np.arange(n) % 2
    return (1_700_000_000 + 20 * RANDOM.integers(0, 2, n) * 0 + 40 * y)[:, None], y


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64, np.int32, np.longdouble])
def test_numbers_that_float32_would_merge_stay_apart(tmp_path: Path, dtype: Any) -> None:
    x, y = near()
    savez(tmp_path / "own.npz", x=x.astype(dtype), y=y)
    data = loaded(tmp_path / "own.npz")
    assert data.dtype == "float64"
    assert set(np.round(data.train.x.ravel(), 1)) == {-1, 1}
    column = pa.array(x[:, 0].astype(np.float64 if dtype == np.longdouble else dtype))
    pq.write_table(pa.table({"t": column, "label": y}), tmp_path / "own.parquet")
    assert (loaded(tmp_path / "own.parquet").train.x == data.train.x).all()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.arange(N, dtype=np.uint16), "float32"),
        (np.arange(N) * 1.5, "float32"),
        (np.arange(N) * 0.1, "float64"),
        (np.arange(N) + 2**24, "float64"),
        (np.arange(N) * 1e-46, "float64"),
        (np.arange(N) * 1e300, "float64"),
        (np.arange(N) > 30, "float32"),
        (np.arange(N, dtype=np.float16), "float32"),
    ],
)
def test_features_have_the_smallest_dtype_that_holds_them(
    tmp_path: Path, values: Any, dtype: str
) -> None:
    data = loaded(write(tmp_path / "own.parquet", a=values, b=None))
    assert data.dtype == dtype
    train = np.unique(data.train.x).size
    assert train == min(len(data.train), np.unique(values).size)  # all values stay different
    assert data.train.x.std() == pytest.approx(1, rel=1e-5)


def test_whole_numbers_that_float64_would_round_are_refused(tmp_path: Path) -> None:
    x = np.arange(N) * 2 + 2**60
    data = loaded(write(tmp_path / "own.parquet", a=x * 0 + 2**60 + 1024 * np.arange(N)))
    assert np.unique(data.train.x[:, 0]).size == len(data.train)
    message = refusal(write(tmp_path / "own.parquet", a=x))
    assert f"Given: {2**60 + 2} in column a, row 1 (counted from 0); subtract a constant" in message
    big = np.arange(2 * N).astype(np.uint64) + np.uint64(2**63)
    savez(tmp_path / "own.npz", x=big.reshape(N, 2), y=LABELS)
    assert f"Given: {2**63 + 1} in feature 1, row 0 (counted from 0); subtract" in refusal(
        tmp_path / "own.npz"
    )


@pytest.mark.skipif(
    np.finfo(np.longdouble).nmant <= 52, reason="long double is no more than double here"
)
@pytest.mark.parametrize("scale", ["1", "1e-4000", "1e4000"])
def test_long_doubles_that_float64_would_round_are_refused(tmp_path: Path, scale: str) -> None:
    x = np.ones((N, 3), np.longdouble)
    x[7, 1] = (1 + np.longdouble(2) ** -60) * np.longdouble(scale)
    savez(tmp_path / "own.npz", x=x, y=LABELS)
    message = refusal(tmp_path / "own.npz")
    assert "features must be numbers that float64 holds. Given: 1.00" in message
    assert "in feature 1, row 7 (counted from 0); save them as float64" in message
    savez(tmp_path / "own.npz", x=LABELS[:, None], y=LABELS + x[:, 1] * np.longdouble(2) ** -60)
    assert "labels must be classes" in refusal(tmp_path / "own.npz")


def test_decimals_are_read_or_refused(tmp_path: Path) -> None:
    cents = pa.array([Decimal(i) / 100 for i in range(N)], pa.decimal128(12, 2))
    data = loaded(write(tmp_path / "own.parquet", a=cents, b=None))
    np.testing.assert_allclose(np.sort(original(data)[:, 0]), np.arange(N) / 100, atol=1e-6)
    long = pa.array([Decimal(10**25 + i) for i in range(N)], pa.decimal128(30, 2))
    message = refusal(write(tmp_path / "own.parquet", a=long))
    assert f"Given: {10**25}.00 in column a, row 0 (counted from 0), of type decimal" in message


@pytest.mark.parametrize("scale", [1e-280, 1e-20, 1e-8, 1, 1e20, 1e300])
def test_a_column_is_constant_only_if_its_values_are_equal(tmp_path: Path, scale: float) -> None:
    x = np.stack([np.full(N, 0.1 * scale), 0.1 * scale * (1 + LABELS * 1e-14)], axis=1)
    savez(tmp_path / "own.npz", x=x, y=LABELS)
    data = loaded(tmp_path / "own.npz")
    assert data.std[0] == 1
    assert (data.train.x[:, 0] == 0).all()
    assert np.unique(data.train.x[:, 1]).size == 3


def test_numbers_too_far_apart_or_too_close_for_float64_are_refused(tmp_path: Path) -> None:
    for values in (np.array([-1e308, 1e308])[LABELS % 2], LABELS * 5e-324):
        message = refusal(write(tmp_path / "own.parquet", a=values))
        assert "own.parquet, column a, row " in message
        assert "spread that float64 holds" in message


def test_types_may_differ_from_file_to_file(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", a=np.arange(N, dtype=np.uint8), b=LABELS.astype(np.uint8))
    write(tmp_path / "train-1.parquet", a=np.arange(N) + 0.5, b=LABELS > 1)
    write(tmp_path / "test.parquet", a=np.arange(N).astype(np.int16) + 300)
    data = loaded(tmp_path)
    assert data.dtype == "float64"  # because of b in the test part
    assert original(data)[:, 0].max() == pytest.approx(359, abs=1e-3)


def test_dictionaries_of_complete_numbers_are_numbers_beside_numbers_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "own.parquet", a=pa.array(LABELS * 10).dictionary_encode(), b=None)
    assert np.unique(original(loaded(path)).round(3)).tolist() == [0, 10, 20]
    times = pa.array(list(range(N)), pa.time32("s"))
    message = refusal(write(tmp_path / "own.parquet", a=times))
    assert "Given: a (time32[ms]); write them as numbers or leave them out with drop" in message
    assert loaded(tmp_path / "own.parquet", drop="a").columns == ("b",)


def test_nested_lists_are_images_and_columns_of_bytes_are_not(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 256, (N, 3, 5), dtype=np.uint8)
    nested = pa.array(pixels.tolist(), pa.list_(pa.list_(pa.uint8())))
    data = loaded(write(tmp_path / "own.parquet", values=nested))
    assert data.example_shape == (3, 5)
    assert data.dtype == "uint8"
    ages = LABELS.astype(np.uint8)
    data = loaded(write(tmp_path / "own.parquet", a=ages, b=ages))
    assert data.example_shape == (2,)
    lists = pa.array([[1] * (1 + i % 2) for i in range(N)])
    message = refusal(write(tmp_path / "own.parquet", values=lists))
    assert "column values: all lists must have one length. Given: 1 values in row 0" in message
    assert "and 2 in row 1 (counted from 0)" in message


def test_pixels_alone_are_scaled_to_one(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "own.parquet"), scaling="unit")
    assert "scaling unit divides pixels (uint8) by 255" in message
