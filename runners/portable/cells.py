"""The words in the cells of a table as numbers and dates.

A copy of this file lies in every kept model, so that new rows are read as those that it was trained on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np
import pandas as pd

POINT, COMMA = ".", ","
# Thousands may be apart by a space, one that does not break the line, a narrow one, or an apostrophe.
_GROUPING = " \u00a0\u2009\u202f'\u2019"
_MINUS = "\u2212\u2013-"
_MONEY = r"(?:[$\u00a2\u00a3\u00a4\u00a5\u20a0-\u20bf]|US\$|R\$|Rs\.?|USD|EUR|GBP|CHF|JPY|CNY|INR|kr)"


def _pattern(decimal: str) -> re.Pattern[str]:
    groups = _GROUPING + (COMMA if decimal == POINT else POINT)
    return re.compile(
        rf"(?:[<>\u2264\u2265~\u2248]=?\s*)?(?P<open>\()?(?P<sign>[+{_MINUS}])?\s*(?:{_MONEY}\s*(?P<inner>[{_MINUS}])?)?"
        rf"(?P<whole>[1-9]\d{{0,2}}(?:[{groups}]\d{{3}})+|\d+)?(?:{re.escape(decimal)}(?P<fraction>\d*))?"
        rf"(?P<exponent>[eE][-+]?\d+)?\s*(?:[%\u2030]|{_MONEY})?(?P<close>\))?"
    )


_PATTERNS = {decimal: _pattern(decimal) for decimal in (POINT, COMMA)}
# What a column of dates may hold; each stands for a date without a time and, by `_TIMES`, with one.
ISO = "ISO8601"
_DAYS = (
    *(
        "%Y-%m-%d",
        "%Y/%m/%d",
        "%Y.%m.%d",
        "%d.%m.%Y",
        "%m/%d/%Y",
        "%d/%m/%Y",
        "%m-%d-%Y",
        "%d-%m-%Y",
        "%m.%d.%Y",
    ),
    *(
        "%d.%m.%y",
        "%m/%d/%y",
        "%d/%m/%y",
        "%d-%b-%Y",
        "%d %b %Y",
        "%d %B %Y",
        "%b %d, %Y",
        "%B %d, %Y",
        "%d-%b-%y",
    ),
    *("%d. %B %Y", "%a %b %d %Y", "%a, %d %b %Y", "%A, %B %d, %Y", "%Y\u5e74%m\u6708%d\u65e5"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S.%f", "T%H:%M:%S", " %H:%M:%S %z")
DATE_FORMATS = (ISO, *(day + time for time in _TIMES for day in _DAYS))
_ISO_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?")
# What each of them begins with, for a quick look.
_LIKE_DATE = re.compile(
    r"\d{1,4}[-/.\u5e74]\d{1,2}[-/.\u6708]\d|\d{1,2}[-. ]+[A-Z][a-z]{2}|[A-Z][a-z]{2,8},? .*\d{4}"
)
COMPACT = "%Y%m%d"
DATE_PARTS = ("year", "month", "weekday", "hour", "days")


def read_number(word: str, decimal: str = POINT) -> float:
    """The number that a word is written for, or NaN.

    Amounts with thousands apart and a currency, shares with a percent sign (`12%` is 12), bounds (`<5` is 5), negative
    numbers in parentheses or with a typographic minus are numbers too.

    Args:
        word: without spaces around it.
        decimal: the mark before the fraction, `.` or `,`; the other one may stand between thousands.
    """
    found = _PATTERNS[decimal].fullmatch(word)
    if (
        found is None
        or not (found["whole"] or found["fraction"])
        or bool(found["open"]) != bool(found["close"])
    ):
        return math.nan
    whole = re.sub(r"\D", "", found["whole"] or "0")
    value = float(f"{whole}.{found['fraction'] or 0}{found['exponent'] or ''}")
    is_negative = found["open"] or any(sign and sign in _MINUS for sign in (found["sign"], found["inner"]))
    return -value if is_negative else value


def numbers_of(words: Sequence[str], decimal: str | None = None, missing: Iterable[str] = ()) -> np.ndarray:
    """Words as float64, NaN where one is missing or no number.

    Args:
        words: (N,).
        decimal: None for numbers as programs write them, else as `read_number` has it.
        missing: words that stand for a missing cell.
    """
    if decimal is not None:
        return np.array([read_number(word, decimal) for word in words], np.float64)
    absent = frozenset(missing)
    plain = pd.Series([None if word in absent else word for word in words], dtype=object)
    return pd.to_numeric(plain, errors="coerce").to_numpy(np.float64, na_value=np.nan, copy=True)


def date_formats(word: str) -> list[str]:
    """All formats that a word is a date in, the likelier ones first; none where it is no date."""
    return [each for each in DATE_FORMATS if _is_date(word, each)] if _may_be_date(word) else []


def dates_of(words: Sequence[str], form: str) -> pd.DatetimeIndex:
    """Words as dates in UTC, NaT where one is no date of this format."""
    if form == ISO:
        words = [word if _ISO_DATE.fullmatch(word) else "" for word in words]
    return pd.DatetimeIndex(
        pd.to_datetime(pd.Series(words, dtype=object), format=form, errors="coerce", utc=True)
    )


def date_part(dates: pd.DatetimeIndex, part: str, first: str) -> np.ndarray:
    """Dates as float64, NaN where there is none.

    Args:
        dates: (N,).
        part: year, month (1 to 12), weekday (Monday is 0), hour, or days since the first.
        first: the date that days are counted from, in ISO's format.
    """
    if part == "days":
        return np.asarray((dates - pd.Timestamp(first)) / pd.Timedelta(days=1), np.float64)
    return np.asarray(getattr(dates, part), np.float64)


def folded(word: str) -> str:
    """The word in small letters, with single spaces: equal for words that differ in case and spaces alone."""
    return " ".join(word.split()).casefold()


def _is_date(word: str, form: str) -> bool:
    if form != ISO:
        # A hundred times as fast as pandas with a single word.
        try:
            datetime.strptime(word, form)
        except ValueError:
            return False
    elif not _ISO_DATE.fullmatch(word):
        return False
    return not dates_of([word], form).isna()[0]


def _may_be_date(word: str) -> bool:
    return len(word) <= 40 and _LIKE_DATE.match(word) is not None
