"""A bar on the terminal while files go in or out; nothing at all when nobody looks."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from worker.cli import terminal as output

Watch = Callable[[str, int], None]
"""Told the key and the size of each file that is done."""


def _unwatched(_key: str, _size: int) -> None:
    return None


@contextmanager
def transfer_progress(title: str, total: int | None = None) -> Iterator[Watch]:
    """Show files and bytes as they are done, on standard error, if that is a terminal.

    With a *total* of bytes there is a bar as well.
    """
    if not sys.stderr.isatty():
        yield _unwatched
        return
    # Loaded for people only; a job in a pod never waits for it.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = [] if total is None else [BarColumn(bar_width=20)]
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        *bar,
        TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task(title, total=total, done="")
        files, size = 0, 0

        def watch(_key: str, more: int) -> None:
            nonlocal files, size
            files, size = files + 1, size + more
            done = f"{output.number(files, 'file')}, {output.size(size)}"
            progress.update(task, advance=more, done=done)

        yield watch


@contextmanager
def counting(noun: str) -> Iterator[Callable[[str], None]]:
    """Show how many things were looked at and which one is next, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _name: None
        return
    from rich.console import Console
    from rich.status import Status

    count = 0
    with Status(f"0 {noun}", console=Console(stderr=True)) as status:

        def step(name: str) -> None:
            nonlocal count
            count += 1
            status.update(f"{count:,} {noun}, now {name}")

        yield step
