"""Output of results on standard output: lines for programs, tables for people on a terminal."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from worker.text import escape_control

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
BATCH = 1000
"""Rows from which the widths of a table's columns are computed."""


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Print one JSON value on one line."""
    print(json.dumps(value, ensure_ascii=False))


def print_line(text: str = "") -> None:
    """Print one line of text with control characters escaped."""
    print(escape_control(text, colors=True))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Print rows below their titles on a terminal, otherwise as lines separated by tabs.

    To a pipe, rows are written as they come, so a million of them need no memory. On a terminal,
    columns are as wide as the first rows need; the last column is never cut, so that its content
    can be copied. Columns named in *right* are aligned to the right.
    """
    if not is_terminal():
        for row in rows:
            print("\t".join(escape_control(cell, colors=True) for cell in row))
        return
    widths: list[int] = []
    batch: list[list[str]] = []
    for row in rows:
        batch.append([escape_control(cell, colors=True) for cell in row])
        if len(batch) == BATCH:
            widths = _print_batch(columns, batch, right=right, widths=widths)
            batch = []
    if batch or not widths:
        _print_batch(columns, batch, right=right, widths=widths)


def _print_batch(
    columns: Sequence[str], batch: list[list[str]], *, right: Sequence[str], widths: list[int]
) -> list[int]:
    # Imported for terminals only.
    from wcwidth import wcswidth

    def width_of(cell: str) -> int:
        return max(wcswidth(cell), 0)

    first = not widths
    found = [max(width_of(cell) for cell in column) for column in zip(columns, *batch, strict=True)]
    widths = [max(pair) for pair in zip(widths or found, found, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for name, cell, width in zip(columns, cells, widths, strict=True):
            padding = " " * (width - width_of(cell))
            padded.append(padding + cell if name in right else cell + padding)
        return "  ".join(padded).rstrip()

    if first:
        click.secho(line([name.upper() for name in columns]), dim=True)
    for row in batch:
        print(line(row))
    return widths


def print_facts(facts: Iterable[tuple[str, str]], *, indent: str = "") -> None:
    """Print names and values, one below the other, without empty values.

    On a terminal, a value of one line is wrapped; values of several lines, such as code, are
    printed as they are.
    """
    shown = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in shown), default=0)
    room = shutil.get_terminal_size().columns - len(indent) - width - 2
    for name, value in shown:
        lines = [escape_control(line, colors=True) for line in value.split("\n")]
        if is_terminal() and len(lines) == 1 and " " in value and room > 20:
            lines = textwrap.wrap(lines[0], room, break_long_words=False, break_on_hyphens=False)
        first, *rest = lines or [""]
        label = click.style(f"{name:<{width}}", dim=True) if is_terminal() else f"{name:<{width}}"
        print(f"{indent}{label}  {first}")
        for line in rest:
            print(f"{indent}{'':<{width}}  {line}")


def print_title(text: str) -> None:
    """Print a title above the following lines."""
    print()
    click.secho(text, bold=True)


def format_size(count: int) -> str:
    """Return a number of bytes with a binary unit: ``1.5 MiB``."""
    amount = float(count)
    for unit in UNITS:
        if amount < 1024 or unit == UNITS[-1]:
            break
        amount /= 1024
    if unit == "bytes":
        return "1 byte" if count == 1 else f"{count} bytes"
    return f"{amount:.1f} {unit}"


def format_integer(count: int) -> str:
    """Return an exact number: with commas on a terminal, otherwise digits only."""
    return f"{count:,}" if is_terminal() else str(count)


def format_time(seconds: float) -> str:
    """Return a time, in seconds since 1970: local time on a terminal, otherwise ISO 8601 UTC."""
    found = datetime.fromtimestamp(seconds, UTC)
    if is_terminal():
        return f"{found.astimezone():%Y-%m-%d %H:%M:%S}"
    return f"{found:%Y-%m-%dT%H:%M:%SZ}"


def format_seconds(seconds: float) -> str:
    """Return a duration for people: ``3.2 s``, ``5 min 2 s``, ``1 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def format_count(count: int, singular: str, plural: str = "") -> str:
    """Return a count with its noun: ``1 file``, ``1,255 files``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
