"""Writes digits.parquet: the UCI handwritten digits from scikit-learn.

    python -m ffnet.data.make_digits        (needs scikit-learn; the file is in the repository)

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998, CC BY 4.0. scikit-learn has the test part of the original: 1,797 images of 8×8,
pixels 0 to 16.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits


def main() -> None:
    """Write digits.parquet beside this file."""
    pixels, labels = load_digits(return_X_y=True)
    image = pa.FixedSizeListArray.from_arrays(pa.array(pixels.astype(np.uint8).ravel()), 64)
    table = pa.table({"pixels": image, "label": pa.array(labels.astype(np.uint8))})
    table = table.replace_schema_metadata(
        {
            "shape": "[8, 8]",
            "source": "UCI Optical Recognition of Handwritten Digits, Alpaydin and Kaynak, 1998",
            "licence": "CC BY 4.0",
        }
    )
    pq.write_table(table, Path(__file__).with_name("digits.parquet"), compression="zstd")


if __name__ == "__main__":
    main()
