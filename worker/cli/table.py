"""Tables on a terminal: aligned columns that fit the width of the terminal."""

import re
from collections.abc import Iterator, Sequence

import attrs
from wcwidth import wcswidth

from worker.text import cut_to_width

GAP = "  "
SHORT_ID = 12
"""Digits of an abbreviated commit id, at least."""
COMMIT_ID = re.compile(r"\b[0-9a-f]{32}\b")
SHORTEST_CUT = 8
"""Columns of a cell that is cut, at least."""


@attrs.define
class Table:
    """The layout of a table whose rows arrive in batches.

    A table that is wider than *limit* has abbreviated commit ids, which are refs as whole ids are;
    then it lacks the *optional* columns, as many as necessary; then the cells of the last column
    are cut, if that is *cut*. All other cells are whole, so that names can be copied. Widths grow
    from batch to batch.
    """

    columns: Sequence[str]
    limit: int
    right: Sequence[str] = ()
    """Columns that are aligned to the right."""
    optional: Sequence[str] = ()
    """Columns that may be omitted, the least important one first."""
    cut: str = ""
    _widths: dict[str, int] = attrs.field(factory=dict, init=False)
    _printed: dict[str, int] = attrs.field(factory=dict, init=False)
    """The widths of the lines that are printed."""
    _omitted: set[str] = attrs.field(factory=set, init=False)
    _abbreviates: bool = attrs.field(default=False, init=False)

    def lines(self, batch: Sequence[Sequence[str]]) -> Iterator[str]:
        """Yield the lines of a batch, the first one below the line of titles."""
        cells = [dict(zip(self.columns, row, strict=True)) for row in batch]
        self._fit(cells)
        is_first, self._printed = not self._printed, dict(self._widths)
        if is_first:
            yield self._line({name: name.upper() for name in self.columns})
        for row in cells:
            yield self._line(row)

    def _fit(self, rows: list[dict[str, str]]) -> None:
        """Choose the form of the table, and shorten cells of *rows* accordingly."""
        self._measure(rows)
        if self._abbreviates or self._width() > self.limit:
            self._abbreviates = True
            _abbreviate(rows)
            self._measure(rows)
        for name in self.optional:
            if self._width() > self.limit:
                self._omitted.add(name)
        last = self.columns[-1]
        if last == self.cut and self._width() > self.limit:
            room = self.limit - (self._width() - self._widths[last])
            self._widths[last] = room = max(room, SHORTEST_CUT, wcswidth(last))
            for row in rows:
                row[last] = _cut(row[last], room)

    def _measure(self, rows: list[dict[str, str]]) -> None:
        """Set the widths to those of the titles, of *rows*, and of the lines before."""
        for name in self.columns:
            least = max(wcswidth(name), self._printed.get(name, 0))
            self._widths[name] = max(least, *(wcswidth(row[name]) for row in rows), 0)

    def _shown(self) -> list[str]:
        return [name for name in self.columns if name not in self._omitted]

    def _width(self) -> int:
        shown = self._shown()
        return sum(self._widths[name] for name in shown) + len(GAP) * (len(shown) - 1)

    def _line(self, cells: dict[str, str]) -> str:
        padded = []
        for name in self._shown():
            gap = " " * (self._widths[name] - wcswidth(cells[name]))
            padded.append(gap + cells[name] if name in self.right else cells[name] + gap)
        return GAP.join(padded).rstrip()


def _abbreviate(rows: list[dict[str, str]]) -> None:
    """Shorten the commit ids of *rows*, as far as they remain distinct."""
    ids = {found for row in rows for cell in row.values() for found in COMMIT_ID.findall(cell)}
    length = next(
        length for length in range(SHORT_ID, 33) if len({i[:length] for i in ids}) == len(ids)
    )
    for row in rows:
        for name, cell in row.items():
            row[name] = COMMIT_ID.sub(lambda found: found[0][:length], cell)


def _cut(text: str, width: int) -> str:
    """Return *text*, cut to *width* columns of a terminal with an ellipsis."""
    if wcswidth(text) <= width:
        return text
    return cut_to_width(text, width - 1).rstrip() + "…"
