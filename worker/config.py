"""The configuration of the worker: one frozen value, and the table of its settings."""

import ipaddress
import os
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

import attrs
import platformdirs

from worker.errors import Misconfigured

PREFIX = "WORKER_"
SECRET_PREFIX = "WORKER_SECRET_"
"""The prefix of variables of the worker that contain secrets of jobs."""
SECRETS_ROOT = "WORKER_SECRETS_ROOT"
"""The variable of the command below whose folder secret files are mounted.

Not WORKER_SECRETS, which is a setting with another layout: a nested worker would misread it.
"""
REPORT = "WORKER_REPORT"
"""The variable of the command that contains the path of the pipe for its reports."""

Seconds = NewType("Seconds", float)
"""A duration in seconds, written as a number or as ``1m30s``."""
Address = NewType("Address", str)
"""A directory or the URL of an object store."""


class InvalidConfig(Misconfigured):
    """A setting is unknown or its value is invalid. Each problem names the source of the value."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Contradiction(InvalidConfig):
    """The value of *setting* does not agree with those of *others*; all are dotted names."""

    def __init__(self, setting: str, others: Iterable[str], reason: str) -> None:
        self.setting = setting
        self.others = frozenset(others)
        self.reason = reason
        super().__init__([f"{setting}: {reason}"])


# --- the settings ---------------------------------------------------------------------------------


def _setting(flag: str, help: str, metavar: str = "") -> dict[str, str]:  # noqa: A002 - as in click
    """Describe a setting: its flag, help text, and the placeholder of its value in help texts."""
    return {"flag": flag, "help": help, "metavar": metavar}


@attrs.frozen
class _Between:
    """Validator of a number between two bounds, which are both allowed."""

    least: int
    most: int

    def __call__(self, _instance: object, _attribute: object, value: float) -> None:
        if not self.least <= value <= self.most:
            raise ValueError(f"expected {self.least} to {self.most}")


def _not_empty(_instance: object, _attribute: object, value: str) -> None:
    if not value:
        raise ValueError("expected a text that is not empty")


def usable_processors() -> int:
    """Return the number of processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _default_store() -> Address:
    """Return the store in the user's home; empty if there is no home, as for many users of pods."""
    folder = own_folder(platformdirs.user_data_path)
    return Address("" if folder is None else str(folder / "store"))


def own_folder(find: Callable[..., Path]) -> Path | None:
    """Return the folder of this program that *find* returns; None for a user without a home."""
    try:
        found = find("worker", appauthor=False)
    except RuntimeError:
        return None
    # Earlier versions of platformdirs return a relative path.
    return found if found.is_absolute() else None


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        # None is writable. Whoever needs it reports this path.
        return Path("/tmp")


@attrs.frozen
class GatewayConfig:
    """Address, access and shutdown of a job's S3 gateway."""

    processes: int = attrs.field(
        factory=lambda: min(4, usable_processors()),
        validator=_Between(1, 64),
        metadata=_setting(
            "--gateway-processes",
            "Number of gateway processes; by default the usable CPUs, at most 4",
        ),
    )
    host: str = attrs.field(
        default="127.0.0.1",
        validator=_not_empty,
        metadata=_setting("--host", "Address to listen on", metavar="ADDRESS"),
    )
    port: int = attrs.field(
        default=0,
        validator=_Between(0, 65535),
        metadata=_setting("--port", "Port to listen on; 0 selects a free port"),
    )
    auth: Literal["auto", "none", "sigv4"] = attrs.field(
        default="auto",
        metadata=_setting(
            "--auth",
            "Authentication of requests: none, sigv4 (with a key pair generated for the job), or "
            "auto (none on loopback, sigv4 on any other host)",
        ),
    )
    tls: Literal["off", "self-signed", "certificate"] = attrs.field(
        default="off",
        metadata=_setting(
            "--tls",
            "HTTPS: off, with a certificate generated for the job, or with your certificate",
        ),
    )
    certificate: Path | None = attrs.field(
        default=None,
        metadata=_setting(
            "--certificate", 'Certificate chain (PEM file) for tls = "certificate"', metavar="FILE"
        ),
    )
    key: Path | None = attrs.field(
        default=None,
        metadata=_setting(
            "--key", 'Private key (PEM file) for tls = "certificate"', metavar="FILE"
        ),
    )
    drain: Seconds = attrs.field(
        default=Seconds(30.0),
        validator=_Between(0, 86_400),
        metadata=_setting(
            "--drain", "Time for requests in flight to finish after the command has exited"
        ),
    )
    stall_timeout: Seconds = attrs.field(
        default=Seconds(300.0),
        validator=_Between(1, 86_400),
        metadata=_setting(
            "--stall-timeout", "Time without a byte of a body after which a request is ended"
        ),
    )

    def __attrs_post_init__(self) -> None:
        if self.tls == "certificate" and not (self.certificate and self.key):
            names = ("gateway.certificate", "gateway.key")
            missing = [name for name in names if not getattr(self, name.rpartition(".")[2])]
            raise Contradiction(
                "gateway.tls",
                names,
                f'"certificate" requires {" and ".join(names)}; missing: {", ".join(missing)}',
            )

    @property
    def authenticated(self) -> bool:
        """Whether requests must be signed with the job's key pair."""
        if self.auth == "auto":
            return not is_loopback(self.host)
        return self.auth == "sigv4"


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches *host*: ``localhost``, 127.0.0.0/8 or ``::1``.

    The blocks are those of RFC 1122, 3.2.1.3 and RFC 4291, 2.5.3; ``::ffff:127.0.0.1`` is IPv4.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@attrs.frozen
