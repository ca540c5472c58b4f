"""How results reach standard output: lines for programs, tables for people on a terminal."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from worker.telemetry import printable

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def on_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Print one JSON value on a line of its own."""
    print(json.dumps(value, ensure_ascii=False))


def print_line(text: str = "") -> None:
    """Print one line of text for a person or a pipe; control characters are written out."""
    print(printable(text))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Print rows under their titles on a terminal, and as lines with tabs otherwise.

    For a pipe rows are written as they come, so a million of them need no memory. On a terminal
    columns are as wide as the first screenfuls need; the last column is never cut, so that what
    it shows can be copied.
    """
    if not on_terminal():
        for row in rows:
            print("\t".join(printable(cell) for cell in row))
        return
    widths: list[int] = []
    batch: list[list[str]] = []
    for row in rows:
        batch.append([printable(cell) for cell in row])
        if len(batch) == 1000:
            widths = _print_batch(columns, batch, right=right, widths=widths)
            batch = []
    if batch or not widths:
        _print_batch(columns, batch, right=right, widths=widths)


def _print_batch(
    columns: Sequence[str], batch: list[list[str]], *, right: Sequence[str], widths: list[int]
) -> list[int]:
    # Loaded for people only; a pipe never waits for it.
    from rich.cells import cell_len, set_cell_size

    found = [max(cell_len(cell) for cell in column) for column in zip(columns, *batch, strict=True)]
    first = not widths
    widths = [max(pair) for pair in zip(widths or found, found, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for name, cell, width in zip(columns, cells, widths, strict=True):
            gap = " " * (width - cell_len(cell))
            padded.append(gap + cell if name in right else set_cell_size(cell, width))
        return "  ".join(padded).rstrip()

    if first:
        click.secho(line([name.upper() for name in columns]), dim=True)
    for row in batch:
        print(line(row))
    return widths


def print_facts(facts: Iterable[tuple[str, str]], *, indent: str = "") -> None:
    """Print names and values below each other, without those that have no value.

    On a terminal prose is wrapped; lines that came as lines, such as code, are left as they are.
    """
    shown = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in shown), default=0)
    room = shutil.get_terminal_size().columns - len(indent) - width - 2
    for name, value in shown:
        lines = printable_lines(value)
        if on_terminal() and len(lines) == 1 and " " in value and room > 20:
            lines = textwrap.wrap(lines[0], room, break_long_words=False, break_on_hyphens=False)
        first, *rest = lines or [""]
        label = click.style(f"{name:<{width}}", dim=True) if on_terminal() else f"{name:<{width}}"
        print(f"{indent}{label}  {first}")
        for line in rest:
            print(f"{indent}{'':<{width}}  {line}")


def printable_lines(text: str) -> list[str]:
    """Return the lines of *text*, at least one, with control characters written out."""
    return [printable(line) for line in text.split("\n")]


def title(text: str) -> None:
    """Print a title above what follows."""
    print()
    click.secho(text, bold=True)


def size(count: int) -> str:
    """Return a number of bytes as people say it."""
    amount = float(count)
    for unit in UNITS:
        if amount < 1024 or unit == UNITS[-1]:
            break
        amount /= 1024
    if unit == "bytes":
        return "1 byte" if count == 1 else f"{count} bytes"
    return f"{amount:.1f} {unit}"


def amount(count: int) -> str:
    """Return an exact number: with commas on a terminal, as digits otherwise."""
    return f"{count:,}" if on_terminal() else str(count)


def moment(seconds: float) -> str:
    """Return a moment: local time on a terminal, UTC in ISO 8601 otherwise."""
    found = datetime.fromtimestamp(seconds, UTC)
    if on_terminal():
        return f"{found.astimezone():%Y-%m-%d %H:%M:%S}"
    return f"{found:%Y-%m-%dT%H:%M:%SZ}"


def duration(seconds: float) -> str:
    """Return a time span as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def number(count: int, singular: str, plural: str = "") -> str:
    """Return a count with its noun: ``1 file``, ``1,255 files``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
