"""Standard output: lines and JSON for programs, tables for a terminal; and progress bars."""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click

from worker.cli.output_file import STANDARD_OUTPUT
from worker.text import escape_controls, escape_json, shows_colors

BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:bytes?|[KMGTP]iB|s|min|h)\b)")
"""The space within a size or a duration."""
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
BATCH = 1000
"""Rows of a table whose widths are measured together."""


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def styled(text: str, *, bold: bool = False, dim: bool = False) -> str:
    """Return *text* in a style, if standard output is a terminal that shows styles."""
    if not (on_terminal() and shows_colors(os.environ)):
        return text
    return click.style(text, bold=bold or None, dim=dim or None)


def _print(text: str = "") -> None:
    """Print a line; an OSError names the stream."""
    try:
        print(text)
    except OSError as error:
        error.filename = STANDARD_OUTPUT
        raise


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print one JSON value on a line of its own, or on several lines with *indent*.

    Control characters are escaped.
    """
    _print(escape_json(json.dumps(value, ensure_ascii=False, indent=indent)))


def print_line(text: str = "") -> None:
    """Print one line; control characters are escaped."""
    _print(escape_controls(text))


def print_title(text: str) -> None:
    """Print a title after an empty line."""
    _print()
    _print(styled(text, bold=True))


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
    cut: str = "",
) -> None:
    """Print rows as aligned columns with titles on a terminal, and separated by tabs otherwise.

    Into a pipe or file each row is printed whole as it comes, so a million rows need no memory. On
    a terminal the table fits its width where possible, as `Table` describes.
    """
    if not on_terminal():
        for row in rows:
            _print("\t".join(escape_controls(cell, keep="") for cell in row))
        return
    # Imported for a terminal only.
    from worker.cli.table import Table

    limit = shutil.get_terminal_size().columns
    table = Table(columns, limit, right=right, optional=optional, cut=cut)
    escaped = ([escape_controls(cell, keep="") for cell in row] for row in rows)
    has_titles = False
    while (batch := list(islice(escaped, BATCH))) or not has_titles:
        for line in table.lines(batch):
            _print(line if has_titles else styled(line, dim=True))
            has_titles = True


Fact = tuple[str, str | Sequence[str]]
"""A name and its value: a text, or several sentences."""


def print_facts(facts: Iterable[Fact]) -> None:
    """Print names and values in two columns; a fact with an empty value is omitted.

    On a terminal, sentences and a text of one line are wrapped at their spaces. A text of several
    lines, such as code, keeps its lines.
    """
    for line in format_facts(facts, wraps=on_terminal(), dims=on_terminal()):
        _print(line)


def format_facts(facts: Iterable[Fact], *, wraps: bool, dims: bool = False) -> Iterator[str]:
    """Yield the lines of names and values in two columns; as ``print_facts``."""
    shown = [(escape_controls(name, keep=""), value) for name, value in facts if value]
    width = max((len(name) for name, _ in shown), default=0)
    room = shutil.get_terminal_size().columns - width - 2
    for name, value in shown:
        is_code = isinstance(value, str) and "\n" in value
        texts = value.split("\n") if isinstance(value, str) else value
        lines = [escape_controls(text) for text in texts]
        if wraps and not is_code and room > 20:
            lines = [part for line in lines for part in _wrap(line, room)]
        for number, line in enumerate(lines):
            label = f"{'' if number else name:<{width}}"
            yield f"{styled(label, dim=True) if dims else label}  {line}"


def _wrap(line: str, width: int) -> list[str]:
    # A name, path or id is not broken: it can be copied. Control characters are escaped before.
    joined = BEFORE_UNIT.sub("\0", line)
    found = textwrap.wrap(joined, width, break_long_words=False, break_on_hyphens=False)
    return [part.replace("\0", " ") for part in found] or [""]


# --- formats --------------------------------------------------------------------------------------


def size(count: int) -> str:
    """Format a number of bytes: ``1 byte``, ``3.5 MiB``."""
    amount = float(count)
    for unit in UNITS:
        if amount < 1024 or unit == UNITS[-1]:
            break
        amount /= 1024
    if unit == "bytes":
        return "1 byte" if count == 1 else f"{count} bytes"
    return f"{amount:.1f} {unit}"


def integer(count: int) -> str:
    """Format an exact number: with thousands separators on a terminal, as digits otherwise."""
    return f"{count:,}" if on_terminal() else str(count)


def timestamp(seconds: float) -> str:
    """Format seconds since the epoch: local time on a terminal, ISO 8601 in UTC otherwise."""
    try:
        found = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"  # After the year 9999, or no number.
    if on_terminal():
        return f"{found.astimezone():%Y-%m-%d %H:%M:%S}"
    return f"{found:%Y-%m-%dT%H:%M:%SZ}"


def duration(seconds: float) -> str:
    """Format a duration: ``2.4 s``, ``1 min 30 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def number(count: int, singular: str, plural: str = "") -> str:
    """Format a count with its noun: ``1 file``, ``1,255 files``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


# --- progress -------------------------------------------------------------------------------------


@contextmanager
def transfer_progress(title: str, total: int | None = None) -> Iterator[Callable[[str, int], None]]:
    """Show the files and bytes of a transfer on standard error, if that is a terminal.

    The block gets a function to call with the key and the size of each file that is done. With a
    *total* of bytes a bar is shown as well.
    """
    if not sys.stderr.isatty():
        yield lambda _key, _size: None
        return
    # Imported for a terminal only.
    from tqdm import tqdm

    files = 0
    bar_format = "{desc}{postfix} [{elapsed}]" + (
        "" if total is None else " |{bar:20}| {percentage:3.0f}%"
    )
    with tqdm(
        desc=_fit(title),
        total=total,
        bar_format=bar_format,
        file=sys.stderr,
        leave=False,
        dynamic_ncols=True,
    ) as bar:

        def done(_key: str, size_of_file: int) -> None:
            nonlocal files
            files += 1
            shown = f"{number(files, 'file')}, {size(int(bar.n) + size_of_file)}"
            bar.set_postfix_str(shown, refresh=False)
            bar.update(size_of_file)

        yield done


@contextmanager
def count_progress(noun: str) -> Iterator[Callable[[str], None]]:
    """Show on standard error, if that is a terminal, how many things are done and the current one.

    The block gets a function to call with the name of each thing before it is processed.
    """
    if not sys.stderr.isatty():
        yield lambda _name: None
        return
    from tqdm import tqdm

    with tqdm(
        bar_format="{n_fmt} {unit}{postfix}",
        unit=noun,
        file=sys.stderr,
        leave=False,
        dynamic_ncols=True,
    ) as bar:

        def step(name: str) -> None:
            bar.set_postfix_str(f"now {_fit(name)}", refresh=False)
            bar.update()

        yield step


def _fit(text: str) -> str:
    """Return *text* as a part of a progress line, which must not be wrapped."""
    room = max(20, shutil.get_terminal_size().columns - 50)
    shown = escape_controls(text, keep="")
    return shown if len(shown) <= room else "…" + shown[1 - room :]
