"""Secrets of a job: read from a folder or the agent's environment, passed as variables or files."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from worker.config import SECRET_PREFIX
from worker.directories import Directory
from worker.errors import Misconfigured
from worker.redaction import HIDDEN, SHORTEST_SECRET
from worker.spec.pipeline import Secret
from worker.text import SECRET_NAME


class SecretMissing(Misconfigured):
    """A secret of the job does not exist."""

    def __init__(self, secret: Secret, reason: str) -> None:
        name = f"{secret.name}/{secret.key}" if secret.key else secret.name
        super().__init__(f"secret {name!r}: {reason}")
        self.secret = secret


class SecretFileConflict(Misconfigured):
    """Two secrets of the job would be the same file, or one a file and a folder of the other."""

    def __init__(self, file: "SecretFile") -> None:
        super().__init__(
            f"secret file {file.folder.rstrip('/')}/{file.name}: another secret of the job is at "
            "this path; give each secret a mountPath of its own"
        )
        self.file = file


def below_root(mount_path: str) -> Path:
    """Return a ``mountPath`` relative to the root of secrets; it never leads out of it."""
    # Path keeps two leading slashes, as a root of its own.
    parts = Path(mount_path.lstrip("/")).parts
    return Path(*(part for part in parts if part != ".."))


@attrs.frozen
class SecretFile:
    """A key of a secret that the command gets as a file."""

    folder: str
    """The ``mountPath``, absolute."""
    name: str
    value: bytes = attrs.field(repr=False)

    @property
    def below(self) -> Path:
        """The folder relative to the root of secrets."""
        return below_root(self.folder)


@attrs.frozen
class Secrets:
    """The secrets of a job."""

    variables: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    files: tuple[SecretFile, ...] = ()

    @property
    def values(self) -> tuple[bytes, ...]:
        """The values to redact."""
        return (
            *(os.fsencode(value) for value in self.variables.values()),
            *(file.value for file in self.files),
        )


def secret_values(env: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return the values of the variables whose names say that they are secrets."""
    return tuple(
        os.fsencode(value)
        for name, value in env.items()
        if len(value) >= SHORTEST_SECRET and SECRET_NAME.search(name)
    )


def without_secrets(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job document without the values of ``transform.env`` that are secrets."""
    transform = document.get("transform")
    env = transform.get("env") if isinstance(transform, Mapping) else None
    if not isinstance(transform, Mapping) or not isinstance(env, Mapping):
        return dict(document)
    kept = {name: HIDDEN if SECRET_NAME.search(name) else value for name, value in env.items()}
    return {**document, "transform": {**transform, "env": kept}}


def find_secrets(
    wanted: Iterable[Secret], folder: Path | None, environment: Mapping[str, str]
) -> Secrets:
    """Return the secrets *wanted* by a job; raises SecretMissing.

    The key K of the secret S is the file *folder*/S/K, as Kubernetes mounts it, or the variable
    WORKER_SECRET_S_K in capitals, with ``_`` for each character that is no letter or digit.
    """
    variables: dict[str, str] = {}
    files: list[SecretFile] = []
    for secret in wanted:
        values = _read(secret, folder, environment)
        if secret.env_var is not None and secret.key is not None:
            # Editors end files with a line feed; the value of a variable does not need it.
            variables[secret.env_var] = os.fsdecode(values[secret.key].removesuffix(b"\n"))
        if secret.mount_path is not None:
            files += [SecretFile(secret.mount_path, key, value) for key, value in values.items()]
    return Secrets(variables, tuple(files))


def _read(secret: Secret, folder: Path | None, environment: Mapping[str, str]) -> dict[str, bytes]:
    """Return the values of a secret by key; raises SecretMissing."""
    places = []
    for part in (secret.name, secret.key):
        if part in (".", "..") or (part is not None and "/" in part):
            raise SecretMissing(secret, "names of secrets and of their keys contain no slash")
    if folder is not None:
        place = folder / secret.name
        found = {
            file.name: file.read_bytes()
            for file in (place.iterdir() if place.is_dir() else ())
            # Kubernetes keeps the files of a mounted secret in hidden folders and links to them.
            if not file.name.startswith(".") and file.is_file() and secret.key in (None, file.name)
        }
        if found:
            return found
        places.append(str(place / (secret.key or "")))
    prefix = f"{SECRET_PREFIX}{_in_capitals(secret.name)}_"
    if secret.key is not None:
        name = prefix + _in_capitals(secret.key)
        if name in environment:
            return {secret.key: os.fsencode(environment[name])}
        raise SecretMissing(secret, f"not found in {' or '.join([*places, f'${name}'])}")
    found = {
        name.removeprefix(prefix).lower(): os.fsencode(value)
        for name, value in environment.items()
        if name.startswith(prefix)
    }
    if found:
        return found
    raise SecretMissing(secret, f"not found in {' or '.join([*places, f'${prefix}…'])}")


def _in_capitals(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def write_secrets(
    files: Iterable[SecretFile], root: Directory, *, owner: tuple[int, int] | None
) -> None:
    """Write secrets below *root*, each at its ``mountPath``, readable only by the command's user.

    *owner* is the uid and gid of that user; None for the agent's own. It gets the files and no
    folder, since a folder that it can change would be mounted from wherever a link leads. Raises
    SecretFileConflict if two secrets have the same path, or one needs another one as a folder.
    """
    folders: dict[tuple[str, ...], Directory] = {(): root}
    mode = 0o700 if owner is None else 0o755
    for file in files:
        parts = file.below.parts
        try:
            for depth, part in enumerate(parts, 1):
                if parts[:depth] not in folders:
                    folders[parts[:depth]] = folders[parts[: depth - 1]].make(part, mode)
            descriptor = folders[parts].create(file.name, 0o400)
        except FileExistsError as error:
            raise SecretFileConflict(file) from error
        with open(descriptor, "wb") as target:
            target.write(file.value)
            if owner is not None:
                os.fchown(descriptor, *owner)
