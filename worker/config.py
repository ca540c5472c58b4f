"""The configuration of a worker: flags over environment over file over defaults.

A setting is a field of `Config`, `GatewayConfig` or `LogConfig`: its name, type, default, bounds
and help text occur there only. Flags are chosen in `worker.cli.options`.
"""

import difflib
import os
import re
import tempfile
import tomllib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

import attrs
import platformdirs

from worker.errors import Misconfigured
from worker.text import parse_duration

PREFIX = "WORKER_"
FILE_NAME = "worker.toml"
LOOPBACK = ("127.0.0.1", "::1", "localhost")

Seconds = NewType("Seconds", float)
"""Seconds, written as a number or as a duration such as ``1m30s``."""
Address = NewType("Address", str)
"""A directory or the URL of an object store."""


class InvalidConfig(Misconfigured):
    """Settings are unknown or have invalid values; each problem names the place of its setting."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def usable_processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _setting(help: str, **arguments: Any) -> Any:  # noqa: A002 - click's name for it
    """Return a field of the configuration; *limits* are its least and greatest value."""
    limits = arguments.pop("limits", None)
    return attrs.field(metadata={"help": help, "limits": limits}, **arguments)


@attrs.frozen
class GatewayConfig:
    """Settings of the S3 gateway of a job."""

    processes: int = _setting(
        "Processes that share the socket; by default the usable CPUs, at most 4",
        factory=lambda: min(4, usable_processors()),
        limits=(1, 64),
    )
    host: str = _setting("Address to listen on", default="127.0.0.1")
    port: int = _setting("Port to listen on; 0 for any free port", default=0, limits=(0, 65535))
    auth: Literal["auto", "none", "sigv4"] = _setting(
        "Authentication: none, sigv4 (a key pair generated for the job), "
        "auto (none on loopback, sigv4 on any other host)",
        default="auto",
    )
    tls: Literal["off", "self-signed", "certificate"] = _setting(
        "https: off, with a certificate generated for the job, or with your certificate",
        default="off",
    )
    certificate: Path | None = _setting(
        'Certificate chain in PEM, for tls = "certificate"', default=None
    )
    key: Path | None = _setting('Private key in PEM, for tls = "certificate"', default=None)
    drain: Seconds = _setting(
        "Time for requests in flight to finish after the command has exited",
        default=Seconds(30.0),
        limits=(0, 86_400),
    )

    def __attrs_post_init__(self) -> None:
        if self.tls == "certificate" and not (self.certificate and self.key):
            raise InvalidConfig(
                ['gateway.tls: "certificate" requires both gateway.certificate and gateway.key']
            )

    @property
    def authenticated(self) -> bool:
        """Whether requests must be signed with the job's key pair."""
        return self.host not in LOOPBACK if self.auth == "auto" else self.auth == "sigv4"


@attrs.frozen
class LogConfig:
    """Settings of the log on standard error."""

    format: Literal["auto", "console", "json"] = _setting(
        "console for people, json for one object a line; auto chooses console on a terminal",
        default="auto",
    )
    level: Literal["debug", "info", "warning", "error"] = _setting(
        "The least severe level that is logged", default="info"
    )


@attrs.frozen
class Config:
    """All settings of a worker."""

    store: Address = _setting(
        "Location of the repos: a directory, or s3://, gs://, az://, memory://",
        factory=lambda: Address(str(platformdirs.user_data_path("worker", False) / "store")),
    )
    store_options: Mapping[str, str] = _setting(
        "Options of the object store's client: endpoint, allow_http, region, …",
        factory=dict,
        repr=False,
    )
    scratch: Path = _setting(
        "Directory in which each job creates and removes its scratch directory",
        factory=lambda: Path(tempfile.gettempdir()),
    )
    grace: Seconds = _setting(
        "Time between SIGTERM and SIGKILL for the command",
        default=Seconds(10.0),
        limits=(0, 86_400),
    )
    pfs_root: Path | None = _setting(
        "Directory of file inputs; by default /pfs if it can be used, else in scratch",
        default=None,
    )
    runtime: Literal["process", "docker", "podman"] = _setting(
        "Run the command as a process, or in transform.image by a container engine",
        default="process",
    )
    engine_arguments: tuple[str, ...] = _setting(
        "Global arguments of docker or podman, before their commands", default=()
    )
    engine_options: tuple[str, ...] = _setting(
        "Additional options of containers, as for `docker run`", default=()
    )
    client_hints: bool = _setting(
        "Set the variables by which S3 clients find the gateway without flags", default=True
    )
    pass_environment: tuple[str, ...] = _setting(
        "Variables of the agent to pass to the command; * and ? are wildcards", default=()
    )
    secrets: Path | None = _setting(
        "Directory of secrets: one directory each, with one file for each key, as in a pod",
        default=None,
    )
    keep_failed: bool = _setting(
        "Keep the output of a failed job as a commit on no branch", default=False
    )
    gateway: GatewayConfig = attrs.field(factory=GatewayConfig)
    log: LogConfig = attrs.field(factory=LogConfig)


