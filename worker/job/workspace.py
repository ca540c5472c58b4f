"""The workspace of a run: gateway, secrets, folders and environment of its commands."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import attrs
from trio.to_thread import run_sync as in_thread

from worker.concurrency import in_thread_context
from worker.config import SECRETS_ROOT, Config
from worker.directories import open_directory, open_real_directory
from worker.errors import Invalid
from worker.gateway.pool import GatewayPool
from worker.job.access import Access, gateway_plan, serve
from worker.job.commands import CommandRunner
from worker.job.datum_files import DatumFiles
from worker.job.datums import DatumProcessor
from worker.job.env_file import EnvFile
from worker.job.environment import (
    PASSED_TO_CONTAINERS,
    EnvironmentTemplate,
    passed_variables,
)
from worker.job.paths import PFS, SECRETS, CommandPaths, command_paths
from worker.job.plan import Plan
from worker.job.publish import Output
from worker.job.reports import VARIABLES, Reports, receive_reports
from worker.job.result import RunRecord
from worker.job.scratch import admit, claimed_root
from worker.job.secrets import Secrets, find_secrets, write_secrets
from worker.model import OUT
from worker.redaction import Redactor, hidden, hide
from worker.supervisor.command import CommandSignals
from worker.supervisor.container import is_free
from worker.supervisor.engine import CLIENT_VARIABLES, PreparedImage, find_engine, prepare_image
from worker.supervisor.mounts import Mount
from worker.supervisor.runtime import ContainerRuntime
from worker.supervisor.users import Identity, resolve_user

PRIVATE = "private"
"""The folder below ``pfs_root`` that keeps other users of this machine from a container's files."""
CONTAINER_REPORT = Path("/run/worker/report")
CONTAINER_TRUST_STORE = Path("/run/worker/ca.pem")
"""Paths of the report pipe and the trust store in a container."""


@asynccontextmanager
async def open_processor(
    config: Config,
    base: Mapping[str, str],
    plan: Plan,
    command_signals: CommandSignals,
    record: RunRecord,
    output: Output,
    scratch: Path,
    pool: GatewayPool | None,
    *,
    private_mounts: bool = True,
) -> AsyncIterator[DatumProcessor]:
    """Serve the buckets and create the folders of a run, so that the first datum can start.

    *base* is the agent's own environment. Without a *pool*, the job has no buckets. Without
    *private_mounts*, the files are for programs that the run does not start.
    """
    spec = plan.spec
    job_secrets = await in_thread(find_secrets, spec.transform.secrets, config.secrets, base)
    # They may have been replaced since they were read to be hidden.
    hide(job_secrets.values)
    engine = None
    if config.runtime != "process":
        with record.step("image"):
            engine = await prepare_image(
                find_engine(
                    config.runtime,
                    config.engine_arguments,
                    passed_variables(base, allowed=CLIENT_VARIABLES),
                ),
                spec.transform.image,
                spec.transform.user,
                job=plan.job,
                log=record.log,
            )
        record.image = engine.image.digest
    identity = None
    if engine is not None:
        identity = engine.user.identity
    elif spec.transform.user is not None:
        identity = resolve_user(spec.transform.user)
    if engine is None and identity is not None:
        admit(scratch, identity.uid, identity.gid)
    local: dict[str, str] = {}
    if job_secrets.files:
        local = await in_thread(_write_secret_files, job_secrets, scratch, identity)
    served = gateway_plan(
        config, plan, scratch=scratch, stage=output.bucket.stage.id, secrets=hidden()
    )
    access = None
    if pool is not None:
        with record.step("serve"):
            access = await serve(pool, served)
        if config.gateway.authenticated:
            hide([access.keys.secret.encode()])
        record.log.info("gateway.ready", url=access.endpoint.url)
    redactor = Redactor(hidden())
    report = scratch / "report"
    if engine is None:
        folders = {file.below for file in job_secrets.files}
        opened = command_paths(config, spec, scratch, folders, private=private_mounts)
    else:
        opened = _container_paths(scratch / "pfs", config.pfs_root if spec.has_files else None)
    async with (
        in_thread_context(opened) as paths,
        receive_reports(report, Reports(record.reports, record.add_report, record.warn)),
    ):
        for warning in paths.warnings:
            record.warn(warning)
        root = open_real_directory(paths.root)
        local |= {**dict.fromkeys(VARIABLES, str(report)), "PFS_ROOT": str(paths.shown)}
        commands = CommandRunner(
            plan=plan,
            environment=EnvironmentTemplate(
                base=base,
                job=plan.job,
                pipeline=spec.pipeline,
                project=spec.project,
                access=access,
                client_hints=config.client_hints,
                more=config.pass_environment,
                secrets=job_secrets.variables,
                spec=spec.transform.env,
                identity=identity,
                local=local,
            ),
            root=paths.shown,
            env_file=EnvFile(root, None if identity is None else (identity.uid, identity.gid)),
            mounts=paths.mounts,
            log=record.log,
            command_signals=command_signals,
            record_usage=record.add_usage,
            show_unfinished=record.show_unfinished,
            redactor=redactor,
            identity=identity,
        )
        if engine is not None:
            commands = _in_containers(commands, engine, config, job_secrets, paths.root, scratch)
        yield DatumProcessor(
            plan=plan,
            files=DatumFiles(plan, output.store, output.bucket, root, scratch, commands),
            output=output,
            gateway=served,
            commands=commands,
            record=record,
            keep_failed=config.keep_failed,
            fail_fast=config.fail_fast,
        )


