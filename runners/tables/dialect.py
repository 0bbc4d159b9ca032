"""How a text file writes a table: its encoding, its separator, where its header is, and what the names are."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners.portable.cells import COMMA, POINT, numbers_of, read_number
from lossfleet.runners.tables import files

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes", " ": "spaces"}
# So many lines say how a file is written; a header lies among the first ones.
SAMPLE_RECORDS = 200
TITLE_LINES = 50
CELLS_OF_A_SAMPLE = 2000
# A separator that gives fewer of the lines one number of cells is none.
STEADY = 0.7
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
WINDOWS = "windows-1252"
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$")


class _Bytes(NamedTuple):
    """What a look at all bytes says: encoding, length of the longest line, the first bytes, and whether all are."""

    encoding: str
    longest_line: int
    start: bytes
    is_whole: bool


@dataclass(frozen=True)
class Dialect:
    """How a text file is written.

    Fields: encoding; separator; names of the columns, as many as cells in a row, empty where there is none; skipped,
    how many bytes of UTF-8 stand above the first row; longest_line in bytes; has_header; said, what was found, in
    words; remarks, what was strange.
    """

    encoding: str
    separator: str
    names: tuple[str, ...]
    skipped: int
    longest_line: int
    has_header: bool
    said: tuple[str, ...]
    remarks: tuple[str, ...]


def sniff(path: Path, *, separator: str | None, encoding: str | None, header: str | None) -> Dialect:
    """Find out how a text file is written, reading all of its bytes once.

    Args:
        path: of the file, which may be packed.
        separator, encoding, header: where the user says so.

    Raises:
        UserError: no text in this encoding, or no lines at all.
    """
    with files.open_bytes(path) as file:
        found = _scan(path, file, encoding)
    text = codecs.getincrementaldecoder(found.encoding)().decode(found.start)
    mark = 1 if text.startswith("\ufeff") else 0
    lines = LINE.findall(text[mark:])
    if not found.is_whole:
        lines.pop()
    said, remarks = [], []
    first = 0
    given = re.fullmatch(r"sep=(.)\s*", lines[0]) if lines else None
    if given:
        first, separator = 1, separator or given[1]
    separator = _as_separator(separator) or _best_separator(lines[first:])
    records = _records(lines[first:], separator)
    while records and not any(cell.strip() for cell in records[-1][1]):
        records.pop()
    if not records:
        raise UserError(
            what=f"{path.name} has no lines",
            expected="a header and rows",
            hint="write the table again, or correct data.path",
        )
    place, names, note = _header(records, has_header=header is None)
    if note:
        remarks.append(note)
    titles = [cells[0] for _, cells in records[:place] if any(cell.strip() for cell in cells)]
    if titles:
        many = f"{len(titles)} lines" if len(titles) > 1 else "1 line"
        remarks.append(
            f"{many} above the {'header' if header is None else 'rows'} left out: {titles[0].strip()[:60]!r}"
        )
    above = first + (records[place][0] if header is None else records[place - 1][0] if place else 0)
    said.append(SEPARATORS.get(separator, f"{separator!r} between cells"))
    said.append(found.encoding.upper())
    if header is not None:
        said.append("no header")
    elif _may_be_a_row(names):
        shown = ", ".join(names[:4])
        remarks.append(
            f"the first row is taken for names, though it has numbers ({shown}, ...): if the file has no header, write "
            f"data.header=none, and data.target=column_{len(names)} for the last column"
        )
    return Dialect(
        encoding=found.encoding,
        separator=separator,
        names=tuple(names),
        skipped=len((text[:mark] + "".join(lines[:above])).encode()),
        longest_line=found.longest_line,
        has_header=header is None,
        said=tuple(said),
        remarks=tuple(remarks),
    )


def _scan(path: Path, file: IO[bytes], given: str | None) -> _Bytes:
    """Look at every byte once: all must be text, and the longest line must fit into a block."""
    start = block = file.read(files.BLOCK_BYTES)
    marks = [name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark)]
    encoding = given or (marks[0] if marks else _wide_encoding(start) or "utf-8")
    decoder = codecs.getincrementaldecoder(encoding)()
    longest = open_line = position = lines = 0
    kept: list[bytes] = []
    while True:
        try:
            decoder.decode(block, not block)
            wrong = block.find(b"\0") if encoding in ("utf-8", WINDOWS) else -1
        except UnicodeDecodeError as error:
            wrong = max(0, error.start - len(error.object) + len(block))
            if encoding == "utf-8" and given is None and b"\0" not in block:
                # What is no UTF-8 is what Windows writes, of which LATIN1 is a part but for control characters.
                encoding, decoder = WINDOWS, codecs.getincrementaldecoder(WINDOWS)()
                continue
        if wrong >= 0:
            raise _undecodable(
                path, position + wrong, lines + block.count(10, 0, wrong) + 1, block[wrong:], given
            )
        if not block:
            return _Bytes(
                encoding, max(longest, open_line), b"".join(kept), is_whole=position == sum(map(len, kept))
            )
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
        if ends.size:
            longest = max(longest, open_line + int(ends[0]) + 1, int(np.diff(ends).max(initial=0)))
        open_line = len(block) - int(ends[-1]) - 1 if ends.size else open_line + len(block)
        # Of a long header all, and rows below it.
        if not kept or sum(map(len, kept)) < min(2 * max(longest, open_line), 64 * files.BLOCK_BYTES):
            kept.append(block)
        lines += len(ends)
        position += len(block)
        block = file.read(files.BLOCK_BYTES)


def _wide_encoding(start: bytes) -> str | None:
    """UTF-16 without a mark has a zero in every second byte of its letters."""
    sample = start[:4096]
    if sample.count(0) < len(sample) // 4:
        return None
    return "utf-16-le" if sample[1::2].count(0) > sample[::2].count(0) else "utf-16-be"


def _undecodable(path: Path, position: int, line: int, rest: bytes, given: str | None) -> UserError:
    what = f"byte 0x{rest[0]:02x} at position {position}, in line {line}" if rest else "a broken last letter"
    return UserError(
        what=f"{path.name} has {what}",
        expected=f"text in {given or 'UTF-8 or WINDOWS-1252'}",
        hint="write for example data.encoding=gb18030, or convert it with iconv -t UTF-8",
    )


def _as_separator(given: str | None) -> str | None:
    words = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " "}
    return None if given is None else words.get(given, given)


def _best_separator(lines: Sequence[str]) -> str:
    """The one by which most lines have the same number of cells, at least two; of equal ones that with more numbers."""
    scores: dict[str, tuple[float, float, int]] = {}
    for place, separator in enumerate(SEPARATORS):
        records = _records(lines, separator)
        counts = Counter(len(cells) for _, cells in records if len(cells) > 1 or cells[0].strip())
        if not counts:
            continue
        width, share = counts.most_common(1)[0][0], counts.most_common(1)[0][1] / counts.total()
        if width < 2 or share < STEADY or (separator == " " and scores):
            continue
        cells = [cell for _, record in records for cell in record[: CELLS_OF_A_SAMPLE // len(records) + 1]]
        numbers = sum(
            not np.isnan([read_number(cell.strip(), mark) for mark in (POINT, COMMA)]).all() for cell in cells
        )
        scores[separator] = (round(share, 2), numbers / len(cells), -place)
    return max(scores, key=scores.__getitem__) if scores else ","


def _records(lines: Sequence[str], separator: str) -> list[tuple[int, list[str]]]:
    """The first rows: how many lines end with each, and its cells; empty lines are left out."""
    if separator == " ":
        lines = [re.sub(r"[ \t]+", " ", line.strip(" \t")) for line in lines[: 2 * SAMPLE_RECORDS]]
    records: list[tuple[int, list[str]]] = []
    reader = csv.reader(iter(lines), delimiter=separator)
    try:
        for cells in reader:
            if cells:
                records.append((reader.line_num, cells))
            if len(records) == SAMPLE_RECORDS:
                break
    except csv.Error:
        # A cell of more than 128 kB: an open quotation, which reading names.
        pass
    return records


def _header(records: Sequence[tuple[int, list[str]]], *, has_header: bool) -> tuple[int, list[str], str]:
    """The place of the header, the names, one a cell of a row, and what was strange about them."""
    widths = [len(cells) for _, cells in records]
    # The last rows tell: titles and comments lie above.
    below = widths[len(widths) // 2 :] if len(widths) > 2 else widths[-1:]
    width = Counter(below).most_common(1)[0][0]
    if not has_header:
        place = next((at for at, found in enumerate(widths[:TITLE_LINES]) if found == width), 0)
        return place, [f"column_{number}" for number in range(1, widths[place] + 1)], ""
    for place, (_, cells) in enumerate(records[:TITLE_LINES]):
        names = [name.strip() for name in cells]
        if len(names) == width:
            if names[0].startswith("# "):
                names[0] = names[0][2:].strip()
            return place, names, ""
        rows = [row for _, row in records[place + 1 :] if len(row) == width]
        # A title may have as many cells; below it are names, and below names are numbers.
        if not rows or names[0].startswith("#") or not _has_numbers(rows[0]) or _has_numbers(names):
            continue
        if len(names) == width + 1 and not names[-1]:
            return place, names[:-1], "a separator ends the header and no row: it is left out"
        if len(names) == width - 1 > 0:
            if all(not row[-1].strip() for row in rows):
                return place, [*names, ""], ""
            return (
                place,
                ["", *names],
                "the header has a name less than rows have cells: the first column has none",
            )
    return 0, [name.strip() for name in records[0][1]], ""


def _has_numbers(cells: Sequence[str]) -> bool:
    return not np.isnan([read_number(cell.strip(), mark) for cell in cells for mark in (POINT, COMMA)]).all()


def _may_be_a_row(names: Sequence[str]) -> bool:
    """Whether names look like the cells of a row: numbers that do not count up."""
    numbers = numbers_of(names)
    numbers = numbers[~np.isnan(numbers)]
    if len(numbers) < max(1, len(names) / 2):
        return False
    return len(numbers) == 1 or bool((np.diff(numbers) <= 0).any() or (numbers % 1).any())
