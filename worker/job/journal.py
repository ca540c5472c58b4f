"""What is known of a run while it runs: state, times, datums; and at the end, its result."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
from structlog.typing import FilteringBoundLogger

from worker.errors import Cause
from worker.gateway.messages import Statistics
from worker.job.plan import Plan
from worker.job.request import Progress, Watch
from worker.job.result import DatumResult, Result
from worker.job.secrets import without_secrets
from worker.job.state import Event, State, after
from worker.model import Commit, CommitName
from worker.supervisor.usage import Usage

TAIL = 50
"""How many of the command's last lines are kept in the result."""
DATUMS = 1000
"""How many datums are told one by one in a commit; beyond that they are only counted."""


@attrs.define
class Journal:
    """The record of one run, written by the run alone and read at its end."""

    job: str
    log: FilteringBoundLogger
    watch: Watch
    state: State = State.CREATED
    started: float = attrs.field(factory=time.time)
    times: dict[str, float] = attrs.field(factory=dict)
    plan: Plan | None = None
    datums: list[DatumResult] = attrs.field(factory=list)
    usage: Usage = attrs.field(factory=Usage)
    warnings: list[str] = attrs.field(factory=list)
    statistics: Statistics = attrs.field(factory=Statistics)
    reports: dict[str, Any] = attrs.field(factory=dict)
    tail: deque[str] = attrs.field(factory=lambda: deque(maxlen=TAIL))
    kept: CommitName | None = None
    final: Result | None = None
    """What the run came to, once that is decided."""
    image: str = ""
    """The digest of the image that the command ran in, where one is known."""

    def note(self, event: Event) -> None:
        """Go to the state that *event* leads to."""
        self.state = after(self.state, event)
        self.log.info("run.state", state=self.state.value)
        self.watch(Progress(self.state, event.value))

    def warn(self, text: str) -> None:
        """Remember something that the user should know, and say it now."""
        self.warnings.append(text)
        self.log.warning("run.warning", text=text)

    def account(self, usage: Usage) -> None:
        """Add what a command used."""
        self.usage = self.usage + usage

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step of the run, and tell whoever watches that it began."""
        self.watch(Progress(self.state, name))
        began = time.monotonic()
        try:
            yield
        finally:
            self.times[name] = self.times.get(name, 0.0) + time.monotonic() - began

    def record(self) -> dict[str, Any]:
        """Return what the output commit says of the job, as JSON values."""
        assert self.plan is not None
        spec = self.plan.spec
        return {
            "id": self.job,
            "parent": spec.parent,
            "project": spec.project,
            "pipeline": spec.pipeline,
            "description": spec.description,
            "spec": without_secrets(spec.document),
            "command": list(spec.transform.cmd),
            "image": spec.transform.image,
            "image_digest": self.image,
            "started": self.started,
            "finished": time.time(),
            "times": dict(self.times),
            "buckets": {
                name: attrs.asdict(found) for name, found in self.statistics.buckets.items()
            },
            "usage": attrs.asdict(self.usage),
            "datum_count": len(self.datums),
            "datums": [attrs.asdict(datum) for datum in self.datums[:DATUMS]],
            "reports": dict(self.reports),
            "warnings": list(self.warnings),
        }

    def result(
        self,
        cause: Cause,
        reason: str = "",
        *,
        output: Commit | None = None,
        branch_moved: bool = False,
        code: int | None = None,
    ) -> Result:
        """Return what the run came to."""
        self.watch(Progress(self.state, "done"))
        plan = self.plan
        self.final = Result(
            job=self.job,
            state=self.state,
            cause=cause,
            reason=reason,
            output=output.name if output else None,
            branch=str(plan.output) if plan else None,
            branch_moved=branch_moved,
            kept=self.kept,
            files=output.files if output else 0,
            size=output.size if output else 0,
            digest=output.digest if output else "",
            inputs=(
                output.inputs
                if output
                else tuple(each.record for each in plan.inputs)
                if plan
                else ()
            ),
            datums=tuple(self.datums),
            buckets=self.statistics.buckets,
            usage=self.usage,
            command_code=code,
            started=self.started,
            finished=time.time(),
            times=dict(self.times),
            warnings=tuple(self.warnings),
            reports=dict(self.reports),
            log_tail=tuple(self.tail),
        )
        return self.final
