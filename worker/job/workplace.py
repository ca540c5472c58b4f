"""Where the datums of a run are worked on: made from a request and a plan, and removed again."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio
from structlog.typing import FilteringBoundLogger
from trio.to_thread import run_sync as in_thread

from worker import telemetry
from worker.config import Config
from worker.gateway.pool import Parent
from worker.job.access import gateway_plan, serve
from worker.job.environment import PASSED_TO_CONTAINERS, Access, Given, InputVariables, compose
from worker.job.journal import Journal
from worker.job.output import Output
from worker.job.plan import Datum, Plan
from worker.job.reports import VARIABLES, Reports, listening
from worker.job.request import Progress, RunRequest
from worker.job.scratch import pfs_folder
from worker.job.secrets import Secrets, find_secrets, secret_values, write_secrets
from worker.job.truststore import KEY_STORE
from worker.redaction import Redactor
from worker.spec.glob import Match
from worker.store.repository import Store
from worker.supervisor.command import GracePeriod
from worker.supervisor.container import Mount
from worker.supervisor.engine import PreparedImage, find_engine, prepare_image
from worker.supervisor.output import OutputHandler
from worker.supervisor.runtime import ContainerRuntime, ProcessRuntime, Runtime
from worker.supervisor.tree import CommandSpec
from worker.supervisor.users import Identity, resolve_user

# Paths inside a command's container.
CONTAINER_PFS_ROOT = Path("/pfs")
CONTAINER_REPORT = Path("/run/worker/report")
CONTAINER_AUTHORITY = Path("/run/worker/ca.pem")

Value = TypeVar("Value")


@attrs.frozen
class Workplace:
    """Everything that work on a datum needs."""

    plan: Plan
    store: Store
    output: Output
    root: Path
    """Where the inputs lie as files."""
    shown_root: Path
    """The same, as the command sees it."""
    scratch: Path
    given: Given
    grace_period: GracePeriod
    redactor: Redactor
    log: FilteringBoundLogger
    journal: Journal
    keep_failed: bool = False
    identity: Identity | None = None
    runtime: Runtime = attrs.field(factory=ProcessRuntime)
    writers: dict[str, Datum] = attrs.field(factory=dict)
    """By path, the datum that wrote it; for files as output, when there are several datums."""
    laid_out: dict[str, tuple[Match, bytes]] = attrs.field(factory=dict)
    """By input, what lies below the root, and the fingerprint that says whether it still does."""

    def environment(self, datum: Datum) -> dict[str, str]:
        """Return the environment of the command for one datum."""
        inputs = tuple(
            InputVariables(
                each.name,
                self.shown_root / each.name / each.match.path.lstrip("/"),
                each.input.commit.name.id,
            )
            for each in datum.selections
        )
        return compose(attrs.evolve(self.given, inputs=inputs), datum=datum.id)

    def command(self, argv: Sequence[str], environment: Mapping[str, str]) -> CommandSpec:
        """Return *argv* as a command that runs as the job's command does."""
        directory = self.plan.spec.transform.working_dir
        return CommandSpec(
            argv=tuple(argv),
            environment=environment,
            directory=Path(directory) if directory else None,
            identity=self.identity,
        )

    def output_handler(self, datum: Datum, attempt: int) -> OutputHandler:
        """Return the handler that logs the output of one command."""
        facts = {"datum": datum.number} if self.plan.count > 1 else {}
        log = self.log.bind(**facts, **({"attempt": attempt} if attempt > 1 else {}))
        return OutputHandler(
            lambda stream, line: log.info("command.output", stream=stream, line=line),
            self.redactor,
        )


@asynccontextmanager
async def open_workplace(
    request: RunRequest,
    plan: Plan,
    *,
    parent: Parent | None,
    store: Store,
    output: Output,
    scratch: Path,
    journal: Journal,
    grace_period: GracePeriod,
) -> AsyncIterator[Workplace]:
    """Serve the buckets and make the folders of a run; its command could begin now."""
    config, spec = request.config, plan.spec
    secrets = await in_thread(
        find_secrets, spec.transform.secrets, config.secrets, request.environment
    )
    ready = None
    if config.runtime != "process":
        with journal.step("image"):
            ready = await prepare_image(
                find_engine(config.runtime, config.engine_arguments, request.environment),
                spec.transform.image,
                spec.transform.user,
                job=plan.job,
                log=journal.log,
            )
        journal.image = ready.image.digest
    if ready is not None:
        identity = ready.user.identity
    else:
        identity = resolve_user(spec.transform.user) if spec.transform.user else None
    local = await in_thread(_place_secrets, secrets, scratch, identity)
    hidden = (*secrets.values, *secret_values(spec.transform.env))
    telemetry.hide(hidden)
    access = await _access(request, plan, parent, store, output, scratch, journal, hidden)
    if config.gateway.authenticated and access:
        hidden = (*hidden, access.keys.secret.encode())
        telemetry.hide(hidden)
    redactor = Redactor(hidden)
    report = scratch / "report"
    async with (
        # Only a command that runs right here needs the machine's own /pfs.
        aside(pfs_folder(config.pfs_root or (scratch / "pfs" if ready else None), scratch)) as root,
        listening(report, _reports(journal), redactor),
    ):
        place = Workplace(
            plan=plan,
            store=store,
            output=output,
            root=root,
            shown_root=root,
            scratch=scratch,
            given=Given(
                base=request.environment,
                job=plan.job,
                pipeline=spec.pipeline,
                project=spec.project,
                access=access,
                client_hints=config.client_hints,
                more=config.pass_environment,
                secrets=secrets.variables,
                spec=spec.transform.env,
                identity=identity,
                local={**local, **dict.fromkeys(VARIABLES, str(report)), "PFS_ROOT": str(root)},
            ),
            grace_period=grace_period,
            redactor=redactor,
            log=journal.log,
            journal=journal,
            keep_failed=config.keep_failed,
            identity=identity,
        )
        yield place if ready is None else _in_containers(place, ready, config, secrets)


