"""Commands of a run: the user's code with its environment, user, mounts and output."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
from structlog.typing import FilteringBoundLogger
from trio.to_thread import run_sync as in_thread

from worker.directories import Directory
from worker.job.command_log import log_output
from worker.job.env_file import EnvFile
from worker.job.environment import EnvironmentTemplate, InputVariables
from worker.job.plan import Datum, Plan
from worker.redaction import Redactor, redact
from worker.supervisor.command import CommandExit, CommandSignals
from worker.supervisor.file_reader import FileReader
from worker.supervisor.mounts import Mount
from worker.supervisor.output import OutputHandler
from worker.supervisor.runtime import ProcessRuntime, Runtime
from worker.supervisor.tree import CommandSpec, SurvivingProcesses, Usage
from worker.supervisor.users import Identity


@attrs.frozen
class CommandRunner:
    """Runs commands for the datums of a plan."""

    plan: Plan
    environment: EnvironmentTemplate
    root: Path
    """The folder of the file inputs, as the command sees it."""
    env_file: EnvFile = attrs.field(kw_only=True)
    mounts: tuple[Mount, ...] = attrs.field(default=(), kw_only=True)
    """The mounts of each command that is a process of this machine."""
    log: FilteringBoundLogger
    command_signals: CommandSignals
    record_usage: Callable[[Usage], None]
    show_unfinished: Callable[[str], None]
    """Called with the line that the command has printed without an end, again and again."""
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
            mounts=self.mounts,
        )

    def file_reader(self, folder: Directory, check: Callable[[], None]) -> FileReader | None:
        """Return a reader of files of *folder* as the job's user; None in a container."""
        if not self.runtime.shares_files:
            return None
        return FileReader(folder, self.identity, check=check)

    def handler(self, datum: Datum, attempt: int) -> OutputHandler:
        """Return a handler that logs the output of a command."""
        fields = {"datum": datum.number} if self.plan.count > 1 else {}
        log = self.log.bind(**fields, **({"attempt": attempt} if attempt > 1 else {}))
        return log_output(log, self.redactor, self.show_unfinished)

    async def run(
        self, spec: CommandSpec, stdin: Sequence[str], handler: OutputHandler
    ) -> CommandExit:
        """Run *spec* with the lines *stdin* on its standard input; raises NotStarted.

        On return, no process of the command is left, so nothing changes the output any more. Raises
        SurvivingProcesses if one cannot be killed.
        """
        await self.write_env_file(spec.environment)
        with self._redacting_survivors():
            return await self.runtime.run(
                spec,
                stdin="".join(f"{line}\n" for line in stdin).encode(),
                command_signals=self.command_signals,
                output=handler,
                on_usage=self.record_usage,
            )

    async def run_on_terminal(self, datum: Datum, argv: Sequence[str]) -> CommandExit:
        """Run *argv* on the agent's terminal, with the job's variables added to a user's own."""
        own: dict[str, str] = {}
        if self.runtime.shares_environment:
            # A profile or session token of AWS would take precedence over the job's credentials.
            base = self.environment.base
            own = {name: value for name, value in base.items() if not name.startswith("AWS_")}
        variables = self.variables(datum)
        await self.write_env_file(variables)
        with self._redacting_survivors():
            return await self.runtime.run_on_terminal(
                self.spec(argv, {**own, **variables}),
                command_signals=self.command_signals,
                on_usage=self.record_usage,
            )

    @contextmanager
    def _redacting_survivors(self) -> Iterator[None]:
        """Redact the command lines that SurvivingProcesses names."""
        try:
            yield
        except SurvivingProcesses as error:
            raise SurvivingProcesses(
                tuple(
                    # Command lines are cut by the supervisor, and names of processes by the kernel.
                    attrs.evolve(each, command=redact(each.command, is_cut=True))
                    for each in error.processes
                )
            ) from error

    async def write_env_file(self, variables: Mapping[str, str]) -> None:
        """Write the variables of the next command to ``/pfs/.env``."""
        if not await in_thread(self.env_file.write, variables):
            reason = "worker may not give files to the user of the command"
            self.log.warning("command.no_env_file", path=f"{self.root}/.env", reason=reason)
