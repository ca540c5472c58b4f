"""The configuration of the worker: one frozen value, from flags over environment over file."""

import difflib
import ipaddress
import os
import re
import tempfile
import tomllib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

import attrs
import platformdirs

from worker.errors import Misconfigured
from worker.text import parse_duration

PREFIX = "WORKER_"
FILE_NAME = "worker.toml"
FILE_VARIABLE = "WORKER_CONFIG"
"""The variable that names the configuration file."""
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
    folder = _own(platformdirs.user_data_path)
    return Address("" if folder is None else str(folder / "store"))


def _own(find: Callable[..., Path]) -> Path | None:
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


# --- parsing of one value -------------------------------------------------------------------------

BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _parse_text(raw: object, _base: Path) -> str:
    if isinstance(raw, str):
        return raw
    raise ValueError("expected text")


def _parse_boolean(raw: object, _base: Path) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in BOOLEANS:
        return BOOLEANS[raw.lower()]
    raise ValueError("expected true or false")


def _parse_integer(raw: object, _base: Path) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and re.fullmatch(r"-?[0-9]{1,18}", raw):
        return int(raw)
    raise ValueError("expected an integer")


def parse_seconds(raw: object, _base: Path | None = None) -> Seconds:
    """Return the seconds of a number or of a text such as ``10``, ``10s`` or ``1m30s``.

    Raises ValueError.
    """
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return Seconds(float(raw))
    if isinstance(raw, str):
        number = re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", raw)
        seconds = float(raw) if number else parse_duration(raw)
        if seconds is not None:
            return Seconds(seconds)
    raise ValueError('expected a duration such as 10, "10s" or "1m30s"')


def _parse_path(raw: object, base: Path) -> Path:
    if isinstance(raw, str) and raw and "\0" not in raw:
        return base / _expanded(raw)
    raise ValueError("expected a path")


def _expanded(path: str) -> Path:
    """Expand ``~``; raises ValueError if there is no such home directory."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            "expected a path without ~, since the home directory is unknown: set HOME"
        ) from None


MISTYPED_URL = re.compile(r"(s3|gs|az|file|memory):(?!//)", re.IGNORECASE)
"""The beginning of the URL of a store with too few slashes."""


def _parse_address(raw: object, base: Path) -> Address:
    if isinstance(raw, str) and "://" in raw:
        return Address(raw)
    if isinstance(raw, str) and (mistyped := MISTYPED_URL.match(raw)):
        # It would be a directory of this name below the current one.
        authority = ":///" if mistyped[1].lower() == "file" else "://"
        right = mistyped[1] + authority + raw[mistyped.end() :].lstrip("/")
        raise ValueError(f"expected {right}, or ./{raw} for a directory")
    return Address(str(_parse_path(raw, base)))


def _parse_list(raw: object, _base: Path) -> tuple[str, ...]:
    if isinstance(raw, str):
        return tuple(word for word in (part.strip() for part in raw.split(",")) if word)
    if isinstance(raw, list | tuple) and all(isinstance(word, str) for word in raw):
        return tuple(raw)
    raise ValueError("expected a list of texts, or one text with commas")


def _parse_table(raw: object, base: Path) -> dict[str, str]:
    if isinstance(raw, str | list | tuple):
        pairs = [word.partition("=") for word in _parse_list(raw, base)]
        if all(equals for _, equals, _ in pairs):
            return {name: value for name, _, value in pairs}
    if isinstance(raw, Mapping) and all(isinstance(v, str | int | bool) for v in raw.values()):
        # The clients take text. TOML's true becomes "true", not "True".
        return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in raw.items()}
    raise ValueError("expected a table of texts, or one text of name=value with commas")


PARSERS: Mapping[Any, Callable[[object, Path], Any]] = {
    str: _parse_text,
    bool: _parse_boolean,
    int: _parse_integer,
    Seconds: parse_seconds,
    Path: _parse_path,
    Address: _parse_address,
    tuple[str, ...]: _parse_list,
    Mapping[str, str]: _parse_table,
}


def _parse(option: Option, raw: object, base: Path) -> Any:
    """Return *raw* as a valid value of *option*; relative paths are relative to *base*.

    Raises ValueError with what was expected.
    """
    kind = option.type
    if get_origin(kind) is Literal:
        if raw not in get_args(kind):
            raise ValueError(f"expected one of {', '.join(get_args(kind))}")
        return raw
    value = PARSERS[kind](raw, base)
    if option.validator is not None:
        option.validator(None, None, value)
    return value


# --- the three sources ----------------------------------------------------------------------------


@attrs.frozen
class _Given:
    """One raw value of a setting from one source."""

    name: str
    raw: object
    source: str
    """File and key, variable, or flag, for messages."""
    base: Path
    """The directory that relative paths are relative to."""


def settings_file(environ: Mapping[str, str], folder: Path) -> Path | None:
    """Return the configuration file that applies without ``--config``, if there is one."""
    if named := environ.get(FILE_VARIABLE):
        try:
            return _expanded(named)
        except ValueError as error:
            raise InvalidConfig([f"{FILE_VARIABLE}: {error}, found {named!r}"]) from None
    if (folder / FILE_NAME).is_file():
        return folder / FILE_NAME
    own = _own(platformdirs.user_config_path)
    # The home may be that of another user.
    with suppress(PermissionError):
        if own is not None and (own / FILE_NAME).is_file():
            return own / FILE_NAME
    return None


def _from_file(path: Path) -> Iterator[_Given]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidConfig([f"{path}: cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        raise InvalidConfig([f"{path}: not TOML: {error}"]) from error
    sections = {name.partition(".")[0] for name in OPTIONS if "." in name}

    def walk(table: Mapping[str, object], prefix: str) -> Iterator[_Given]:
        for key, raw in table.items():
            if not prefix and key in sections and isinstance(raw, dict):
                yield from walk(raw, f"{key}.")
            else:
                yield _Given(prefix + key, raw, f"{path}: {prefix}{key}", path.absolute().parent)

    yield from walk(document, "")


def _from_environment(environ: Mapping[str, str], folder: Path) -> Iterator[_Given]:
    for option in OPTIONS.values():
        raw = environ.get(option.variable)
        # For a service called worker-gateway, Kubernetes sets WORKER_GATEWAY_PORT=tcp://10.0.0.1:80
        # in every pod. That is not the setting.
        if raw is not None and not (option.type is int and raw.startswith(("tcp://", "udp://"))):
            yield _Given(option.name, raw, option.variable, folder)


OTHER_VARIABLES = (FILE_VARIABLE, SECRETS_ROOT, REPORT)
"""Variables with the prefix that are no settings, beside those of secrets."""


def misspelled_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables that set nothing and resemble a setting, each with that setting's variable.

    They are no errors: in a pod, variables with this prefix can belong to another program.
    """
    known = [option.variable for option in OPTIONS.values()]
    found = {}
    for name in sorted(environ):
        is_other = name in OTHER_VARIABLES or name.startswith(SECRET_PREFIX)
        if name.startswith(PREFIX) and name not in known and not is_other:
            for meant in difflib.get_close_matches(name, known, n=1, cutoff=0.85):
                found[name] = meant
    return found