def _in_containers(
    place: Workplace, ready: PreparedImage, config: Config, secrets: Secrets
) -> Workplace:
    """Return the workplace as commands in containers see it, with paths of their own."""
    given, access = place.given, place.given.access
    mounts = [
        Mount(place.root, CONTAINER_PFS_ROOT),
        Mount(place.scratch / "report", CONTAINER_REPORT, writable=True),
    ]
    if not place.plan.spec.s3_out:
        mounts.append(Mount(place.root / "out", CONTAINER_PFS_ROOT / "out", writable=True))
    for folder in sorted({file.below for file in secrets.files}):
        mounts.append(Mount(place.scratch / "secrets" / folder, Path("/") / folder))
    if access is not None and access.authority is not None:
        for suffix in (access.authority.suffix, KEY_STORE):
            shown = CONTAINER_AUTHORITY.with_suffix(suffix)
            mounts.append(Mount(access.authority.with_suffix(suffix), shown))
        access = attrs.evolve(access, authority=CONTAINER_AUTHORITY)
    local = dict.fromkeys(VARIABLES, str(CONTAINER_REPORT)) | {"PFS_ROOT": str(CONTAINER_PFS_ROOT)}
    if secrets.files:
        local["WORKER_SECRETS"] = "/"
    return attrs.evolve(
        place,
        shown_root=CONTAINER_PFS_ROOT,
        given=attrs.evolve(
            given, access=access, allowed=PASSED_TO_CONTAINERS, identity=None, local=local
        ),
        runtime=ContainerRuntime(
            prepared=ready,
            job=place.plan.job,
            scratch=place.scratch,
            mounts=tuple(mounts),
            options=config.engine_options,
            log=place.log,
        ),
    )


async def _access(
    request: RunRequest,
    plan: Plan,
    parent: Parent | None,
    store: Store,
    output: Output,
    scratch: Path,
    journal: Journal,
    hidden: tuple[bytes, ...],
) -> Access | None:
    if parent is None:
        return None
    with journal.step("serve"):
        access = await serve(
            parent,
            request.config.gateway,
            gateway_plan(
                request.config,
                plan,
                store=store.url,
                scratch=scratch,
                stage=output.stage.id,
                secrets=hidden,
            ),
        )
    journal.log.info("gateway.ready", url=access.endpoint.url)
    return access


def _place_secrets(secrets: Secrets, scratch: Path, identity: Identity | None) -> dict[str, str]:
    """Write the secrets that are wanted as files, and return the variable that says where.

    No path of a document becomes a path outside of scratch, so the command finds a secret at
    ``$WORKER_SECRETS`` + its ``mountPath``; in a container, and in a pod, it is mounted there.
    """
    if not secrets.files:
        return {}
    root = scratch / "secrets"
    root.mkdir(mode=0o711)
    owner = None if identity is None else (identity.uid, identity.gid)
    write_secrets(secrets.files, root, owner=owner)
    return {"WORKER_SECRETS": str(root)}


def _reports(journal: Journal) -> Reports:
    def heard(message: Mapping[str, Any]) -> None:
        journal.log.info("command.report", **{f"report_{k}": v for k, v in message.items()})
        journal.watch(Progress(journal.state, "report", report=message))

    return Reports(journal.reports, heard, journal.warn)


@asynccontextmanager
async def aside(manager: AbstractContextManager[Value]) -> AsyncIterator[Value]:
    """Enter and leave a context manager that blocks in a thread; leaving is not broken off."""
    value = await in_thread(manager.__enter__)
    try:
        yield value
    finally:
        with trio.CancelScope(shield=True):
            await in_thread(manager.__exit__, None, None, None)
