"""Paths that a command sees: ``/pfs`` with the files of its job, and secrets at a ``mountPath``.

In a private mount namespace each job has its own. Where the machine permits none, a job can have
the folder ``/pfs`` itself, if no other job does; otherwise its files are in scratch only.
"""

import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from worker.config import SECRETS_ROOT, Config
from worker.directories import trusted_path
from worker.job.scratch import RootUnavailable, check_root, claimed_root
from worker.job.secrets import below_root
from worker.spec.pipeline import JobSpec
from worker.supervisor.mounts import Mount, refused_mounts

PFS = Path("/pfs")
SECRETS = "secrets"
"""The folder of scratch with the files of secrets, each below it at its ``mountPath``."""
SYSTEM = tuple(map(Path, ("/proc", "/sys", "/dev")))
"""Folders of the kernel: none can be created there, and none may be hidden."""

Refuse = Callable[[Sequence[Mount]], Mapping[Path, str]]
"""Returns why mounts are impossible, by target."""


@attrs.frozen
class CommandPaths:
    """Where the files and secrets of a job are, for the worker and for its commands."""

    root: Path
    """The folder of the file inputs and of ``out``, a real path."""
    shown: Path
    """The same folder as the command sees it: ``PFS_ROOT``."""
    mounts: tuple[Mount, ...] = ()
    """The mounts of each command, in a namespace of its own."""
    warnings: tuple[str, ...] = ()


@contextmanager
def command_paths(
    config: Config,
    spec: JobSpec,
    scratch: Path,
    secrets: Collection[Path] = (),
    *,
    private: bool = True,
    keeps: bool = True,
) -> Iterator[CommandPaths]:
    """Find the paths of commands that are processes of this machine, and keep them for the job.

    *secrets* are the folders of secret files, relative to ``/`` and to ``SECRETS`` in *scratch*.
    Without *private*, nothing is mounted. Without *keeps*, as for a plan, no folder of the machine
    is created or claimed. Raises RootUnavailable if the setting ``pfs_root`` names a folder that
    cannot be used.
    """
    own = Path(os.path.realpath(scratch)) / "pfs"
    own.mkdir()
    own.chmod(0o755)
    mounts = tuple(Mount(scratch / SECRETS / path, Path("/") / path) for path in sorted(secrets))
    chosen = config.pfs_root or PFS
    files = chosen if spec.has_files else None

    def refuse(tried: Sequence[Mount]) -> Mapping[Path, str]:
        return _refused(tried, scratch=config.scratch, files=files, private=private)

    with ExitStack() as stack:

        def claim(folder: Path) -> Path:
            return stack.enter_context(claimed_root(folder)) if keeps else check_root(folder)

        if files == PFS:
            required = config.pfs_root is not None
            yield _find_pfs(own, mounts, claim, refuse, required=required)
        else:
            root = own if files is None else claim(files)
            yield _paths(root, files or own, mounts, refuse(mounts))


def planned_paths(config: Config, spec: JobSpec) -> CommandPaths:
    """Return the paths that a run would have now; a folder that it would create is in ``<…>``.

    Raises RootUnavailable.
    """
    if config.runtime != "process":
        return CommandPaths(PFS, PFS)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        paths = (each.mount_path for each in spec.transform.secrets)
        secrets = {below_root(path) for path in paths if path is not None}
        for each in secrets:
            (scratch / SECRETS / each).mkdir(parents=True, exist_ok=True)
        with command_paths(config, spec, scratch, secrets, keeps=False) as found:
            if not found.shown.is_relative_to(scratch):
                return found
            return attrs.evolve(found, shown="<scratch>" / found.shown.relative_to(scratch))


def _find_pfs(
    own: Path,
    secrets: tuple[Mount, ...],
    claim: Callable[[Path], Path],
    refuse: Refuse,
    *,
    required: bool,
) -> CommandPaths:
    """Return paths with the files of the job at ``/pfs``, or with a warning that they are not.

    Raises RootUnavailable instead of that warning if ``/pfs`` is *required*.
    """
    bind = Mount(own, PFS, writable=True)
    reasons = []
    # A user namespace has side effects on a command, so any other user than root tries it last. A
    # volume at /pfs has been provided for the files.
    prefers_mount = os.geteuid() == 0 and not os.path.ismount(PFS)
    for is_mount in (prefers_mount, not prefers_mount):
        if is_mount:
            refused = refuse((bind, *secrets))
            if PFS not in refused:
                return _paths(own, PFS, (bind, *secrets), refused)
            reasons.append(f"a private mount is not possible ({refused[PFS]})")
            continue
        try:
            root = claim(PFS)
        except RootUnavailable as error:
            reasons.append(f"the folder itself cannot be used ({error.reason})")
        else:
            return _paths(root, PFS, secrets, refuse(secrets))
    reason = ", and ".join(reasons)
    if required:
        raise RootUnavailable(PFS, reason)
    warning = (
        f"/pfs: the files of the job are not there, but in $PFS_ROOT: {reason}. Use $PFS_ROOT in "
        "the command, or let worker have user namespaces, CAP_SYS_ADMIN, or an empty folder /pfs "
        f"that uid {os.geteuid()} may write to"
    )
    return _paths(own, own, secrets, refuse(secrets), warning)


def _paths(
    root: Path,
    shown: Path,
    mounts: tuple[Mount, ...],
    refused: Mapping[Path, str],
    *warnings: str,
) -> CommandPaths:
    """Return paths with the mounts that are not refused, and a warning for each other one."""
    return CommandPaths(
        root,
        shown,
        tuple(mount for mount in mounts if mount.target not in refused),
        (
            *warnings,
            *(
                f"secret files with the mountPath {mount.target} are in "
                f"${SECRETS_ROOT}{mount.target} only: {refused[mount.target]}"
                for mount in mounts
                if mount.target in refused
            ),
        ),
    )


def _refused(
    mounts: Sequence[Mount], *, scratch: Path, files: Path | None, private: bool
) -> Mapping[Path, str]:
    """Return why some of *mounts* are impossible, by target; *files* is the root, if it is used."""
    if not private:
        reason = "a program that worker does not start sees no private mount"
        return {mount.target: reason for mount in mounts}
    conflicts = {
        mount.target: reason
        for mount in mounts
        if (reason := _conflict(mount.target, scratch, None if mount.target == files else files))
    }
    return {
        **conflicts,
        **refused_mounts(mount for mount in mounts if mount.target not in conflicts),
    }


def _conflict(target: Path, scratch: Path, files: Path | None) -> str:
    """Return why a mount on *target* would break the run, or an empty string."""
    try:
        real = Path(trusted_path(target))
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    if Path(os.path.realpath(scratch)).is_relative_to(real):
        return f"the mount would hide the scratch directory {scratch}"
    for folder in SYSTEM:
        if real.is_relative_to(folder):
            return f"nothing can be mounted in {folder}"
    if files is not None and (files.is_relative_to(real) or real.is_relative_to(files)):
        return f"{files} holds the files of the job"
    return ""
