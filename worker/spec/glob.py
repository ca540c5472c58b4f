"""Which paths of a commit a glob selects, in Pachyderm's meaning."""

import re
from collections.abc import Iterable, Iterator

import attrs

from worker.errors import Invalid


class GlobWrong(Invalid):
    """A glob that no path could be compared with."""


@attrs.frozen
class Match:
    """One datum's worth of paths: a file, or a folder with all below it."""

    path: str
    """With a leading slash and without a trailing one; ``/`` is the whole commit."""
    folder: bool

    @property
    def prefix(self) -> str:
        """What all keys below a folder begin with; for a file, its key."""


@attrs.frozen
class Glob:
    text: str
    prefix: str
    """Every key that matters begins with this."""


def compile_glob(text: str) -> Glob: ...
def matches(glob: Glob, keys: Iterable[str]) -> Iterator[Match]:
    """Yield what *glob* selects among *keys* (sorted, no leading slash), in their order."""
