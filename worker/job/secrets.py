"""Secrets of a job: found in a folder or the agent's environment, given as variables or files."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from worker.errors import Misconfigured
from worker.spec.pipeline import Secret
from worker.text import SECRET_NAME

VARIABLE = "WORKER_SECRET_"

HIDDEN = "***"
SHORTEST = 4
"""Anything shorter would be found, and hidden, in half of what a command prints."""


class SecretMissing(Misconfigured):
    """A secret that the job names is not where secrets are."""

    def __init__(self, secret: Secret, looked: Iterable[str]) -> None:
        what = f"{secret.name}/{secret.key}" if secret.key else secret.name
        super().__init__(f"secret {what!r}: not found; looked for {' and '.join(looked)}")
        self.secret = secret


@attrs.frozen
class SecretFile:
    """A key of a secret that the command gets as a file."""

    folder: str
    """The ``mountPath``, absolute."""
    name: str
    value: bytes = attrs.field(repr=False)

    @property
    def below(self) -> Path:
        """The folder, relative to wherever secrets are put, and never leading out of it."""
        return Path(*(part for part in Path(self.folder).parts if part not in ("/", "..")))


@attrs.frozen
class Secrets:
    """The values of a job's secrets."""

    variables: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    files: tuple[SecretFile, ...] = ()

    @property
    def values(self) -> tuple[bytes, ...]:
        """Everything that no log may show."""
        return (
            *(os.fsencode(value) for value in self.variables.values()),
            *(file.value for file in self.files),
        )


def secret_values(env: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return the values of those variables whose names say that they are secret."""
    return tuple(
        os.fsencode(value)
        for name, value in env.items()
        if len(value) >= SHORTEST and SECRET_NAME.search(name)
    )


def without_secrets(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job document as it may be kept: without the values of ``secret_values``."""
    transform = document.get("transform")
    env = transform.get("env") if isinstance(transform, Mapping) else None
    if not isinstance(transform, Mapping) or not isinstance(env, Mapping):
        return dict(document)
    kept = {name: HIDDEN if SECRET_NAME.search(name) else value for name, value in env.items()}
    return {**document, "transform": {**transform, "env": kept}}


def find_secrets(
    wanted: Iterable[Secret], folder: Path | None, environment: Mapping[str, str]
) -> Secrets:
    """Return the values of *wanted*, or raise SecretMissing.

    The key K of the secret S is the file *folder*/S/K, as Kubernetes mounts it, or else the
    variable WORKER_SECRET_S_K in capitals, with ``_`` for all that is no letter and no digit.
    """
    variables: dict[str, str] = {}
    files: list[SecretFile] = []
    for secret in wanted:
        values = _values(secret, folder, environment)
        if secret.env_var is not None and secret.key is not None:
            # A file ends in a newline because editors make it so; no variable is meant to.
            variables[secret.env_var] = os.fsdecode(values[secret.key].removesuffix(b"\n"))
        if secret.mount_path is not None:
            files += [SecretFile(secret.mount_path, key, value) for key, value in values.items()]
    return Secrets(variables, tuple(files))


def _values(
    secret: Secret, folder: Path | None, environment: Mapping[str, str]
) -> dict[str, bytes]:
    looked = []
    for part in (secret.name, secret.key):
        if part in (".", "..") or (part is not None and "/" in part):
            raise SecretMissing(secret, ["a name without slashes"])
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
        looked.append(str(place / (secret.key or "")))
    prefix = VARIABLE + _capitals(secret.name) + "_"
    if secret.key is not None:
        name = prefix + _capitals(secret.key)
        if name in environment:
            return {secret.key: os.fsencode(environment[name])}
        raise SecretMissing(secret, [*looked, f"${name}"])
    found = {
        name.removeprefix(prefix).lower(): os.fsencode(value)
        for name, value in environment.items()
        if name.startswith(prefix)
    }
    if found:
        return found
    raise SecretMissing(secret, [*looked, f"${prefix}…"])


def _capitals(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def write_secrets(
    files: Iterable[SecretFile], root: Path, *, owner: tuple[int, int] | None
) -> None:
    """Write secrets below *root*, each at its ``mountPath``, readable by the command alone."""
    for file in files:
        folder = root
        for part in file.below.parts:
            folder = folder / part
            if not folder.exists():
                folder.mkdir(mode=0o700)
                if owner is not None:
                    os.chown(folder, *owner)
        descriptor = os.open(folder / file.name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400)
        with open(descriptor, "wb") as target:
            target.write(file.value)
            if owner is not None:
                os.fchown(descriptor, *owner)
