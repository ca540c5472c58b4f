"""Commands of a run: environment, user and output of the user's code."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs
from structlog.typing import FilteringBoundLogger

from worker.job.environment import EnvironmentTemplate, InputVariables
from worker.job.plan import Datum, Plan
from worker.redaction import Redactor
from worker.supervisor.command import CommandExit, GracePeriod, OutputHandler
from worker.supervisor.runtime import ProcessRuntime, Runtime
from worker.supervisor.tree import CommandSpec, Identity
from worker.supervisor.usage import Usage


@attrs.frozen
class CommandRunner:
    """Runs commands for the datums of a plan."""

    plan: Plan
    environment: EnvironmentTemplate
    root: Path
    """The folder of the file inputs, as the command sees it."""
    log: FilteringBoundLogger
    grace_period: GracePeriod
    record_usage: Callable[[Usage], None]
    redactor: Redactor
    identity: Identity | None = None
    runtime: Runtime = attrs.field(factory=ProcessRuntime)

    def variables(self, datum: Datum) -> dict[str, str]:
        """Return the environment of the command for *datum*."""
        return self.environment.render(
            datum=datum.id,
            inputs=(
                InputVariables(
                    each.input.spec.name,
                    self.root / each.input.spec.name / each.match.path.lstrip("/"),
                    each.input.commit.name.id,
                )
                for each in datum.selections
            ),
        )

    def spec(self, argv: Sequence[str], environment: Mapping[str, str]) -> CommandSpec:
        """Return the command *argv* in the job's directory and as the job's user."""
        directory = self.plan.spec.transform.working_dir
        return CommandSpec(
            argv=tuple(argv),
            environment=environment,
            directory=Path(directory) if directory else None,
            identity=self.identity,
        )

    def handler(self, datum: Datum, attempt: int) -> OutputHandler:
        """Return a handler that logs the output of a command."""
        fields = {"datum": datum.number} if self.plan.count > 1 else {}
        log = self.log.bind(**fields, **({"attempt": attempt} if attempt > 1 else {}))
        return OutputHandler(
            lambda stream, line: log.info("command.output", stream=stream, line=line),
            self.redactor,
        )

    async def run(
        self, spec: CommandSpec, stdin: Sequence[str], handler: OutputHandler
    ) -> CommandExit:
        """Run *spec* with the lines *stdin* on its standard input; raises NotStarted."""
        return await self.runtime.run(
            spec,
            stdin="".join(f"{line}\n" for line in stdin).encode(),
            grace_period=self.grace_period,
            handler=handler,
            record_usage=self.record_usage,
        )

    async def run_on_terminal(self, datum: Datum, argv: Sequence[str]) -> CommandExit:
        """Run *argv* on the agent's terminal, with the job's variables added to a user's own."""
        own: dict[str, str] = {}
        if self.runtime.shares_environment:
            # A profile or session token of AWS would take precedence over the job's credentials.
            base = self.environment.base
            own = {name: value for name, value in base.items() if not name.startswith("AWS_")}
        return await self.runtime.run_on_terminal(
            self.spec(argv, {**own, **self.variables(datum)}),
            grace_period=self.grace_period,
            record_usage=self.record_usage,
        )
