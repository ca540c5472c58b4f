"""The result of a run, which is also the JSON of ``--result``."""

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
    """The result of one datum."""

    id: str
    state: str
    """``success``, ``recovered`` or ``failure``."""
    tries: int
    seconds: float
    exit_code: int | None = None
    """The exit code of the last command; None if a signal ended it or it did not start."""
    reason: str = ""
    paths: Mapping[str, str] = attrs.field(factory=dict)
    """The path of the datum in each input, by the input's name."""


@attrs.frozen
class Result:
    """The result of a run."""

    job: str
    """The job's id, which is also the id of its output commit."""
    state: State
    cause: Cause
    reason: str = ""
    """One or more sentences for people; empty after success."""
    output: CommitName | None = None
    """The output commit, if it exists."""
    branch: str | None = None
    branch_moved: bool = False
    """Whether the output commit is in the log of the branch."""
    kept: CommitName | None = None
    """The output of the last failed attempt, a commit on no branch."""
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
    """Seconds of each step: resolve, serve, run, drain, publish."""
    warnings: tuple[str, ...] = ()
    reports: Mapping[str, Any] = attrs.field(factory=dict)
    """Reports of the user's code: its last progress, its metrics, its annotations."""
    log_tail: tuple[str, ...] = ()
    """The last lines of the command's output, redacted."""

    @property
    def exit_code(self) -> int:
        """The exit status of the process that ran the job."""
        return self.cause.exit_code

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values, with its exit code and whether a retry may succeed."""

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
