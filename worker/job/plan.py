"""What a run will do, as a value: resolved inputs, the datums, the output. Nothing here is done."""

import hashlib
import itertools
import math
from collections.abc import Iterator
from typing import Any

import attrs

from worker.errors import NotFound
from worker.model import BranchName, Commit, CommitName, InputRecord, Repo
from worker.spec.glob import Match, compile_glob
from worker.spec.pipeline import JobSpec, PfsInput
from worker.store import segments
from worker.store.repository import CommitMissing, Store


class Unrunnable(NotFound):
    """An input of the job does not exist, or is the output of a failed job."""


@attrs.frozen
class ResolvedInput:
    """An input with the commit that it is, whatever happens to its branch from now on."""

    spec: PfsInput
    commit: Commit

    @property
    def name(self) -> str:
        """The name under which the command knows it."""
        return self.spec.name

    @property
    def record(self) -> InputRecord:
        """The input as provenance keeps it."""
        return InputRecord(
            name=self.spec.name,
            commit=self.commit.name,
            branch=self.spec.branch,
            s3=self.spec.s3,
            glob=self.spec.glob,
        )


@attrs.frozen
class Selection:
    """What one datum takes of one input."""

    input: ResolvedInput
    match: Match
    digest: str
    """The digest of what the selected files mean."""

    @property
    def name(self) -> str:
        """The input's name."""
        return self.input.name


@attrs.frozen
class Datum:
    """One unit of work."""

    number: int
    """Counted from 1."""
    selections: tuple[Selection, ...]
    salt: str = ""
    """The job's own; with another salt the same files are another datum."""

    @property
    def id(self) -> str:
        """The same wherever and whenever the same files are given under the same names."""
        parts = [(each.name, each.match.path, each.digest) for each in self.selections]
        return hashlib.sha256(repr((self.salt, parts)).encode()).hexdigest()

    @property
    def paths(self) -> dict[str, str]:
        """By input name, the path that was selected."""
        return {each.name: each.match.path for each in self.selections}


@attrs.frozen
class Plan:
    """What a run of a job will do."""

    job: str
    """The id of the job, and of its output commit."""
    spec: JobSpec
    output: BranchName
    inputs: tuple[ResolvedInput, ...]
    choices: tuple[tuple[Selection, ...], ...]
    """For each input, what its glob selects, in the order of the paths."""
    published: Commit | None = None
    """The output commit, if an earlier run of the same job made it."""

    @property
    def count(self) -> int:
        """How many datums there are."""
        return math.prod(map(len, self.choices))

    def datums(self) -> Iterator[Datum]:
        """Yield the datums in order: that of the inputs, and of the paths in each."""
        for number, selections in enumerate(itertools.product(*self.choices), start=1):
            yield Datum(number, selections, self.spec.salt)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values, for ``worker plan``."""
        spec = self.spec
        buckets = [each.name for each in self.inputs if each.spec.s3]
        return {
            "job": self.job,
            "project": spec.project,
            "pipeline": spec.pipeline,
            "output": str(self.output),
            "published": None if self.published is None else str(self.published.name),
            "inputs": [
                {
                    "name": each.name,
                    "commit": str(each.commit.name),
                    "branch": each.spec.branch,
                    "glob": each.spec.glob,
                    "s3": each.spec.s3,
                    "files": each.commit.files,
                    "size": each.commit.size,
                }
                for each in self.inputs
            ],
            "buckets": {
                **dict.fromkeys(buckets, "read-only"),
                **({"out": "the output"} if spec.s3_out else {}),
            },
            "datums": [
                {"number": datum.number, "id": datum.id, "paths": datum.paths}
                for datum in self.datums()
            ],
            "command": list(spec.transform.cmd),
            "tries": spec.datum_tries,
            "datum_timeout": spec.datum_timeout,
            "job_timeout": spec.job_timeout,
            "for_scheduler": list(spec.for_scheduler),
            "warnings": [str(warning) for warning in spec.warnings],
        }


def make_plan(store: Store, spec: JobSpec, *, job: str) -> Plan:
    """Resolve the inputs of a job to commits, and work out its datums; raises Unrunnable.

    The output commit is looked for first of all: a job that was published needs no input any more.
    """
    output = BranchName(Repo(spec.output.project, spec.output.repo), spec.output.branch)
    if (published := find_published(store, output, job)) is not None:
        return Plan(job, spec, output, inputs=(), choices=(), published=published)
    inputs = tuple(resolve(store, each) for each in spec.inputs)
    return Plan(job, spec, output, inputs, tuple(choices(store, each) for each in inputs))


def find_published(store: Store, output: BranchName, job: str) -> Commit | None:
    """Return the output commit of a job, if there is one already."""
    try:
        return store.commit(CommitName(output.repo, job))
    except CommitMissing:
        return None


def resolve(store: Store, spec: PfsInput) -> ResolvedInput:
    """Return the input with its pinned commit or the head of its branch; raises Unrunnable."""
    branch = BranchName(Repo(spec.project, spec.repo), spec.branch)
    where = f"input {spec.name!r}"
    if spec.commit is not None:
        name = CommitName(branch.repo, spec.commit)
    else:
        head = store.head(branch)
        if head is None:
            raise Unrunnable(f"{where}: {branch} has no commit; `worker put` can make one")
        name = head.commit
    try:
        commit = store.commit(name)
    except CommitMissing as error:
        raise Unrunnable(f"{where}: {error}") from error
    if (state := commit.job.get("state", "success")) != "success":
        raise Unrunnable(f"{where}: {name} is what a job left that ended in {state}")
    return ResolvedInput(spec, commit)


def choices(store: Store, resolved: ResolvedInput) -> tuple[Selection, ...]:
    """Return what the glob of an input selects, in the order of the paths."""
    if resolved.spec.s3 or resolved.spec.glob == "/":
        return (Selection(resolved, Match("/", folder=True), resolved.commit.digest),)
    tree = store.tree(resolved.commit)
    glob = compile_glob(resolved.spec.glob)
    keys = (entry.key for entry in tree.entries(prefix=glob.prefix))
    found = sorted(glob.select(keys), key=lambda match: match.path)
    return tuple(Selection(resolved, match, _digest(store, resolved, match)) for match in found)


def _digest(store: Store, resolved: ResolvedInput, match: Match) -> str:
    tree, digest = store.tree(resolved.commit), hashlib.sha256()
    for entry in tree.entries(prefix=match.prefix):
        if match.folder or entry.key == match.prefix:
            digest.update(segments.meaning(entry.key, segments.row(entry))[0])
            if not match.folder:
                break
    return digest.hexdigest()
