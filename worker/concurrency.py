"""Structured concurrency: a nursery that unwraps single errors, and context managers with a
shielded exit.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TypeVar

import trio
from trio.to_thread import run_sync as in_thread

Value = TypeVar("Value")
Resource = TypeVar("Resource", bound=trio.abc.AsyncResource)


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


@asynccontextmanager
async def closing(resource: Resource) -> AsyncIterator[Resource]:
    """Close *resource* at the end of the block. The exit is shielded.

    The exit of the resource itself is a checkpoint: in a cancelled scope, it would replace an error
    of the block by Cancelled, and the scope would swallow both.
    """
    try:
        yield resource
    finally:
        with trio.CancelScope(shield=True):
            await resource.aclose()


@asynccontextmanager
async def in_thread_context(manager: AbstractContextManager[Value]) -> AsyncIterator[Value]:
    """Enter and exit a blocking context manager in a thread. The exit is shielded."""
    value = await in_thread(manager.__enter__)
    try:
        yield value
    finally:
        with trio.CancelScope(shield=True):
            await in_thread(manager.__exit__, None, None, None)