def load_config(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    file: Path | None = None,
    folder: Path | None = None,
) -> Config:
    """Merge *flags* over *environ* over *file* into a configuration.

    *flags* are raw values by dotted name of a setting. Without *file*, ``settings_file`` selects
    the file.
    Relative paths in a file are relative to that file, all others to *folder* (by default the
    working directory). Raises InvalidConfig with all problems at once.
    """
    folder = folder or Path.cwd()
    path = file or settings_file(environ, folder)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    invalid: set[str] = set()
    problems: list[str] = []
    for given in (
        *(_from_file(path) if path else ()),
        *_from_environment(environ, folder),
        *(
            _Given(name, raw, OPTIONS[name].flag.partition("/")[0], folder)
            for name, raw in flags.items()
        ),
    ):
        option = OPTIONS.get(given.name)
        if option is None:
            close = difflib.get_close_matches(given.name, OPTIONS, n=1)
            suggestion = f"; did you mean {close[0]}?" if close else ""
            problems.append(f"{given.source}: no such setting{suggestion}")
            continue
        sources[given.name] = given.source
        try:
            values[given.name] = _parse(option, given.raw, given.base)
        except ValueError as error:
            invalid.add(given.name)
            # Store options may hold credentials.
            shown = "" if given.name == "store_options" else f", found {given.raw!r}"
            problems.append(f"{given.source}: {error}{shown}")

    sections: dict[str, dict[str, Any]] = {"": {}, "gateway": {}, "log": {}}
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        sections[section][key] = value
    gateway = GatewayConfig()
    try:
        gateway = GatewayConfig(**sections["gateway"])
    except Contradiction as error:
        # A setting whose value is invalid is reported already, and is missing here.
        if not invalid & {error.setting, *error.others}:
            problems.append(f"{sources[error.setting]}: {error.reason}")
    if problems:
        raise InvalidConfig(problems)
    return Config(**sections[""], gateway=gateway, log=LogConfig(**sections["log"]))
