"""A bar on the terminal while files go in or out; nothing at all when nobody looks."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Watch = Callable[[str, int], None]
"""Told the key and the size of each file that is done."""


def _unwatched(_key: str, _size: int) -> None:
    return None


@contextmanager
def transfer_progress(title: str) -> Iterator[Watch]:
    """Show files and bytes as they are done, on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield _unwatched
        return
    # Loaded for people only; a job in a pod never waits for it.
    from rich.console import Console
    from rich.progress import (
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[files]:,} files"),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task(title, total=None, files=0)
        files = 0

        def watch(_key: str, size: int) -> None:
            nonlocal files
            files += 1
            progress.update(task, advance=size, files=files)

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
