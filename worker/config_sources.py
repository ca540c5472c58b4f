"""The sources of the configuration: flags over environment over file, and the text of a value."""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs
import platformdirs

from worker.config import (
    OPTIONS,
    PREFIX,
    REPORT,
    SECRET_PREFIX,
    SECRETS_ROOT,
    Address,
    Config,
    Contradiction,
    GatewayConfig,
    InvalidConfig,
    LogConfig,
    Option,
    Seconds,
    own_folder,
)
from worker.text import parse_duration

FILE_NAME = "worker.toml"
FILE_VARIABLE = "WORKER_CONFIG"
"""The variable that names the configuration file."""

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


STORE_URL = re.compile(r"(s3|gs|az|file|memory)(:/*|//+)", re.IGNORECASE)
"""The beginning of the URL of a store, also of a mistyped one."""


class _Secret(ValueError):
    """The value contains credentials, so a message must not repeat it."""


CREDENTIALS_IN_URL = re.compile(
    r"(?:(?:s3|gs|az|memory):|(?!file:)[a-z0-9+.-]+://)/*(?:[^/]*@|.*[?#])", re.IGNORECASE | re.S
)
"""A URL with a user, a query or a fragment: an object store has none, but they carry credentials.

The address of the store is logged, printed and recorded.
"""
CREDENTIALS_PLACES = (
    "[store_options] of a configuration file, WORKER_STORE_OPTIONS, or the variable of the "
    "service, such as AWS_SECRET_ACCESS_KEY"
)
"""Where credentials of the store are set."""


def _parse_address(raw: object, base: Path) -> Address:
    if isinstance(raw, str) and CREDENTIALS_IN_URL.match(raw):
        raise _Secret(
            "expected a URL without user, password and query; credentials belong in "
            f"{CREDENTIALS_PLACES}"
        )
    if isinstance(raw, str) and (start := STORE_URL.match(raw)):
        scheme = start[1].lower()
        if raw.startswith(f"{scheme}://"):
            return Address(raw)
        # It would be a directory of this name below the current one.
        right = f"{scheme}://{'/' * (scheme == 'file')}{raw[start.end() :]}"
        raise ValueError(f"expected {right}, or ./{raw} for a directory")
    if isinstance(raw, str) and "://" in raw:
        return Address(raw)
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
    own = own_folder(platformdirs.user_config_path)
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
    the file. Relative paths in a file are relative to that file, all others to *folder* (by default
    the working directory). Raises InvalidConfig with all problems at once.
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
            is_secret = given.name == "store_options" or isinstance(error, _Secret)
            shown = "" if is_secret else f", found {given.raw!r}"
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
