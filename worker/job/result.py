"""What a run came to: one value, which is also the JSON of ``--result``."""

import json
from collections.abc import Mapping
from typing import Any

import attrs

from worker.errors import Cause
from worker.gateway.messages import BucketStatistics
from worker.job.state import State
from worker.model import CommitName, InputRecord
from worker.supervisor.usage import Usage


@attrs.frozen
class DatumResult:
    """What became of one datum."""

    id: str
    state: str
    """``success``, ``recovered`` or ``failure``."""
    tries: int
    seconds: float
    exit_code: int | None = None
    """How the last command ended; None if a signal ended it or it never began."""
    reason: str = ""
    paths: Mapping[str, str] = attrs.field(factory=dict)
    """By input name, the path that the datum was given."""


@attrs.frozen
class Result:
    """What a run came to."""

    job: str
    """The job's id, which is the id of its output commit."""
    state: State
    cause: Cause
    reason: str = ""
    """A sentence or more for a person; empty after success."""
    output: CommitName | None = None
    """The output commit, if it is there."""
    branch: str | None = None
    branch_moved: bool = False
    """Whether the output commit is in the log of the branch."""
    kept: CommitName | None = None
    """What the last failed try wrote, kept on no branch."""
    files: int = 0
    size: int = 0
    digest: str = ""
    inputs: tuple[InputRecord, ...] = ()
    datums: tuple[DatumResult, ...] = ()
    buckets: Mapping[str, BucketStatistics] = attrs.field(factory=dict)
    usage: Usage = attrs.field(factory=Usage)
    command_code: int | None = None
    """The exit code of the command that decided the run; None if a signal ended it."""
    started: float = 0.0
    finished: float = 0.0
    times: Mapping[str, float] = attrs.field(factory=dict)
    """Seconds spent in each step: resolve, serve, run, drain, publish."""
    warnings: tuple[str, ...] = ()
    reports: Mapping[str, Any] = attrs.field(factory=dict)
    """What the user's code reported: its last progress, its metrics, its annotations."""
    log_tail: tuple[str, ...] = ()
    """The last lines of the command's output, redacted."""

    @property
    def exit_code(self) -> int:
        """The exit code for the process that ran the job."""
        return self.cause.exit_status

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values, with the exit code and what it means."""

        def value(_instance: Any, _attribute: Any, found: Any) -> Any:
            return found.value if isinstance(found, State | Cause) else found

        document = attrs.asdict(self, value_serializer=value)
        for name in ("output", "kept"):
            commit = getattr(self, name)
            document[name] = None if commit is None else str(commit)
        document["inputs"] = [
            {**attrs.asdict(record), "commit": str(record.commit)} for record in self.inputs
        ]
        document["exit_code"] = self.exit_code
        document["worth_a_retry"] = self.cause.retryable
        return document

    def to_text(self) -> str:
        """Return the result as one JSON document."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False)
