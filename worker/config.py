"""What the person who runs the worker has chosen: flags over environment over file."""

import difflib
import os
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_type_hints

import attrs
import platformdirs

from worker.errors import Misconfigured
from worker.readers import Address, Seconds, read_as

PREFIX = "WORKER_"
FILE_NAME = "worker.toml"


class InvalidConfig(Misconfigured):
    """A setting is unknown or has a value it cannot have; each problem names where it stands."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def _meaning(text: str) -> dict[str, str]:
    return {"meaning": text}


def _between(least: int, most: int) -> Any:
    def check(_instance: object, _attribute: object, value: float) -> None:
        if not least <= value <= most:
            raise ValueError(f"expected {least} to {most}")

    return check


def _not_empty(_instance: object, _attribute: object, value: str) -> None:
    if not value:
        raise ValueError("expected something")


def usable_processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _default_store() -> Address:
    return Address(str(platformdirs.user_data_path("worker", appauthor=False) / "store"))


def _temporary() -> Path:
    return Path(tempfile.gettempdir())


@attrs.frozen
class GatewayConfig:
    """How the S3 gateway of a job listens, and whom it lets in."""

    processes: int = attrs.field(
        factory=lambda: min(4, usable_processors()),
        validator=_between(1, 64),
        metadata=_meaning("Processes that share the socket; by default the usable CPUs, at most 4"),
    )
    host: str = attrs.field(
        default="127.0.0.1",
        validator=_not_empty,
        metadata=_meaning("Address to listen on"),
    )
    port: int = attrs.field(
        default=0,
        validator=_between(0, 65535),
        metadata=_meaning("Port to listen on; 0 takes a free one"),
    )
    auth: Literal["auto", "none", "sigv4"] = attrs.field(
        default="auto",
        metadata=_meaning(
            "Who may use the buckets: none (anyone who can connect), sigv4 (a key pair made for "
            "the job), auto (none on loopback, sigv4 on any other host)"
        ),
    )
    tls: Literal["off", "self-signed", "certificate"] = attrs.field(
        default="off",
        metadata=_meaning("https: off, with a certificate made for the job, or with yours"),
    )
    certificate: Path | None = attrs.field(
        default=None, metadata=_meaning('Certificate chain in PEM, for tls = "certificate"')
    )
    key: Path | None = attrs.field(
        default=None, metadata=_meaning('Private key in PEM, for tls = "certificate"')
    )
    drain: Seconds = attrs.field(
        default=Seconds(30.0),
        validator=_between(0, 86_400),
        metadata=_meaning("How long requests in flight may finish after the command has ended"),
    )

    def __attrs_post_init__(self) -> None:
        if self.tls == "certificate" and not (self.certificate and self.key):
            raise InvalidConfig(
                ['gateway.tls: "certificate" needs gateway.certificate and gateway.key, both']
            )

    @property
    def authenticated(self) -> bool:
        """Whether requests must be signed with the job's key pair."""
        if self.auth == "auto":
            return self.host not in ("127.0.0.1", "::1", "localhost")
        return self.auth == "sigv4"


@attrs.frozen
class LogConfig:
    """How the log on standard error reads."""

    format: Literal["auto", "console", "json"] = attrs.field(
        default="auto",
        metadata=_meaning("console for people, json one object a line; auto asks the terminal"),
    )
    level: Literal["debug", "info", "warning", "error"] = attrs.field(
        default="info", metadata=_meaning("The least important level that is logged")
    )


@attrs.frozen
class Config:
    """Everything that can be chosen without touching a job document."""

    store: Address = attrs.field(
        factory=_default_store,
        validator=_not_empty,
        metadata=_meaning("Where repos live: a directory, or s3://, gs://, az://, memory://"),
    )
    store_options: Mapping[str, str] = attrs.field(
        factory=dict,
        repr=False,
        metadata=_meaning("Options of the object store's client: endpoint, allow_http, region, …"),
    )
    scratch: Path = attrs.field(
        factory=_temporary,
        metadata=_meaning("Folder in which each job makes and removes its own scratch directory"),
    )
    grace: Seconds = attrs.field(
        default=Seconds(10.0),
        validator=_between(0, 86_400),
        metadata=_meaning("Time between SIGTERM and SIGKILL for the command"),
    )
    pfs_root: Path | None = attrs.field(
        default=None,
        metadata=_meaning("Where file inputs lie; by default /pfs if it can be used, else scratch"),
    )
    runtime: Literal["process", "docker", "podman"] = attrs.field(
        default="process",
        metadata=_meaning("Run the command right here, or in transform.image with an engine"),
    )
    engine_arguments: tuple[str, ...] = attrs.field(
        default=(), metadata=_meaning("Global arguments of docker or podman, before their commands")
    )
    engine_options: tuple[str, ...] = attrs.field(
        default=(), metadata=_meaning("More options for containers, as of `docker run`")
    )
    client_hints: bool = attrs.field(
        default=True,
        metadata=_meaning("Set the variables by which S3 clients find the gateway with no flag"),
    )
    pass_environment: tuple[str, ...] = attrs.field(
        default=(),
        metadata=_meaning("More variables of the agent's that the command gets; * and ? match"),
    )
    secrets: Path | None = attrs.field(
        default=None,
        metadata=_meaning("Folder of secrets, one folder each with one file a key, as in a pod"),
    )
    keep_failed: bool = attrs.field(
        default=False,
        metadata=_meaning("Keep what a failed job wrote as a commit off every branch"),
    )
    gateway: GatewayConfig = attrs.field(factory=GatewayConfig)
    log: LogConfig = attrs.field(factory=LogConfig)


