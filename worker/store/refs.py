"""How a person names a commit or a file of it: ``[project/]repo[@branch-or-commit][^][:path]``."""

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
    """This is not how a commit is named."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"ref: found {found!r}, expected [project/]repo[@branch-or-commit][^ or ~N][:path], "
            "such as labresults, labresults@master~2 or lab/results@dev:plates/1.csv"
        )
        self.found = found


@attrs.frozen
class Ref:
    """A commit of a repo, said from outside, and perhaps a path in it."""

    repo: Repo
    at: str = DEFAULT_BRANCH
    """A branch, or the id of a commit."""
    back: int = 0
    """How many parents to go back from there."""
    path: str = ""

    @property
    def is_commit(self) -> bool:
        """Whether *at* has the form of a commit's id (a branch can be called so too)."""
        return COMMIT_ID.fullmatch(self.at) is not None

    @property
    def branch(self) -> BranchName:
        """The branch that *at* names."""
        return BranchName(self.repo, self.at)

    def __str__(self) -> str:
        steps = f"~{self.back}" if self.back else ""
        path = f":{self.path}" if self.path else ""
        return f"{self.repo}@{self.at}{steps}{path}"


def parse_ref(text: str, *, project: str = DEFAULT_PROJECT) -> Ref:
    """Return the ref that *text* says; *project* is meant where it names none.

    ``^``, ``^N``, ``~`` and ``~N`` each go back by parents, and add up. The path is all that is
    after the first colon, less one leading slash: ``repo:/a`` and ``repo:a`` are the same file.
    """
    found = FORM.fullmatch(text)
    if found is None or found["repo"] == "" or found["project"] == "" or found["at"] == "":
        raise InvalidRef(text)
    repo = Repo(found["project"] or project, found["repo"])
    at = BranchName(repo, found["at"] or DEFAULT_BRANCH).name
    back = sum(int(number or 1) for number in STEP.findall(found["back"]))
    return Ref(repo, at, back=back, path=(found["path"] or "").removeprefix("/"))
