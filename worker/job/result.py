"""The record of a run while it runs, and its result, which is the JSON of ``--result``."""

import json
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
from structlog.typing import FilteringBoundLogger

from worker.errors import Cause
from worker.gateway.messages import BucketStatistics
from worker.job.datum_results import DatumCounts, DatumResult, described, explain
from worker.job.plan import Plan
from worker.job.recorded import (
    recorded,
    recorded_data,
    recorded_document,
    recorded_spec,
    recorded_texts,
)
from worker.job.secrets import without_secrets
from worker.job.state import TRANSITIONS, Event, InvalidTransition, Progress, State, Watch
from worker.model import Commit, CommitName, InputRecord
from worker.supervisor.tree import Usage


@attrs.frozen
class Result:
    """The result of a run. Its texts have no secrets."""

    job: str
    """The job's id, which is also the id of its output commit."""
    state: State
    cause: Cause
    reason: str = attrs.field(default="", converter=recorded)
    """One or more sentences for people; empty after success."""
    output: CommitName | None = None
    """The output commit, if it exists."""
    branch: str | None = None
    branch_moved: bool = False
    """Whether the output commit is in the log of the branch."""
    kept: CommitName | None = None
    """The output of the last try of the first failed datum, a commit on no branch."""
    files: int = 0
    size: int = 0
    digest: str = ""
    inputs: tuple[InputRecord, ...] = ()
    datum_counts: DatumCounts = attrs.field(factory=DatumCounts)
    datums: tuple[DatumResult, ...] = ()
    """The datums that were completed, in their order."""
    buckets: Mapping[str, BucketStatistics] = attrs.field(factory=dict)
    usage: Usage = attrs.field(factory=Usage)
    command_code: int | None = None
    """The exit code of the command that decided the run; None if a signal ended it."""
    started: float = 0.0
    finished: float = 0.0
    times: Mapping[str, float] = attrs.field(factory=dict)
    """Seconds of each step: resolve, serve, run, drain, publish."""
    warnings: tuple[str, ...] = attrs.field(default=(), converter=recorded_texts)
    reports: Mapping[str, Any] = attrs.field(factory=dict, converter=recorded_data)
    """Reports of the user's code: its last progress, its metrics, its annotations."""
    log_tail: tuple[str, ...] = attrs.field(default=(), converter=recorded_texts)
    """The last lines of the command's output."""

    @property
    def exit_code(self) -> int:
        """The exit status of the process that ran the job."""
        return self.cause.exit_status

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values, with its exit code and whether a retry may succeed."""

        def value(_instance: Any, _attribute: Any, found: Any) -> Any:
            return found.value if isinstance(found, State | Cause) else found

        document = attrs.asdict(self, value_serializer=value)
        for name in ("output", "kept"):
            commit = getattr(self, name)
            document[name] = None if commit is None else str(commit)
        document["inputs"] = [
            {**attrs.asdict(each), "commit": str(each.commit), "glob": recorded(each.glob)}
            for each in self.inputs
        ]
        document["exit_code"] = self.exit_code
        document["worth_a_retry"] = self.cause.retryable
        return document

    def to_text(self) -> str:
        """Return the result as one JSON document."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False)


TAIL = 50
"""Lines of the command's output that the result contains."""
MAX_LEFTOVERS = 10
"""Warnings of processes that commands left running: each of thousands of datums can leave one."""


