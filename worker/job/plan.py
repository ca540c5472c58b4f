"""The plan of a run, a value: inputs resolved to commits, the datums, and the output branch."""

import hashlib
import itertools
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import attrs

from worker.config import Config
from worker.errors import Invalid, Misconfigured, NotFound
from worker.job.same_job import check_same_job
from worker.model import BranchName, Commit, CommitName, InputRecord, Repo
from worker.spec.glob import Match, compile_glob
from worker.spec.pipeline import JobSpec, PfsInput
from worker.store import segments
from worker.store.missing import CommitMissing
from worker.store.opening import open_store
from worker.store.repository import Store

MAX_DATUMS = 10_000_000
"""Datums of a job: the combinations of its inputs can be too many to enumerate."""
MAX_PATHS = 1_000_000
"""Paths in the datums that the JSON of a plan lists."""


class Unrunnable(NotFound):
    """An input of the job does not exist, or is the output of a failed job."""


class TooManyDatums(Invalid):
    """The inputs of a job have too many combinations."""

    def __init__(self, inputs: int) -> None:
        super().__init__(
            f"the {inputs:,} inputs of the job have more than {MAX_DATUMS:,} datums, which is the "
            "limit; choose globs that match fewer and larger folders"
        )


class StoreNotShared(Misconfigured):
    """The buckets of a job are in a store that belongs to this process alone."""

    def __init__(self, store: str) -> None:
        super().__init__(
            f"store: {store}: found a job with buckets, whose gateway consists of other processes, "
            "and a store in the memory of this one; use a directory or an object store (--store)"
        )


@attrs.frozen
class ResolvedInput:
    """An input pinned to a commit; later moves of its branch have no effect."""

    spec: PfsInput
    commit: Commit

    @property
    def record(self) -> InputRecord:
        """The input as it is recorded in the provenance of the output."""
        return InputRecord(
            name=self.spec.name,
            commit=self.commit.name,
            branch=self.spec.branch,
            s3=self.spec.s3,
            glob=self.spec.glob,
        )


@attrs.frozen
class Selection:
    """The file or folder of an input that belongs to one datum."""

    input: ResolvedInput
    match: Match
    digest: str
    """The digest of the selected files: keys, content and metadata, without times."""


@attrs.frozen
class Datum:
    """One unit of work."""

    number: int
    """Counted from 1."""
    selections: tuple[Selection, ...]
    salt: str = ""
    """The salt of the job: with another one, the same files are another datum."""

    @property
    def id(self) -> str:
        """A digest of the selected files, their paths and the names of the inputs, in hex.

        As in Pachyderm, inputs with ``reference`` are left out of it.
        """
        parts = [
            (each.input.spec.name, each.match.path, each.digest)
            for each in self.selections
            if not each.input.spec.reference
        ]
        return hashlib.sha256(repr((self.salt, parts)).encode()).hexdigest()

    @property
    def paths(self) -> dict[str, str]:
        """The selected paths by input name."""
        return {each.input.spec.name: each.match.path for each in self.selections}


