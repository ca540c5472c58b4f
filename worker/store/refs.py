"""Refs, the notation of commits and files: ``[project/]repo[@branch-or-commit][^][:path]``."""

import re

import attrs

from worker.errors import Invalid
from worker.model import COMMIT_ID, DEFAULT_BRANCH, DEFAULT_PROJECT, BranchName, Repo

FORM = re.compile(
    r"(?:(?P<project>[^/@:^~]*)/)?(?P<repo>[^/@:^~]*)"
    r"(?:@(?P<at>[^/@:^~]*))?(?P<back>(?:[\^~][0-9]*)*)(?::(?P<path>.*))?",
    re.DOTALL,
)
STEP = re.compile(r"[\^~]([0-9]*)")


class InvalidRef(Invalid):
    """The text is not a ref."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"ref: found {found!r}, expected [project/]repo[@branch-or-commit][^ or ~N][:path], "
            "such as labresults, labresults@master~2 or lab/results@dev:plates/1.csv"
        )
        self.found = found


@attrs.frozen
class Ref:
    """A parsed ref: a commit of a repo, and a path in it."""

    repo: Repo
    at: str = DEFAULT_BRANCH
    """A branch, or a commit id."""
    back: int = 0
    """The number of parents to go back from there."""
    path: str = ""

    @property
    def is_commit(self) -> bool:
        """Whether *at* has the form of a commit id, which a branch name can also have."""
        return COMMIT_ID.fullmatch(self.at) is not None

    @property
    def branch(self) -> BranchName:
        """The branch with the name *at*."""
        return BranchName(self.repo, self.at)

    def __str__(self) -> str:
        steps = f"~{self.back}" if self.back else ""
        path = f":{self.path}" if self.path else ""
        return f"{self.repo}@{self.at}{steps}{path}"


def parse_ref(text: str, *, project: str = DEFAULT_PROJECT) -> Ref:
    """Parse a ref; *project* is the default. Raises InvalidRef and InvalidName.

    ``^``, ``^N``, ``~`` and ``~N`` each go back by parents, and add up. The path is everything
    after the first colon without one leading slash: ``repo:/a`` and ``repo:a`` are the same file.
    """
    found = FORM.fullmatch(text)
    if found is None or found["repo"] == "" or found["project"] == "" or found["at"] == "":
        raise InvalidRef(text)
    repo = Repo(found["project"] or project, found["repo"])
    at = BranchName(repo, found["at"] or DEFAULT_BRANCH).name
    back = sum(int(number or 1) for number in STEP.findall(found["back"]))
    return Ref(repo, at, back=back, path=(found["path"] or "").removeprefix("/"))
