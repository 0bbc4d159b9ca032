"""What becomes of each column of a table, by what its profile shows and what the user says of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lossfleet.conf.errors import UserError
from lossfleet.runners.portable.cells import COMMA, COMPACT, POINT
from lossfleet.runners.tables.profile import LARGEST_NUMBER, ColumnProfile

NUMBER, WORDS, DATE, TEXT, NOTHING = "number", "words", "date", "text", "nothing"
# A column of which at least this share is numbers has wrong cells, not categories.
NUMBERS_OF_A_NUMERIC_COLUMN = 0.9
UNNAMED = re.compile(r"Unnamed: \d+")
NAMES_OF_PARTS = {"%Y": "year", "%m": "month", "%d": "day", "%b": "month", "%B": "month", "%y": "year"}


@dataclass(frozen=True)
class Choices:
    """What the user, or the file, says of the columns; `decimal` is the mark of the whole file."""

    categorical: Collection[str] = ()
    text: Collection[str] = ()
    keep: Collection[str] = ()
    index: Collection[str] = ()
    dates: str = "parts"
    decimal: str = POINT
    decimal_is_given: bool = False


@dataclass(frozen=True)
class ColumnUse:
    """What becomes of a column.

    Fields: name; kind, one of those above; decimal and missing, as `portable.cells.numbers_of` takes them; form of
    dates; remark, what to tell of it.
    """

    name: str
    kind: str
    decimal: str | None = None
    missing: tuple[str, ...] = ()
    form: str = ""
    remark: str = ""

    @property
    def spec(self) -> Mapping[str, Any]:
        """How a kept model reads a number, as JSON has it; nothing where it is written as programs do."""
        found = {"decimal": self.decimal, "missing": list(self.missing)}
        return {name: value for name, value in found.items() if value}


def decimal_of_file(profiles: Collection[ColumnProfile], separator: str | None) -> str:
    """The mark before fractions in a file of text, for columns that can be read with either.

    A comma where the separator leaves it free and a column has no other reading; behind semicolons, which are there
    because of it, also where no column has a point.
    """
    if separator in (None, COMMA):
        return POINT
    numbers = [each for each in profiles if each.is_number]
    if any(each.commaed for each in numbers):
        return COMMA
    has_points = any(each.pointed or each.points == "decided" for each in numbers)
    return (
        COMMA if separator == ";" and not has_points and any(each.is_ambiguous for each in numbers) else POINT
    )


def use_of(profile: ColumnProfile, choices: Choices) -> ColumnUse:
    """What becomes of a feature column.

    Raises:
        UserError: a word in a column of numbers, or a number that is infinite.
    """
    name = profile.name
    if profile.is_empty:
        return ColumnUse(name, NOTHING, remark="no value in any row")
    if name in choices.text:
        return ColumnUse(name, TEXT)
    if name in choices.categorical:
        return ColumnUse(name, WORDS)
    if name not in choices.keep:
        if name in choices.index:
            return ColumnUse(name, NOTHING, remark="an index that pandas wrote; data.keep keeps it")
        if UNNAMED.fullmatch(name) and profile.is_plain and profile.is_whole:
            return ColumnUse(name, NOTHING, remark="an index that pandas wrote; data.keep keeps it")
    if (form := profile.date_format) is not None:
        return _date(profile, form, choices)
    if name not in choices.keep and profile.counts_rows:
        return ColumnUse(name, NOTHING, remark="a whole number of its own in every row; data.keep keeps it")
    if profile.is_number:
        _check_finite(profile)
        return use_of_number(profile, choices)
    return _words(profile)


def _date(profile: ColumnProfile, form: str, choices: Choices) -> ColumnUse:
    shown = re.sub(r"%[A-Za-z]", lambda found: NAMES_OF_PARTS.get(found[0], ""), form).strip(" :.")
    how = "ISO's" if form == "ISO8601" else "year month day" if form == COMPACT else f"{shown}"
    others = [
        each for each in profile.formats or () if re.sub("[dmT ]", "", each) == re.sub("[dmT ]", "", form)
    ]
    remark = f"dates, {how}" + ("; the day could be the month too" if len(others) > 1 else "")
    if choices.dates == "drop":
        return ColumnUse(profile.name, NOTHING, remark=f"{remark}, and data.dates=drop")
    return ColumnUse(profile.name, DATE, form=form, missing=tuple(profile.missing_marks), remark=remark)


def use_of_number(profile: ColumnProfile, choices: Choices) -> ColumnUse:
    """How a column of numbers is read."""
    decimal = None
    if profile.disguised or (profile.points == "thousands" and choices.decimal == COMMA):
        decimal = COMMA if profile.commaed else POINT if profile.pointed else choices.decimal
    elif choices.decimal_is_given and choices.decimal == COMMA:
        decimal = COMMA
    told = []
    if profile.disguised:
        told.append(
            f"numbers such as {profile.disguised!r}" + (", with a decimal comma" if decimal == COMMA else "")
        )
    if (
        decimal is not None
        and not (profile.commaed or profile.pointed)
        and (profile.is_ambiguous or profile.points == "thousands")
    ):
        mark = POINT if decimal == COMMA else COMMA
        told.append(f"{mark!r} is taken to stand between thousands; data.decimal decides")
    marks = tuple(profile.missing_marks)
    if marks:
        rows = sum(profile.strange[word][1] for word in marks)
        told.append(f"{', '.join(map(repr, marks[:3]))} is missing, in {rows} rows")
    return ColumnUse(profile.name, NUMBER, decimal, marks, remark="; ".join(told))


def _words(profile: ColumnProfile) -> ColumnUse:
    first = profile.first_word
    if profile.code:
        return ColumnUse(
            profile.name, WORDS, remark=f"categories, since {profile.code!r} is written as a code"
        )
    if profile.commaed and profile.first_word is None and not profile.is_text:
        remark = "categories, since it has numbers with a decimal comma and with a decimal point; data.decimal decides"
        return ColumnUse(profile.name, WORDS, remark=remark)
    if first is None or not profile.numbers:
        words = list(profile.strange)
        like_numbers = [word for word in words if word[0].isdigit()]
        is_measured = len(like_numbers) > len(words) / 2 and len(words) > 2
        remark = (
            f"categories such as {words[0]!r}: they begin with digits, but are no numbers"
            if is_measured
            else ""
        )
        return ColumnUse(profile.name, WORDS, remark=remark)
    row, word = first
    if profile.numbers >= NUMBERS_OF_A_NUMERIC_COLUMN * profile.present:
        raise UserError(
            what=f"column {profile.name!r} has {word!r} in row {row}, and numbers in {profile.numbers} "
            f"of its {profile.present} cells",
            expected="a number in every cell; an empty one is missing",
            hint=f"correct it, write data.missing=[{word}] if it stands for a missing one, or "
            f"data.categorical=[{profile.name}] if the numbers are codes",
        )
    remark = (
        f"categories, though {profile.numbers} of its {profile.present} cells are numbers; {word!r} is none"
    )
    return ColumnUse(profile.name, WORDS, remark=remark)


def _check_finite(profile: ColumnProfile) -> None:
    if profile.excess is None:
        return
    row, value = profile.excess
    raise UserError(
        what=f"column {profile.name!r} has {value:g} in row {row}",
        expected=f"finite numbers, at most {LARGEST_NUMBER:.2g}",
        hint=f"correct it, leave the cell empty, or write data.drop=[{profile.name}]",
    )
