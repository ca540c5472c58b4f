"""A nursery whose one error is raised as itself, for callers who catch errors by their class."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_plain_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery that raises, of a group that holds a single error, that error.

    Cancellations count only where there is nothing else: they follow from the error.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        _, errors = group.split(trio.Cancelled)
        single: BaseException | None = errors
        while isinstance(single, BaseExceptionGroup) and len(single.exceptions) == 1:
            single = single.exceptions[0]
        if single is None or isinstance(single, BaseExceptionGroup):
            raise
        raise single from single.__cause__