@attrs.define
class RunRecord:
    """The record of one run, written while it runs."""

    job: str
    log: FilteringBoundLogger
    watch: Watch
    state: State = State.CREATED
    started: float = attrs.field(factory=time.time)
    times: dict[str, float] = attrs.field(factory=dict)
    datums: list[DatumResult] = attrs.field(factory=list)
    usage: Usage = attrs.field(factory=Usage)
    warnings: list[str] = attrs.field(factory=list)
    buckets: Mapping[str, BucketStatistics] = attrs.field(factory=dict)
    reports: dict[str, Any] = attrs.field(factory=dict)
    tail: deque[str] = attrs.field(factory=partial(deque, maxlen=TAIL))
    """The last lines of the command: for the datum that decides the cause, if one has failed."""
    plan: Plan | None = None
    """None until the inputs are resolved."""
    image: str = ""
    """The digest of the command's image, where one is known."""
    kept: CommitName | None = None
    """The commit of a failed job's output."""
    result: Result | None = None
    """The result, once it is decided."""
    _states: Counter[str] = attrs.field(factory=Counter, init=False)
    _leftovers: int = attrs.field(default=0, init=False)

    @property
    def datum_counts(self) -> DatumCounts:
        """The counts of datums; zeros before the plan, and if an earlier run published the job."""
        if self.plan is None or self.plan.published is not None:
            return DatumCounts()
        return DatumCounts(
            total=self.plan.count,
            processed=self._states["success"],
            recovered=self._states["recovered"],
            failed=self._states["failure"],
        )

    def add_datum(self, result: DatumResult) -> None:
        """Add the result of a datum."""
        self.datums.append(result)
        self._states[result.state] += 1

    def explain_failures(self, *, last_first: bool = False) -> str:
        """Return the counts and the first reasons of failed datums; empty if none has failed.

        With *last_first*, the last failed datum comes before the others.
        """
        failed = [each for each in self.datums if each.state == "failure"]
        if failed and last_first:
            failed.insert(0, failed.pop())
        return explain(self.datum_counts, failed) if failed else ""

    def enter(self, event: Event) -> None:
        """Change the state by *event*; raises InvalidTransition."""
        if (self.state, event) not in TRANSITIONS:
            raise InvalidTransition(event, self.state)
        self.state = TRANSITIONS[self.state, event]
        self.log.info("run.state", state=self.state.value)
        self.watch(Progress(self.state, event.value))

    def warn(self, text: str) -> None:
        """Log a warning and keep it for the result and the commit."""
        self.warnings.append(text)
        self.log.warning("run.warning", text=text)

    def add_leftover(self, pid: int, command: str) -> None:
        """Keep a warning of a process that a command left running; of many, only the first."""
        self._leftovers += 1
        if self._leftovers <= MAX_LEFTOVERS:
            text = f"the command left process {pid} running, which was killed: {command}"
            self.warnings.append(text)
        elif self._leftovers == MAX_LEFTOVERS + 1:
            self.warnings.append(
                f"commands left more than {MAX_LEFTOVERS} processes running, which were killed; "
                "the log names all of them"
            )

    def add_report(self, report: Mapping[str, Any], *, log: bool = True) -> None:
        """Announce a report of the user's code to observers, and *log* it."""
        report = recorded_data(report)
        if log:
            self.log.info("command.report", **{f"report_{name}": v for name, v in report.items()})
        self.watch(Progress(self.state, "report", report=report))

    def show_unfinished(self, line: str) -> None:
        """Announce the line that the command has printed without an end to observers."""
        self.watch(Progress(self.state, "output", unfinished=line))

    def add_usage(self, usage: Usage) -> None:
        """Add the resources that a command used."""
        self.usage = self.usage + usage

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step of the run and announce its start to observers."""
        self.watch(Progress(self.state, name))
        started = time.monotonic()
        try:
            yield
        finally:
            self.times[name] = self.times.get(name, 0.0) + time.monotonic() - started

    def to_commit(self, plan: Plan) -> dict[str, Any]:
        """Return what the output commit records about the job, as JSON values without secrets."""
        spec = plan.spec
        return {
            "id": self.job,
            "parent": None if spec.parent is None else recorded(spec.parent),
            "project": spec.project,
            "pipeline": spec.pipeline,
            "description": recorded(spec.description),
            "spec": recorded_spec(without_secrets(spec.document)),
            "command": recorded_document(spec.transform.cmd),
            "image": recorded(spec.transform.image),
            "image_digest": self.image,
            "started": self.started,
            "finished": time.time(),
            "times": dict(self.times),
            "buckets": {name: attrs.asdict(found) for name, found in self.buckets.items()},
            "usage": attrs.asdict(self.usage),
            "datum_counts": attrs.asdict(self.datum_counts),
            "datums": [attrs.asdict(datum) for datum in described(self.datums)],
            "reports": recorded_data(self.reports),
            "warnings": list(recorded_texts(self.warnings)),
        }

    def decide(
        self,
        event: Event,
        cause: Cause,
        reason: str = "",
        *,
        output: Commit | None = None,
        on_branch: bool = False,
        code: int | None = None,
    ) -> Result:
        """Enter the final state of *event* and return the result, which is decided by that."""
        self.enter(event)
        self.watch(Progress(self.state, "done"))
        if output is not None:
            inputs = output.inputs
        else:
            inputs = tuple(each.record for each in self.plan.inputs) if self.plan else ()
        self.result = Result(
            job=self.job,
            state=self.state,
            cause=cause,
            reason=reason,
            output=output.name if output else None,
            branch=str(self.plan.output) if self.plan else None,
            branch_moved=on_branch,
            kept=self.kept,
            files=output.files if output else 0,
            size=output.size if output else 0,
            digest=output.digest if output else "",
            inputs=inputs,
            datum_counts=self.datum_counts,
            datums=tuple(self.datums),
            buckets=self.buckets,
            usage=self.usage,
            command_code=code,
            started=self.started,
            finished=time.time(),
            times=dict(self.times),
            warnings=tuple(self.warnings),
            reports=dict(self.reports),
            log_tail=tuple(self.tail),
        )
        return self.result
