"""A nursery that raises a single error as itself, for callers that catch errors by class."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_plain_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery that unwraps an exception group with a single error.

    Cancellations beside an error are dropped, since they follow from it. A group with several
    errors, or with cancellations only, is raised unchanged.
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