class LogConfig:
    """Format and level of the log on standard error."""

    format: Literal["auto", "console", "json"] = attrs.field(
        default="auto",
        metadata=_setting(
            "--log-format",
            "console: text; json: one object a line; auto: console on a terminal, else json",
        ),
    )
    level: Literal["debug", "info", "warning", "error"] = attrs.field(
        default="info", metadata=_setting("--log-level", "Lowest level that is logged")
    )


@attrs.frozen
class Config:
    """All settings of the worker. The job document is separate."""

    store: Address = attrs.field(
        factory=_default_store,
        metadata=_setting(
            "--store",
            "Location of the repos: a directory, or an s3://, gs://, az:// or memory:// URL",
        ),
    )
    store_options: Mapping[str, str] = attrs.field(
        factory=dict,
        repr=False,
        metadata=_setting(
            "--store-option", "Options of the object-store client: endpoint, allow_http, region, …"
        ),
    )
    scratch: Path = attrs.field(
        factory=_temporary,
        metadata=_setting(
            "--scratch", "Directory in which each job creates and removes its scratch directory"
        ),
    )
    grace: Seconds = attrs.field(
        default=Seconds(10.0),
        validator=_Between(0, 86_400),
        metadata=_setting("--grace", "Grace period of the command between SIGTERM and SIGKILL"),
    )
    pfs_root: Path | None = attrs.field(
        default=None,
        metadata=_setting(
            "--pfs-root",
            "Directory of file inputs; by default /pfs if possible, else in scratch; /pfs requires "
            "the former",
        ),
    )
    runtime: Literal["process", "docker", "podman"] = attrs.field(
        default="process",
        metadata=_setting(
            "--runtime",
            "Run the command as a process, or in transform.image with a container engine",
        ),
    )
    engine_arguments: tuple[str, ...] = attrs.field(
        default=(),
        metadata=_setting(
            "--engine-argument",
            "Global arguments of docker or podman, before the subcommand",
            metavar="ARGUMENT",
        ),
    )
    engine_options: tuple[str, ...] = attrs.field(
        default=(),
        metadata=_setting(
            "--engine-option", "Further options of `docker run` or `podman run`", metavar="OPTION"
        ),
    )
    client_hints: bool = attrs.field(
        default=True,
        metadata=_setting(
            "--client-hints/--no-client-hints", "Set variables that point S3 clients to the gateway"
        ),
    )
    pass_environment: tuple[str, ...] = attrs.field(
        default=(),
        metadata=_setting(
            "--pass-env",
            "Further variables to pass to the command; * and ? are wildcards",
            metavar="NAME",
        ),
    )
    secrets: Path | None = attrs.field(
        default=None,
        metadata=_setting(
            "--secrets", "Directory of secrets: one subdirectory per secret, one file per key"
        ),
    )
    keep_failed: bool = attrs.field(
        default=False,
        metadata=_setting(
            "--keep-failed/--no-keep-failed",
            "Keep the output of a failed job as a commit on no branch",
        ),
    )
    fail_fast: bool = attrs.field(
        default=False,
        metadata=_setting(
            "--fail-fast/--no-fail-fast",
            "End the job at the first datum that fails, instead of processing the others",
        ),
    )
    gateway: GatewayConfig = attrs.field(factory=GatewayConfig)
    log: LogConfig = attrs.field(factory=LogConfig)


# --- the table of options, derived from the classes above -----------------------------------------


METAVARS: Mapping[Any, str] = {
    int: "NUMBER",
    Seconds: "DURATION",
    Path: "DIRECTORY",
    Address: "DIRECTORY|URL",
    Mapping[str, str]: "NAME=VALUE",
}
"""Placeholders of values in help texts, by type."""


@attrs.frozen
class Option:
    """One setting, with the same dotted name in files, variables and flags."""

    name: str
    """The dotted name: ``gateway.port``."""
    variable: str
    """The environment variable: ``WORKER_GATEWAY_PORT``."""
    flag: str
    """The flag, and after a slash the flag that negates it: ``--port``."""
    metavar: str
    """The placeholder of the flag's value in help texts."""
    help: str
    """The description, in one line."""
    type: Any
    """The type of the value, without None."""
    validator: Callable[[object, object, Any], None] | None


def _options(cls: type, prefix: str = "") -> Iterator[Option]:
    hints = get_type_hints(cls)
    for attribute in attrs.fields(cls):
        name, kind = prefix + attribute.name, hints[attribute.name]
        if attrs.has(kind):
            yield from _options(kind, f"{name}.")
        else:
            if get_origin(kind) in (Union, types.UnionType):
                kind = next(member for member in get_args(kind) if member is not type(None))
            yield Option(
                name,
                variable=PREFIX + name.upper().replace(".", "_"),
                flag=attribute.metadata["flag"],
                help=attribute.metadata["help"],
                metavar=attribute.metadata["metavar"] or METAVARS.get(kind, ""),
                type=kind,
                validator=attribute.validator,
            )


OPTIONS: Mapping[str, Option] = {option.name: option for option in _options(Config)}