# --- the table of options, read off the classes above ---------------------------------------------


@attrs.frozen
class Option:
    """One thing that can be set, under one dotted name everywhere."""

    name: str
    """As in a file, dotted: ``gateway.port``."""
    type: Any
    attribute: "attrs.Attribute[Any]"

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return PREFIX + self.name.upper().replace(".", "_")

    @property
    def meaning(self) -> str:
        """What it decides, in a line."""
        return str(self.attribute.metadata["meaning"])


def _options(cls: type, prefix: str = "") -> Iterator[Option]:
    hints = get_type_hints(cls)
    for attribute in attrs.fields(cls):
        kind = hints[attribute.name]
        if attrs.has(kind):
            yield from _options(kind, f"{prefix}{attribute.name}.")
        else:
            yield Option(prefix + attribute.name, kind, attribute)


OPTIONS: Mapping[str, Option] = {option.name: option for option in _options(Config)}


def read_value(option: Option, raw: object, base: Path) -> Any:
    """Return *raw* as the option's type, checked; raises ValueError with what was expected."""
    value = read_as(option.type, raw, base)
    if option.attribute.validator is not None:
        option.attribute.validator(None, option.attribute, value)
    return value


# --- the three sources ----------------------------------------------------------------------------


@attrs.frozen
class _Found:
    """One value as it stands in a source, with words for where that is."""

    name: str
    raw: object
    where: str
    base: Path


def settings_file(environ: Mapping[str, str], folder: Path) -> Path | None:
    """Return the file that is read when no ``--config`` is given, if there is one."""
    if named := environ.get("WORKER_CONFIG"):
        return Path(named).expanduser()
    candidates = (
        folder / FILE_NAME,
        platformdirs.user_config_path("worker", appauthor=False) / FILE_NAME,
    )
    return next((path for path in candidates if path.is_file()), None)


def _of_file(path: Path) -> Iterator[_Found]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidConfig([f"{path}: cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        raise InvalidConfig([f"{path}: not TOML: {error}"]) from error
    sections = {name.partition(".")[0] for name in OPTIONS if "." in name}

    def walk(table: Mapping[str, object], prefix: str) -> Iterator[_Found]:
        for key, raw in table.items():
            if not prefix and key in sections and isinstance(raw, dict):
                yield from walk(raw, f"{key}.")
            else:
                yield _Found(prefix + key, raw, f"{path}: {prefix}{key}", path.absolute().parent)

    yield from walk(document, "")


def _of_environment(environ: Mapping[str, str], folder: Path) -> Iterator[_Found]:
    for option in OPTIONS.values():
        raw = environ.get(option.variable)
        # Kubernetes writes WORKER_GATEWAY_PORT=tcp://10.0.0.1:80 into every pod beside a service
        # that is called worker-gateway; nobody chose that.
        if raw is not None and not (option.type is int and raw.startswith(("tcp://", "udp://"))):
            yield _Found(option.name, raw, option.variable, folder)


def _of_flags(flags: Mapping[str, object], folder: Path) -> Iterator[_Found]:
    for name, raw in flags.items():
        yield _Found(name, raw, "--" + name.replace(".", "-").replace("_", "-"), folder)


def unread_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables that set nothing and look like a slip, each with the one that was meant.

    They are no errors: a pod may carry somebody else's ``WORKER_…`` variables.
    """
    known = [option.variable for option in OPTIONS.values()]
    others = {*known, "WORKER_CONFIG", "WORKER_REPORT"}
    slips = {}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in others:
            for meant in difflib.get_close_matches(name, known, n=1, cutoff=0.85):
                slips[name] = meant
    return slips


def load_config(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    file: Path | None = None,
    folder: Path | None = None,
) -> Config:
    """Merge flags over *environ* over *file*, or raise InvalidConfig with every fault.

    *flags* are raw values by dotted name. Without a *file*, the usual places are looked at.
    Paths in a file are relative to that file, all others to *folder*.
    """
    folder = folder or Path.cwd()
    path = file or settings_file(environ, folder)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for found in (
        *(_of_file(path) if path else ()),
        *_of_environment(environ, folder),
        *_of_flags(flags, folder),
    ):
        option = OPTIONS.get(found.name)
        if option is None:
            problems.append(f"{found.where}: no such setting{_suggestion(found.name)}")
            continue
        try:
            values[found.name] = read_value(option, found.raw, found.base)
        except ValueError as error:
            shown = "" if found.name == "store_options" else f", found {found.raw!r}"
            problems.append(f"{found.where}: {error}{shown}")
    if problems:
        raise InvalidConfig(problems)
    return _build(values)


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, OPTIONS, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _build(values: Mapping[str, Any]) -> Config:
    def section(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}

    top = {name: value for name, value in values.items() if "." not in name}
    return Config(
        **top,
        gateway=GatewayConfig(**section("gateway.")),
        log=LogConfig(**section("log.")),
    )