@contextmanager
def _container_paths(default: Path, chosen: Path | None) -> Iterator[CommandPaths]:
    """Claim the folder of the file inputs, which a container shows as ``/pfs``.

    *default* is in the scratch folder, which is private. In the folder that is *chosen* instead,
    a private folder keeps other users from what the container leaves, such as setuid programs.
    """
    with claimed_root(chosen or default) as root:
        if chosen is not None:
            root = root / PRIVATE / PFS.name
            root.parent.mkdir(mode=0o700)
            root.mkdir()
        yield CommandPaths(root, PFS)


def _in_containers(
    commands: CommandRunner,
    engine: PreparedImage,
    config: Config,
    job_secrets: Secrets,
    root: Path,
    scratch: Path,
) -> CommandRunner:
    """Return *commands* in containers, with the paths that they see."""
    access = commands.environment.access
    mounts = [
        Mount(root, PFS),
        Mount(scratch / "report", CONTAINER_REPORT, writable=True),
    ]
    if not commands.plan.spec.s3_out:
        mounts.append(Mount(root / OUT, PFS / OUT, writable=True))
    if access is not None and access.trust_store is not None:
        access, trusted = _mount_trust_stores(access)
        mounts += trusted
    secret_mounts = [
        Mount(scratch / SECRETS / folder, Path("/") / folder)
        for folder in sorted({file.below for file in job_secrets.files})
    ]
    for mount in secret_mounts:
        if not is_free(mount.target, mounts):
            raise Invalid(
                f"transform.secrets: the mountPath {mount.target} covers files that each "
                "container needs; expected another folder, such as /var/secrets"
            )
    mounts += secret_mounts
    local = {
        **dict.fromkeys(VARIABLES, str(CONTAINER_REPORT)),
        "PFS_ROOT": str(PFS),
        **({SECRETS_ROOT: "/"} if job_secrets.files else {}),
    }
    environment = attrs.evolve(
        commands.environment,
        access=access,
        allowed=PASSED_TO_CONTAINERS,
        identity=None,
        local=local,
    )
    runtime = ContainerRuntime(
        prepared=engine,
        job=commands.plan.job,
        mounts=tuple(mounts),
        options=config.engine_options,
        log=commands.log,
    )
    return attrs.evolve(commands, environment=environment, runtime=runtime)


def _mount_trust_stores(access: Access) -> tuple[Access, list[Mount]]:
    from worker.job.tls import JAVA_TRUST_STORE

    assert access.trust_store is not None
    mounts = []
    for suffix in (access.trust_store.suffix, JAVA_TRUST_STORE):
        source = access.trust_store.with_suffix(suffix)
        mounts.append(Mount(source, CONTAINER_TRUST_STORE.with_suffix(suffix)))
    return attrs.evolve(access, trust_store=CONTAINER_TRUST_STORE), mounts


def _write_secret_files(
    job_secrets: Secrets, scratch: Path, identity: Identity | None
) -> dict[str, str]:
    """Write the secrets that are mounted as files; return the variable with their root.

    A path of a document never becomes a path outside of scratch. The command finds a secret at the
    root followed by its ``mountPath``, and at the ``mountPath`` itself if it can be mounted there.
    """
    root = open_directory(scratch).make(SECRETS, 0o711)
    owner = None if identity is None else (identity.uid, identity.gid)
    write_secrets(job_secrets.files, root, owner=owner)
    return {SECRETS_ROOT: root.path}
