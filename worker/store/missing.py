"""Errors of names that are not in a store, each with what the user may have meant."""

import difflib
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from worker.errors import Invalid, NotFound
from worker.model import BranchName, CommitName, Ref, Repo
from worker.store.backends.base import skip
from worker.text import join_first

if TYPE_CHECKING:
    from worker.store.repository import Store

ABBREVIATED = re.compile("[0-9a-f]{4,31}")
"""The beginning of a commit id, as git abbreviates them."""
MAX_NAMES = 1000
"""Repos among which a misspelled one is searched for."""
MAX_COMPARED = 64
"""Characters of a name up to which it is compared, which takes time with the square of them."""
SHOWN_NAMES = 10
"""Branches that an error lists."""


class StoreMissing(NotFound):
    """There is no store in a directory, whose path may be misspelled."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url}: there is no store; the first `worker put` or job creates it")
        self.url = url


class RepoMissing(NotFound):
    """The store has no such repo, or does not exist."""

    def __init__(self, repo: Repo, store: "Store") -> None:
        names = [str(each) for each in islice(store.repos(skip), MAX_NAMES)]
        close = most_similar(str(repo), names)
        if close:
            remedy = f"; did you mean {close}?"
        elif names:
            remedy = "; `worker repos` lists its repos"
        else:
            remedy = ", and no other" if store.exists() else ": it does not exist"
        super().__init__(f"{repo}: the store {store.url} has no such repo{remedy}")
        self.repo = repo


def most_similar(name: str, names: Iterable[str]) -> str | None:
    """Return the one of *names* that may be meant by *name*; None if there is none."""
    if len(name) > MAX_COMPARED:
        return None
    compared = [each for each in names if len(each) <= MAX_COMPARED]
    return next(iter(difflib.get_close_matches(name, compared, n=1)), None)


class BranchMissing(NotFound):
    """The repo has no such branch, nor a commit of such an abbreviated id."""

    def __init__(self, branch: BranchName, store: "Store") -> None:
        ids = ""
        if ABBREVIATED.fullmatch(branch.name):
            ids = f", and no commit whose id starts with {branch.name}"
        elif ABBREVIATED.fullmatch(branch.name * 4):
            ids = "; an abbreviated commit id has at least 4 digits"
        names = [each.name for each in islice(store.branches(branch.repo, skip), SHOWN_NAMES + 1)]
        more = ", …" if len(names) > SHOWN_NAMES else ""
        shown = f"; its branches: {', '.join(names[:SHOWN_NAMES])}{more}" if names else ""
        super().__init__(f"{branch}: the repo has no such branch{ids}{shown}")
        self.branch = branch


class CommitMissing(NotFound):
    """The repo has no such commit."""

    def __init__(self, name: CommitName) -> None:
        super().__init__(f"{name}: the repo has no such commit")
        self.name = name


class AmbiguousId(Invalid):
    """An abbreviated id is that of several commits."""

    def __init__(self, ref: Ref, found: Sequence[CommitName]) -> None:
        shown = join_first([str(name) for name in found], 3)
        super().__init__(f"{ref.repo}@{ref.at}: several commits have this id: {shown}")


class AncestorMissing(NotFound):
    """The history has fewer generations than a ref goes back."""

    def __init__(self, ref: Ref, generations: int) -> None:
        commits = "1 commit" if generations == 1 else f"{generations} commits"
        super().__init__(f"{ref}: its history goes back only {commits}")
        self.ref = ref
        self.generations = generations
