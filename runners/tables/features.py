"""The features of a table: filled batch by batch, put together, and told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.runners.tables.categories import REST, Categories
from lossfleet.runners.tables.columns import Column, DateColumn, NumberColumn, TextColumn
from lossfleet.runners.tables.report import shortened
from lossfleet.runners.tables.uses import DATE, NOTHING, NUMBER, TEXT, WORDS, ColumnUse

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

EXAMPLE_ROWS = 5
# The names of a set of spellings, and the sets of a column, that are told.
ALIKE_SHOWN = 3


class Features:
    """What a model learns from, by what becomes of each column.

    Attributes:
        kinds: names of the columns by what they became, complete with `table`.
        specs: how a kept model reads a feature where that is not plain, complete with `table`.
        example: the first rows as the file has them.
    """

    def __init__(self, uses: Sequence[ColumnUse], rows: int) -> None:
        self._uses = uses
        of_kind = {
            kind: [use for use in uses if use.kind == kind] for kind in (NUMBER, WORDS, DATE, TEXT, NOTHING)
        }
        self._numbers = np.empty((rows, len(of_kind[NUMBER])))
        self._numeric = [
            NumberColumn(use, self._numbers[:, place]) for place, use in enumerate(of_kind[NUMBER])
        ]
        self._words = [Categories(use.name, rows) for use in of_kind[WORDS]]
        self._dates = [DateColumn(use.name, use.form, rows) for use in of_kind[DATE]]
        self._texts = [TextColumn(use.name, rows) for use in of_kind[TEXT]]
        self.columns: list[Column] = [*self._numeric, *self._words, *self._dates, *self._texts]
        self.kinds: dict[str, list[str]] = {
            "numbers": [each.name for each in self._numeric],
            "categories": [],
            "dates": [each.name for each in self._dates],
            "text": [each.name for each in self._texts],
            "left out": [use.name for use in of_kind[NOTHING]],
        }
        self.specs: dict[str, Mapping[str, Any]] = {use.name: use.spec for use in of_kind[NUMBER] if use.spec}
        self.example: dict[str, list[Any]] = {}

    def fill(self, start: int, batch: Mapping[str, pa.Array]) -> None:
        """Take a batch whose first row is `start`, from 0."""
        for column in self.columns:
            column.fill(start, batch[column.name])
        if start == 0:
            first = {name: cells.slice(0, EXAMPLE_ROWS).to_pylist() for name, cells in batch.items()}
            self.example = {column.name: first[column.name] for column in self.columns}
            plain = [column for column in self._numeric if not column.use.spec]
            rows = len(next(iter(first.values())))
            self.example |= {column.name: column.values[:rows].tolist() for column in plain}

    def table(
        self, *, dates: str, categories: int | None, fold_case: bool, keep: Sequence[str]
    ) -> tuple[pd.DataFrame, list[str]]:
        """Numbers, parts of dates, categories and text as columns, and what to tell of all columns.

        Args:
            dates: `parts` or `days`.
            categories: how many to tell apart; None for the 50 most frequent of more than 256.
            fold_case: whether words that differ in case and spaces alone are one.
            keep: columns whose values may differ in every row.
        """
        import pandas as pd

        frames = [pd.DataFrame(self._numbers, columns=self.kinds["numbers"], copy=False)]
        remarks = {(use.name, use.kind == NOTHING): use.remark for use in self._uses if use.remark}
        parts: dict[str, np.ndarray] = {}
        for date in self._dates:
            for name, values, spec in date.parts(dates):
                parts[name], self.specs[name] = values, spec
        words = {}
        for column in self._words:
            if not column.repeats and column.name not in keep:
                remarks.pop((column.name, False), None)
                remarks[column.name, True] = "a text of its own in every row; data.text learns from its words"
                self.kinds["left out"].append(column.name)
                continue
            told = [remarks[column.name, False]] if (column.name, False) in remarks else []
            told += _joined(column, categories, fold_case, self.specs)
            if told:
                remarks[column.name, False] = "; ".join(told)
            words[column.name] = column.sorted()
            self.kinds["categories"].append(f"{column.name} ({len(column.words)})")
        texts = {each.name: each.texts for each in self._texts}
        frames += [pd.DataFrame(each) for each in (parts, words, texts) if each]
        return pd.concat(frames, axis=1) if len(frames) > 1 else frames[0], _sentences(remarks)


def _joined(
    column: Categories, most: int | None, fold_case: bool, specs: dict[str, Mapping[str, Any]]
) -> list[str]:
    """Join what belongs together in a column of words, and say so."""
    told: list[str] = []
    spec: dict[str, Any] = {}
    if alike := column.alike():
        shown = "; ".join(", ".join(map(repr, words[:ALIKE_SHOWN])) for words in alike[:ALIKE_SHOWN])
        if fold_case:
            column.join_alike()
            spec["fold"] = True
            told.append(f"{shown} taken as one")
        else:
            told.append(f"{shown} differ in case or spaces alone; data.fold_case=true takes them as one")
    if found := column.join_rare(most):
        spec["rest"] = REST
        told.append(
            f"the {len(column.words) - 1} most frequent of {found:,} categories, the others as {REST}"
        )
    if spec:
        specs[column.name] = spec
    return told


def _sentences(remarks: Mapping[tuple[str, bool], str]) -> list[str]:
    """A sentence for each thing to tell, of all columns that it is true of."""
    columns = defaultdict(list)
    for (name, is_left_out), remark in remarks.items():
        columns[is_left_out, remark].append(name)
    return [
        f"column{'s' if len(names) > 1 else ''} {shortened(names)}{' left out' if is_left_out else ''}: {remark}"
        for (is_left_out, remark), names in columns.items()
    ]
