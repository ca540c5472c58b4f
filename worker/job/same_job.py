"""Whether a job is the one that published a commit: the same spec and the same pinned inputs."""

from collections.abc import Iterator
from typing import Any

from worker.errors import Invalid
from worker.job.secrets import without_secrets
from worker.model import Commit, CommitName, Repo
from worker.redaction import HIDDEN
from worker.spec.pipeline import JobSpec
from worker.text import join_first

TEXTS = "/description", "/metadata"
"""Keys that have no effect on the output."""
MAX_DIFFERENCES = 5
"""Differences that an error names."""


class AnotherJob(Invalid):
    """The id of a job is that of another job, whose output commit exists."""

    def __init__(self, commit: Commit, differences: tuple[str, ...]) -> None:
        listed = join_first(differences, MAX_DIFFERENCES, "; ")
        super().__init__(
            f"job.id: {commit.name} was published by another job with this id ({listed}); "
            "use another id for another job, or leave job.id out"
        )
        self.differences = differences


def check_same_job(commit: Commit, spec: JobSpec) -> None:
    """Check that *spec* is the job that published *commit*; raises AnotherJob.

    An input that *spec* does not pin may have another commit: the branch may have moved since.
    """
    recorded = commit.job.get("spec")
    if not isinstance(recorded, dict):
        return
    before, now = dict(_values(recorded)), dict(_values(without_secrets(spec.document)))
    found = [
        f"{pointer}: was {_shown(before.get(pointer))}, now {_shown(now.get(pointer))}"
        for pointer in sorted(before.keys() | now.keys())
        if not _is_same(before.get(pointer), now.get(pointer))
    ]
    pinned = {each.name: each.commit for each in commit.inputs}
    for each in spec.inputs:
        was = pinned.get(each.name)
        if each.commit is not None and was is not None:
            name = CommitName(Repo(each.project, each.repo), each.commit)
            if name != was:
                found.append(f"input {each.name!r}: was {was}, now {name}")
    if found:
        raise AnotherJob(commit, tuple(found))


def _is_same(recorded: Any, value: Any) -> bool:
    """Whether a recorded value is *value*; its secrets, which are not recorded, may be any."""
    if not (isinstance(recorded, str) and isinstance(value, str) and HIDDEN in recorded):
        return bool(recorded == value)
    first, *others, last = recorded.split(HIDDEN)
    if not value.startswith(first):
        return False
    position = len(first)
    for text in others:
        found = value.find(text, position)
        if found < 0:
            return False
        position = found + len(text)
    return len(value) - len(last) >= position and value.endswith(last)


def _shown(value: Any) -> str:
    return "not given" if value is None else repr(value)


def _values(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a document by JSON pointer, without zero values and pinned commits."""
    if pointer in TEXTS or pointer.endswith("/pfs/commit"):
        return
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _values(each, f"{pointer}/{key}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _values(each, f"{pointer}/{number}")
    elif value:
        yield pointer, value