@attrs.frozen
class Setting:
    """One setting, with the same dotted name in every source."""

    name: str
    """As in the file: ``gateway.port``."""
    type: Any
    help: str
    limits: tuple[float, float] | None

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return PREFIX + self.name.upper().replace(".", "_")

    def parse(self, raw: object, base: Path) -> Any:
        """Return *raw*, a TOML value or text, as a value of this setting.

        A relative path is relative to *base*. Raises ValueError, which says what is expected.
        """
        value = _parse(self.type, raw, base)
        if self.limits is not None and not self.limits[0] <= value <= self.limits[1]:
            raise ValueError(f"expected {self.limits[0]} to {self.limits[1]}")
        return value


def _settings(cls: type, prefix: str = "") -> Iterator[Setting]:
    types_by_name = get_type_hints(cls)
    for field in attrs.fields(cls):
        kind = types_by_name[field.name]
        if attrs.has(kind):
            yield from _settings(kind, f"{prefix}{field.name}.")
        else:
            yield Setting(prefix + field.name, kind, **field.metadata)


SETTINGS: Mapping[str, Setting] = {setting.name: setting for setting in _settings(Config)}


def load_config(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    file: Path | None = None,
    folder: Path | None = None,
) -> Config:
    """Merge *flags* over *environ* over *file*; raise InvalidConfig with every problem.

    *flags* are raw values by dotted name. Without *file*, the default locations are searched.
    Paths in a file are relative to the file, all others to *folder*, by default the current
    directory.
    """
    folder = folder or Path.cwd()
    path = file or find_file(environ, folder)
    sources = [*(_read_file(path) if path else ()), *_read_environment(environ, folder)]
    sources += [
        _Raw(name, raw, "--" + re.sub("[._]", "-", name), folder) for name, raw in flags.items()
    ]
    values: dict[str, dict[str, Any]] = {"": {}, "gateway": {}, "log": {}}
    problems: list[str] = []
    for found in sources:
        setting = SETTINGS.get(found.name)
        if setting is None:
            close = difflib.get_close_matches(found.name, SETTINGS, n=1)
            suggestion = f"; did you mean {close[0]}?" if close else ""
            problems.append(f"{found.where}: no such setting{suggestion}")
            continue
        section, _, field = found.name.rpartition(".")
        try:
            values[section][field] = setting.parse(found.raw, found.base)
        except ValueError as error:
            shown = "" if found.name == "store_options" else f", found {found.raw!r}"
            problems.append(f"{found.where}: {error}{shown}")
    if problems:
        raise InvalidConfig(problems)
    gateway, log = GatewayConfig(**values["gateway"]), LogConfig(**values["log"])
    return Config(**values[""], gateway=gateway, log=log)


def find_file(environ: Mapping[str, str], folder: Path) -> Path | None:
    """Return the configuration file that is used without ``--config``; None if there is none."""
    if named := environ.get("WORKER_CONFIG"):
        return Path(named).expanduser()
    user_file = platformdirs.user_config_path("worker", appauthor=False) / FILE_NAME
    return next((path for path in (folder / FILE_NAME, user_file) if path.is_file()), None)


