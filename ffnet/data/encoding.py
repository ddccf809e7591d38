"""The columns of a mixed table: what each of them is, and what the numbers in `Part.x` mean."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["number", "category", "date"]
Scaling = Literal["standard", "robust", "quantile"]


@dataclass(frozen=True)
class Column:
    """A column of a table with categories, dates or gaps, as the training part shows it.

    In `Part.x` (float32 [N, columns]) a column of numbers or dates holds (raw - mean) · (1 / std),
    computed in float64; a gap is NaN. Dates are days since 1970-01-01 in UTC, with fractions. A
    column of categories holds codes:

        0 … n - 1    the position in `categories`
        n            a gap
        n + 1        a category that the training part does not have

    with n = len(categories).

    Attributes:
        name: the name of the column.
        kind: "number", "category" or "date".
        categories: the categories of the training part, the most frequent first; categories of
            equal frequency are in the order of their texts. Empty for numbers and dates.
        gaps: whether the training part has a gap in this column.
        fill: what stands for a gap, in scaled units: 0.0 is the mean. Only for numbers and dates.
        scaling: what follows on the centre and the scale of `DataSet.mean` and `DataSet.std`:
            nothing, the smooth clip of robust scaling, or the map of `knots`.
        knots: the knots of quantile scaling, in scaled units. Empty for other scalings, except that
            (0, 0) makes all numbers 0 where the training part has no two different numbers.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    gaps: bool = False
    fill: float = 0.0
    scaling: Scaling = "standard"
    knots: tuple[float, ...] = ()

    def as_values(self) -> dict[str, Any]:
        """Return the column as study.json has it."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Column":
        """Return a column from study.json."""
        texts = {"categories": tuple(values["categories"]), "knots": tuple(values["knots"])}
        return cls(**(values | texts))
