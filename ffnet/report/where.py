"""Filters rows by a condition that a user writes, such as status == 'done' and epochs > 3.

The condition has Python's syntax. It is parsed, never run: only the operations below exist, and
PyArrow computes them. A comparison with a missing value is neither true nor false, so it keeps no
row, with or without `not`; `column == None` finds missing values.
"""

import ast
import operator
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ffnet.errors import InputError
from ffnet.run.tables import Status
from ffnet.spec.validation import did_you_mean, shown

LONGEST = 1000  # maximum number of characters

CONSTANTS = {"true": True, "false": False, "null": None}
"""Names that stand for a value, besides Python's True, False and None."""

COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
CALCULATE: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: pc.add_checked,
    ast.Sub: pc.subtract_checked,
    ast.Mult: pc.multiply_checked,
    ast.Div: lambda one, other: pc.divide(pc.cast(one, pa.float64()), other),
}


class Condition:
    """A condition on the rows of a table.

    Attributes:
        columns: the names of the columns that it needs.

    Example:
        >>> condition = Condition("hidden_sizes[0] > 256")
        >>> condition.keep(pa.table({"hidden_sizes": [[512, 64], [128], []]})).num_rows
        1
    """

    def __init__(self, text: str) -> None:
        """Parse a condition. Raises InputError if its syntax is not valid."""
        self._text = text
        if len(text) > LONGEST:
            raise InputError(f"--where must have at most {LONGEST} characters. Given: {len(text)}")
        try:
            with warnings.catch_warnings(action="ignore"):
                self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            raise self._wrong("compare with ==, put texts in quotes, join with and, or") from None
        names = [node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)]
        self.columns = [n for n in dict.fromkeys(names) if n not in CONSTANTS and n != "len"]
        if not self.columns:
            raise self._wrong("it must name a column")

    def keep(self, table: pa.Table) -> pa.Table:
        """The rows of a table for which the condition is true.

        Raises:
            InputError: the condition does something that is not possible with these columns.
        """
        try:
            found = self._value(self._tree, table)
        except RecursionError:
            raise self._wrong("it is nested too deep") from None
        if not pa.types.is_boolean(found.type):
            raise self._wrong("it must be true or false for each row, e.g. epochs > 3")
        return table.filter(found)

    def _wrong(self, why: str) -> InputError:
        return InputError(
            f"--where must be a condition on columns, e.g. status == 'done' and epochs > 3; {why}. "
            f"Given: {shown(self._text)}"
        )

    def _value(self, node: ast.expr, table: pa.Table) -> Any:
        """The value of a part of the condition: a column, a scalar, or a list of constants."""
        try:
            match node:
                case ast.Name(id=name) if name not in CONSTANTS and name != "len":
                    return table.column(name)
                case ast.Name() | ast.Constant():
                    return pa.scalar(self._constant(node))
                case ast.BoolOp(op=op, values=values):
                    join = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
                    return reduce(join, (self._value(value, table) for value in values))
                case ast.UnaryOp(op=ast.Not(), operand=operand):
                    return pc.invert(self._value(operand, table))
                case ast.UnaryOp(op=ast.USub(), operand=operand):
                    return pc.negate_checked(self._value(operand, table))
                case ast.BinOp(op=op, left=left, right=right) if type(op) in CALCULATE:
                    one, other = self._value(left, table), self._value(right, table)
                    return CALCULATE[type(op)](one, other)
                case ast.Compare(left=left, ops=ops, comparators=others):
                    sides = zip([left, *others], ops, others, strict=False)
                    return reduce(pc.and_kleene, (self._compare(*side, table) for side in sides))
                case ast.Subscript(value=value, slice=index):
                    return _element(
                        self._value(value, table), operator.index(self._constant(index))
                    )
                case ast.Call(func=ast.Name(id="len"), args=[inside], keywords=[]):
                    return pc.list_value_length(self._value(inside, table))
        except InputError:
            raise
        except (pa.ArrowException, TypeError, OverflowError, ValueError, AttributeError):
            raise self._wrong(
                f"{ast.unparse(node)} does not fit the types of the columns"
            ) from None
        raise self._wrong(f"{ast.unparse(node)} is not supported")

    def _constant(self, node: ast.expr) -> Any:
        """A constant, or a list of constants, as Python's value."""
        match node:
            case ast.Name(id=name) if name in CONSTANTS:
                return CONSTANTS[name]
            case ast.Constant(value=value) if isinstance(value, bool | int | float | str | None):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._constant(operand)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [self._constant(part) for part in parts]
        raise self._wrong(f"{ast.unparse(node)} is not supported there")

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr, table: pa.Table) -> Any:
        if isinstance(op, ast.NotIn):
            return pc.invert(self._compare(left, ast.In(), right, table))
        if isinstance(right, ast.Constant | ast.Name) and ast.unparse(right) in ("None", "null"):
            if not isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
                raise TypeError
            is_null = pc.is_null(self._value(left, table))
            return pc.invert(is_null) if isinstance(op, ast.NotEq | ast.IsNot) else is_null
        if isinstance(right, ast.List | ast.Tuple):
            return self._compare_list(self._value(left, table), left, op, self._constant(right))
        one, other = self._value(left, table), self._value(right, table)
        if isinstance(op, ast.In):
            return _contains(other, one)
        self._check_status(left, other)
        self._check_status(right, one)
        if type(op) not in COMPARE:
            raise TypeError
        return COMPARE[type(op)](*_same_kind(one, other))

    def _compare_list(self, values: Any, node: ast.expr, op: ast.cmpop, given: list[Any]) -> Any:
        """Compare each value with a list: is it in the list, or is it a list that is equal?"""
        rows = values.to_pylist()
        if isinstance(op, ast.In):
            for one in given:
                self._check_status(node, one)
            same_type = pa.array(given, values.type).to_pylist()
            return pa.array([None if v is None else v in same_type for v in rows], pa.bool_())
        equal = COMPARE[ast.Eq if isinstance(op, ast.Eq) else ast.NotEq]
        if not isinstance(op, ast.Eq | ast.NotEq) or not pa.types.is_list(values.type):
            raise TypeError
        same_type = pa.scalar(given, values.type).as_py()
        found = pa.array([None if v is None else v == same_type for v in rows], pa.bool_())
        return equal(found, pa.scalar(True))

    def _check_status(self, node: ast.expr, given: Any) -> None:
        """Refuse a status that does not exist: no trial would ever have it."""
        value = given.as_py() if isinstance(given, pa.Scalar) else given
        named = isinstance(node, ast.Name) and node.id == "status"
        if named and isinstance(value, str) and value not in tuple(Status):
            raise self._wrong(
                f"a status is one of {', '.join(Status)}, not {value}{did_you_mean(value, Status)}"
            )


def _element(lists: Any, index: int) -> Any:
    """The element of each list at an index; null where the list is shorter, or is missing."""
    elements = [
        row[index] if row is not None and -len(row) <= index < len(row) else None
        for row in lists.to_pylist()
    ]
    return pa.array(elements, lists.type.value_type)


def _contains(values: Any, part: pa.Scalar) -> Any:
    """Whether each text contains a text, or each list contains a value."""
    if pa.types.is_string(values.type) and pa.types.is_string(part.type):
        return pc.match_substring(values, part.as_py())
    if not pa.types.is_list(values.type):
        raise TypeError
    wanted = part.as_py()
    found = [None if row is None else wanted in row for row in values.to_pylist()]
    return pa.array(found, pa.bool_())


def _same_kind(one: Any, other: Any) -> tuple[Any, Any]:
    """Both sides of a comparison. A text that is compared with a time becomes a time, of UTC."""
    if pa.types.is_timestamp(one.type) and pa.types.is_string(other.type):
        time = datetime.fromisoformat(other.as_py())
        other = pa.scalar(time if time.tzinfo else time.replace(tzinfo=UTC), one.type)
    return one, other
