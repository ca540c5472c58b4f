"""Values of a job document: validated, immutable, with every default filled in."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from worker.spec.document import Problem
from worker.text import format_duration

DEFAULT_DATUM_TRIES = 3
MAX_UID = 2**32 - 2
"""chown(2) and setresuid(2) read the highest 32-bit id as -1, "leave unchanged"."""
REPROCESS_SPECS = ("until_success", "every_job")


@attrs.frozen
class PfsInput:
    """One input: a commit of a repo, served as a bucket (*s3*) or materialized as files."""

    name: str
    project: str
    repo: str
    branch: str
    commit: str | None
    """The pinned commit; None means the head of *branch* when the job starts."""
    glob: str
    """Normalized, so it starts with a slash; always ``/`` for an S3 input."""
    s3: bool
    empty_files: bool = False
    reference: bool = False
    """Whether the input is left out of the ids of the datums."""


@attrs.frozen
class CrossInput:
    """The product of its parts; an S3 input contributes exactly one element."""

    parts: "tuple[Input, ...]"


Input = PfsInput | CrossInput


@attrs.frozen
class Secret:
    """A secret, passed as a variable (*env_var*, from *key*), as files below *mount_path*, or both.

    With *mount_path* and no *key*, every key of the secret is a file.
    """

    name: str
    key: str | None
    env_var: str | None
    mount_path: str | None


@attrs.frozen
class User:
    """The user that the command runs as: a name of passwd(5), or a uid with or without a gid."""

    name: str | None = None
    uid: int | None = None
    gid: int | None = None

    def __str__(self) -> str:
        if self.name is not None:
            return self.name
        return f"{self.uid}" if self.gid is None else f"{self.uid}:{self.gid}"


@attrs.frozen
class Transform:
    """The user's command and its surroundings."""

    cmd: tuple[str, ...]
    image: str = ""
    stdin: tuple[str, ...] = ()
    """Lines without their newlines."""
    env: Mapping[str, str] = attrs.field(factory=dict)
    secrets: tuple[Secret, ...] = ()
    user: User | None = None
    working_dir: str | None = None
    """Absolute path."""
    accept_return_code: tuple[int, ...] = ()
    """Exit codes that count as success, in addition to 0."""
    err_cmd: tuple[str, ...] = ()
    err_stdin: tuple[str, ...] = ()
    debug: bool = False


@attrs.frozen
class Output:
    """The branch to which the output commit is published."""

    project: str
    repo: str
    branch: str


@attrs.frozen
class Metadata:
    """Labels and annotations, unchanged."""

    labels: Mapping[str, str] = attrs.field(factory=dict)
    annotations: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class JobSpec:
    """A job document."""

    project: str
    pipeline: str
    """The pipeline's name."""
    input: Input
    transform: Transform
    output: Output
    """`job.output`, or else `outputBranch` of the repo named like the pipeline."""
    job_id: str | None = None
    """32 hex digits; None means that the run generates an id."""
    parent: str | None = None
    """Origin of the job, as its author stated it."""
    s3_out: bool = False
    description: str = ""
    metadata: Metadata = Metadata()
    datum_tries: int = DEFAULT_DATUM_TRIES
    datum_timeout: float | None = None
    """Seconds for one try."""
    job_timeout: float | None = None
    """Seconds up to the commit."""
    reprocess_spec: Literal["until_success", "every_job"] = "until_success"
    salt: str = ""
    warnings: tuple[Problem, ...] = ()
    for_scheduler: tuple[str, ...] = ()
    """JSON pointers of the keys that only a scheduler can honour."""

    @property
    def inputs(self) -> tuple[PfsInput, ...]:
        """The inputs from left to right, which is the order of the datums."""
        return tuple(_leaves(self.input))

    @property
    def serves_s3(self) -> bool:
        """Whether the job needs a gateway."""
        return self.s3_out or any(each.s3 for each in self.inputs)

    @property
    def has_files(self) -> bool:
        """Whether an input of the job, or its output, is files."""
        return not self.s3_out or not all(each.s3 for each in self.inputs)

    @property
    def document(self) -> dict[str, Any]:
        """The pipeline as run, for provenance: a JSON value in camelCase with defaults filled in.

        It is a valid document itself. It has no `job` block and no keys for the scheduler, since
        this run does not honour them. Secrets appear by name only.
        """
        transform = self.transform
        return _without_empty(
            pipeline={"project": {"name": self.project}, "name": self.pipeline},
            description=self.description,
            metadata=_without_empty(
                labels=dict(self.metadata.labels), annotations=dict(self.metadata.annotations)
            ),
            input=_input_document(self.input),
            transform=_without_empty(
                image=transform.image,
                cmd=list(transform.cmd),
                stdin=list(transform.stdin),
                env=dict(transform.env),
                secrets=[
                    _without_empty(
                        name=each.name,
                        key=each.key,
                        envVar=each.env_var,
                        mountPath=each.mount_path,
                    )
                    for each in transform.secrets
                ],
                user=transform.user and str(transform.user),
                workingDir=transform.working_dir,
                acceptReturnCode=list(transform.accept_return_code),
                errCmd=list(transform.err_cmd),
                errStdin=list(transform.err_stdin),
                debug=transform.debug,
            ),
            s3Out=self.s3_out,
            outputBranch=self.output.branch,
            datumTries=self.datum_tries,
            datumTimeout=self.datum_timeout and format_duration(self.datum_timeout),
            jobTimeout=self.job_timeout and format_duration(self.job_timeout),
            reprocessSpec=self.reprocess_spec,
            salt=self.salt,
        )


def _leaves(node: Input) -> Iterator[PfsInput]:
    if isinstance(node, PfsInput):
        yield node
        return
    for part in node.parts:
        yield from _leaves(part)


def _without_empty(**values: Any) -> dict[str, Any]:
    """Return *values* without None and empty strings, lists and objects; False and 0 stay."""
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}


def _input_document(node: Input) -> dict[str, Any]:
    if isinstance(node, CrossInput):
        return {"cross": [_input_document(part) for part in node.parts]}
    return {
        "pfs": _without_empty(
            project=node.project,
            repo=node.repo,
            branch=node.branch,
            commit=node.commit,
            name=node.name,
            glob=node.glob,
            s3=node.s3,
            emptyFiles=node.empty_files,
            reference=node.reference,
        )
    }