def misspelt_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables that set nothing, each with the similar one that was probably meant.

    They are not errors: a pod may contain ``WORKER_…`` variables of other programs.
    """
    known = [setting.variable for setting in SETTINGS.values()]
    others = {*known, "WORKER_CONFIG", "WORKER_REPORT"}
    found = {}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in others:
            for meant in difflib.get_close_matches(name, known, n=1, cutoff=0.85):
                found[name] = meant
    return found


@attrs.frozen
class _Raw:
    """An unparsed value of a source, and a description of its place for messages."""

    name: str
    raw: object
    where: str
    base: Path


def _read_file(path: Path) -> Iterator[_Raw]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidConfig([f"{path}: cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        raise InvalidConfig([f"{path}: not TOML: {error}"]) from error
    sections = {name.partition(".")[0] for name in SETTINGS if "." in name}

    def walk(table: Mapping[str, object], prefix: str) -> Iterator[_Raw]:
        for key, raw in table.items():
            if not prefix and key in sections and isinstance(raw, dict):
                yield from walk(raw, f"{key}.")
            else:
                yield _Raw(prefix + key, raw, f"{path}: {prefix}{key}", path.absolute().parent)

    yield from walk(document, "")


def _read_environment(environ: Mapping[str, str], folder: Path) -> Iterator[_Raw]:
    for setting in SETTINGS.values():
        raw = environ.get(setting.variable)
        # Kubernetes adds WORKER_GATEWAY_PORT=tcp://10.0.0.1:80 to every pod of a namespace that
        # has a service called worker-gateway; that is not a setting.
        if raw is not None and not (setting.type is int and raw.startswith(("tcp://", "udp://"))):
            yield _Raw(setting.name, raw, setting.variable, folder)


# --- parsing of values ------------------------------------------------------------------------

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _parse(kind: Any, raw: object, base: Path) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(member for member in get_args(kind) if member is not type(None))
    if get_origin(kind) is not Literal:
        return _PARSERS[kind](raw, base)
    if raw in get_args(kind):
        return raw
    raise ValueError(f"expected one of {', '.join(get_args(kind))}")


def _parse_text(raw: object, _base: Path) -> str:
    if isinstance(raw, str) and raw:
        return raw
    raise ValueError("expected text that is not empty")


def _parse_boolean(raw: object, _base: Path) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in _BOOLEANS:
        return _BOOLEANS[raw.lower()]
    raise ValueError("expected true or false")


def _parse_integer(raw: object, _base: Path) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and re.fullmatch(r"-?[0-9]{1,18}", raw):
        return int(raw)
    raise ValueError("expected an integer")


def _parse_seconds(raw: object, _base: Path) -> Seconds:
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return Seconds(float(raw))
    if isinstance(raw, str):
        if re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", raw):
            return Seconds(float(raw))
        if (seconds := parse_duration(raw)) is not None:
            return Seconds(seconds)
    raise ValueError('expected a duration such as 10, "10s" or "1m30s"')


def _parse_path(raw: object, base: Path) -> Path:
    if isinstance(raw, str) and raw and "\0" not in raw:
        return base / Path(raw).expanduser()
    raise ValueError("expected a path")


def _parse_address(raw: object, base: Path) -> Address:
    if isinstance(raw, str) and "://" in raw:
        return Address(raw)
    return Address(str(_parse_path(raw, base)))


def _parse_list(raw: object, _base: Path) -> tuple[str, ...]:
    if isinstance(raw, str):
        return tuple(word for word in (part.strip() for part in raw.split(",")) if word)
    if isinstance(raw, list | tuple) and all(isinstance(word, str) for word in raw):
        return tuple(raw)
    raise ValueError("expected a list of texts, or one text separated by commas")


def _parse_table(raw: object, base: Path) -> dict[str, str]:
    if isinstance(raw, str | list | tuple):
        pairs = [word.partition("=") for word in _parse_list(raw, base)]
        if all(equals for _, equals, _ in pairs):
            return {name: value for name, _, value in pairs}
    if isinstance(raw, Mapping) and all(isinstance(v, str | int | bool) for v in raw.values()):
        # The clients expect text, and "true" in lower case.
        return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in raw.items()}
    raise ValueError("expected a table of texts, or one text of name=value separated by commas")


_PARSERS: Mapping[Any, Callable[[object, Path], Any]] = {
    str: _parse_text,
    bool: _parse_boolean,
    int: _parse_integer,
    Seconds: _parse_seconds,
    Path: _parse_path,
    Address: _parse_address,
    tuple[str, ...]: _parse_list,
    Mapping[str, str]: _parse_table,
}
