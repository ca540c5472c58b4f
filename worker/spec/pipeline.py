"""The values a job document becomes: what was asked for, checked, with every default filled."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from worker.spec.document import Problem
from worker.text import format_duration


@attrs.frozen
class PfsInput:
    """One input: a commit of a repo, served as a bucket (*s3*) or laid out as files."""

    name: str
    project: str
    repo: str
    branch: str
    commit: str | None
    """The pinned commit; None means the head of *branch* when the job starts."""
    glob: str
    """Cleaned, so it begins with a slash; always ``/`` for an S3 input."""
    s3: bool
    empty_files: bool = False


@attrs.frozen
class CrossInput:
    """The product over its parts; an S3 input contributes exactly one element."""

    parts: "tuple[Input, ...]"


Input = PfsInput | CrossInput


def leaves(node: Input) -> Iterator[PfsInput]:
    """Yield the inputs of a tree from left to right, which is the order of its datums."""
    if isinstance(node, PfsInput):
        yield node
        return
    for part in node.parts:
        yield from leaves(part)


@attrs.frozen
class Secret:
    """A secret by its name, given as a variable (*env_var*, from *key*) or as files, or both.

    With *mount_path* alone and no *key*, every key of the secret is a file below it.
    """

    name: str
    key: str | None
    env_var: str | None
    mount_path: str | None


@attrs.frozen
class User:
    """Whom the command runs as: a name of passwd, or a uid with or without a gid."""

    name: str | None = None
    uid: int | None = None
    gid: int | None = None

    def __str__(self) -> str:
        if self.name is not None:
            return self.name
        return f"{self.uid}" if self.gid is None else f"{self.uid}:{self.gid}"


@attrs.frozen
class Transform:
    """The user's command and what surrounds it."""

    cmd: tuple[str, ...]
    image: str = ""
    stdin: tuple[str, ...] = ()
    env: Mapping[str, str] = attrs.field(factory=dict)
    secrets: tuple[Secret, ...] = ()
    user: User | None = None
    working_dir: str | None = None
    """Absolute: a relative one is joined below the root, as Pachyderm does."""
    accept_return_code: tuple[int, ...] = ()
    """Exit codes that count as success beside 0."""
    err_cmd: tuple[str, ...] = ()
    err_stdin: tuple[str, ...] = ()
    debug: bool = False


@attrs.frozen
class Output:
    """The branch that the job's output commit is made for."""

    project: str
    repo: str
    branch: str


@attrs.frozen
class Metadata:
    """Labels and annotations, as they were given."""

    labels: Mapping[str, str] = attrs.field(factory=dict)
    annotations: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class JobSpec:
    """A whole job document, parsed and checked."""

    project: str
    pipeline: str
    """The pipeline's name."""
    input: Input
    transform: Transform
    output: Output
    """Where the output goes: `job.output` over `outputBranch` over the pipeline's own repo."""
    job_id: str | None = None
    """32 hex digits, or None when an id is to be made."""
    parent: str | None = None
    """What the author of the job says it came from."""
    s3_out: bool = False
    description: str = ""
    metadata: Metadata = Metadata()
    datum_tries: int = 3
    datum_timeout: float | None = None
    """Seconds."""
    job_timeout: float | None = None
    """Seconds."""
    reprocess_spec: Literal["until_success", "every_job"] = "until_success"
    salt: str = ""
    warnings: tuple[Problem, ...] = ()
    for_scheduler: tuple[str, ...] = ()
    """JSON pointers of the keys that only a scheduler can honour."""

    @property
    def inputs(self) -> tuple[PfsInput, ...]:
        """The inputs from left to right."""
        return tuple(leaves(self.input))

    @property
    def serves_s3(self) -> bool:
        """Whether the job needs a gateway."""
        return self.s3_out or any(each.s3 for each in self.inputs)

    @property
    def document(self) -> dict[str, Any]:
        """The pipeline as run, a JSON value in camelCase with defaults filled, for provenance.

        It is a document again. Without the `job` block, and without what is for the scheduler, as
        this run did not honour that. Secrets are in it by name only.
        """
        return _filled(
            pipeline={"project": {"name": self.project}, "name": self.pipeline},
            description=self.description,
            metadata=_filled(
                labels=dict(self.metadata.labels), annotations=dict(self.metadata.annotations)
            ),
            input=_input_document(self.input),
            transform=_transform_document(self.transform),
            s3Out=self.s3_out,
            outputBranch=self.output.branch,
            datumTries=self.datum_tries,
            datumTimeout=self.datum_timeout and format_duration(self.datum_timeout),
            jobTimeout=self.job_timeout and format_duration(self.job_timeout),
            reprocessSpec=self.reprocess_spec,
            salt=self.salt,
        )

    @property
    def digest(self) -> str:
        """The SHA-256, in hex, of `document`: equal pipelines are equal here however written."""
        canonical = json.dumps(self.document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def _filled(**values: Any) -> dict[str, Any]:
    """Return *values* without those that are empty or were left out."""
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}


def _input_document(node: Input) -> dict[str, Any]:
    if isinstance(node, CrossInput):
        return {"cross": [_input_document(part) for part in node.parts]}
    return {
        "pfs": _filled(
            project=node.project,
            repo=node.repo,
            branch=node.branch,
            commit=node.commit,
            name=node.name,
            glob=node.glob,
            s3=node.s3,
            emptyFiles=node.empty_files,
        )
    }


def _transform_document(transform: Transform) -> dict[str, Any]:
    return _filled(
        image=transform.image,
        cmd=list(transform.cmd),
        stdin=list(transform.stdin),
        env=dict(transform.env),
        secrets=[
            _filled(name=s.name, key=s.key, envVar=s.env_var, mountPath=s.mount_path)
            for s in transform.secrets
        ],
        user=transform.user and str(transform.user),
        workingDir=transform.working_dir,
        acceptReturnCode=list(transform.accept_return_code),
        errCmd=list(transform.err_cmd),
        errStdin=list(transform.err_stdin),
        debug=transform.debug,
    )
