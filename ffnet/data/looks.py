"""Recognises texts that are amounts, dates or times, but written in a way that ffnet does not read.

Without this, such a column would be categories, or would be left out because each text differs.
"""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

MOST = 1000
"""So many texts of a column are looked at, at equal distances in their order."""
NEARLY = 0.9
"""A column looks like something if this share of its texts does."""
_NUMBER = r"(?:\d{1,3}(?:[,.'’_\s]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s*(?:[ap]\.?m\.?)?"
_AMOUNT = re.compile(
    rf"\s*(?:[-+−]?\s*[$€£¥₹]\s*[-+−]?{_NUMBER}\s*|\([$€£¥₹]?{_NUMBER}\)\s*"
    rf"|[-+−]?{_NUMBER}(?P<unit>[^\d,;:]{{0,12}}))"
)
_DATE = re.compile(
    rf"\s*(?:\d{{1,2}}([./-])\d{{1,2}}\1(?:\d{{4}}|\d{{2}})|[-+]?\d{{4,6}}([./-])\d{{1,2}}\2\d{{1,2}}"
    rf"|\d{{4}}-\d{{2}}|\d{{1,2}}\.?[\s-]{_MONTH}[\s-]\d{{2,4}}|{_MONTH}\s\d{{1,2}},?\s\d{{4}})"
    rf"(?:[T,\s]+{_CLOCK}\s*(?:Z|UTC|[-+]\d{{2}}:?\d{{2}})?)?\s*",
    re.I,
)
_TIME = re.compile(rf"\s*{_CLOCK}\s*", re.I)

REMEDIES = {
    "dates": "write them like 2024-01-31 in a CSV file, and elsewhere as dates instead of text",
    "times": "write them as a number, for example of hours",
    "amounts": "write them as numbers like 12345.67, without units, signs and separators",
}
"""{what texts look like: what to do}."""


def like(texts: Sequence[str]) -> str | None:
    """Return what nearly all texts look like, a key of `REMEDIES`, or None.

    Plain numbers look like nothing. Amounts may have a unit, which must then be the same.

    Example:
        >>> like(["31.01.2024", "1.2.2024"]), like(["12 %", "7.5 %"]), like(["12", "red"])
        ('dates', 'amounts', None)
    """
    some = texts[:: len(texts) // MOST + 1]
    for what, form in (("dates", _DATE), ("times", _TIME)):
        if sum(form.fullmatch(text) is not None for text in some) >= NEARLY * len(some) > 0:
            return what
    found = [(text, match) for text in some if (match := _AMOUNT.fullmatch(text))]
    odd = [(match["unit"] or "").strip() for text, match in found if not _is_plain(text)]
    units = Counter(filter(None, odd))
    other = units.total() - max(units.values(), default=0)
    return "amounts" if odd and len(found) - other >= NEARLY * len(some) else None


def is_like(text: str, what: str) -> bool:
    """Whether a single text looks like `what`."""
    return {"dates": _DATE, "times": _TIME, "amounts": _AMOUNT}[what].fullmatch(text) is not None


def is_read(text: str) -> bool:
    """Whether a CSV file may have this text as a number or a date."""
    try:
        return _is_plain(text) or datetime.fromisoformat(text).year > 0
    except ValueError:
        return False


def _is_plain(text: str) -> bool:
    return re.fullmatch(r"\s*[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?\s*", text) is not None