@attrs.frozen
class Plan:
    """The plan of a run."""

    job: str
    """The id of the job, and of its output commit."""
    spec: JobSpec
    output: BranchName
    inputs: tuple[ResolvedInput, ...]
    choices: tuple[tuple[Selection, ...], ...]
    """The selections of each input, sorted by path."""
    published: Commit | None = None
    """The output commit, if an earlier run of the job published it."""

    @property
    def count(self) -> int:
        """The number of datums."""
        return math.prod(map(len, self.choices))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user probably did not mean: inputs without a file, and no datum.

        Empty for a job that an earlier run published.
        """
        pairs = zip(self.inputs, self.choices, strict=True)
        found = [text for text in itertools.starmap(_emptiness, pairs) if text]
        if self.published is None and not self.count:
            found.append("the job has no datum: its command does not run, and its output is empty")
        return tuple(found)

    def datums(self) -> Iterator[Datum]:
        """Yield the datums: the cross product of the choices, the last input fastest."""
        for number, selections in enumerate(itertools.product(*self.choices), start=1):
            yield Datum(number, selections, self.spec.salt)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values, for ``worker plan``."""
        spec = self.spec
        buckets = [each.spec.name for each in self.inputs if each.spec.s3]
        return {
            "job": self.job,
            "project": spec.project,
            "pipeline": spec.pipeline,
            "output": str(self.output),
            "published": None if self.published is None else str(self.published.name),
            "inputs": [
                {
                    "name": each.spec.name,
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
            "datum_count": self.count,
            "datums": [
                {"number": datum.number, "id": datum.id, "paths": datum.paths}
                for datum in itertools.islice(
                    self.datums(), MAX_PATHS // max(1, len(self.inputs)) + 1
                )
            ],
            "command": list(spec.transform.cmd),
            "tries": spec.datum_tries,
            "datum_timeout": spec.datum_timeout,
            "job_timeout": spec.job_timeout,
            "for_scheduler": list(spec.for_scheduler),
            "warnings": [*map(str, spec.warnings), *self.warnings],
        }


def open_job_store(config: Config, spec: JobSpec) -> Store:
    """Return the store of the job *spec*; raises StoreNotShared and InvalidStore."""
    if spec.serves_s3 and config.store.startswith("memory:"):
        raise StoreNotShared(config.store)
    return open_store(config.store, config.store_options)


def make_plan(store: Store, spec: JobSpec, *, job: str) -> Plan:
    """Resolve the inputs of a job to commits and enumerate its datums.

    Raises Unrunnable, TooManyDatums, and AnotherJob if another job with the same id was published.
    If the output commit exists, the inputs are not resolved: they may have been deleted since.
    """
    output = BranchName(Repo(spec.output.project, spec.output.repo), spec.output.branch)
    with suppress(CommitMissing):
        published = store.commit(CommitName(output.repo, job))
        check_same_job(published, spec)
        return Plan(job, spec, output, inputs=(), choices=(), published=published)
    inputs = tuple(resolve(store, each) for each in spec.inputs)
    plan = Plan(job, spec, output, inputs, tuple(choices(store, each) for each in inputs))
    if plan.count > MAX_DATUMS:
        raise TooManyDatums(len(inputs))
    return plan


def resolve(store: Store, spec: PfsInput) -> ResolvedInput:
    """Resolve an input to its pinned commit or to the head of its branch; raises Unrunnable."""
    branch = BranchName(Repo(spec.project, spec.repo), spec.branch)
    where = f"input {spec.name!r}"
    if spec.commit is not None:
        name = CommitName(branch.repo, spec.commit)
    else:
        head = store.head(branch)
        if head is None:
            raise Unrunnable(
                f"{where}: {branch} has no commit in the store {store.url}; "
                f"`worker put {branch} DIRECTORY` or "
                f"`worker run --input {spec.name}=DIRECTORY` makes one"
            )
        name = head.commit
    try:
        commit = store.commit(name)
    except CommitMissing as error:
        raise Unrunnable(f"{where}: {error}") from error
    if commit.is_kept:
        raise Unrunnable(f"{where}: {name} is the output of a failed job")
    return ResolvedInput(spec, commit)


def choices(store: Store, resolved: ResolvedInput) -> tuple[Selection, ...]:
    """Return the selections of an input's glob, sorted by path."""
    if resolved.spec.s3 or resolved.spec.glob == "/":
        return (Selection(resolved, Match("/", folder=True), resolved.commit.digest),)
    tree = store.tree(resolved.commit)
    glob = compile_glob(resolved.spec.glob)
    keys = (entry.key for entry in tree.entries(prefix=glob.prefix))
    found = sorted(glob.select(keys), key=lambda match: match.path)
    return tuple(Selection(resolved, match, _digest(store, resolved, match)) for match in found)


def _emptiness(resolved: ResolvedInput, selections: tuple[Selection, ...]) -> str:
    """Return a warning if the job gets no file of an input, else an empty string."""
    where = f"input {resolved.spec.name!r}"
    if not resolved.commit.files:
        return f"{where}: {resolved.commit.name} contains no file"
    if not selections:
        return (
            f"{where}: the glob {resolved.spec.glob!r} matches none of the "
            f"{resolved.commit.files} files of {resolved.commit.name}; "
            f"`worker ls {resolved.commit.name}` lists them"
        )
    return ""


def _digest(store: Store, resolved: ResolvedInput, match: Match) -> str:
    tree, digest = store.tree(resolved.commit), hashlib.sha256()
    for entry in tree.entries(prefix=match.prefix):
        if match.folder or entry.key == match.prefix:
            digest.update(segments.meaning(entry.key, segments.row(entry))[0])
            if not match.folder:
                break
    return digest.hexdigest()
