"""Options that several commands share: settings as flags, ``--json``, ``--job``."""

import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from worker import telemetry
from worker.config import SETTINGS, load_config, misspelt_variables

Function = TypeVar("Function", bound=Callable[..., Any])

# Settings that are also flags: by dotted name, the flag and the placeholder of its value in help.
FLAGS: dict[str, tuple[str, str]] = {
    "store": ("--store", "DIRECTORY|URL"),
    "store_options": ("--store-option", "NAME=VALUE"),
    "scratch": ("--scratch", "DIRECTORY"),
    "grace": ("--grace", "DURATION"),
    "pfs_root": ("--pfs-root", "DIRECTORY"),
    "runtime": ("--runtime", ""),
    "engine_arguments": ("--engine-argument", "ARGUMENT"),
    "engine_options": ("--engine-option", "OPTION"),
    "client_hints": ("--client-hints/--no-client-hints", ""),
    "pass_environment": ("--pass-env", "NAME"),
    "secrets": ("--secrets", "DIRECTORY"),
    "keep_failed": ("--keep-failed", ""),
    "gateway.processes": ("--gateway-processes", "NUMBER"),
    "gateway.host": ("--host", "ADDRESS"),
    "gateway.port": ("--port", "NUMBER"),
    "gateway.auth": ("--auth", ""),
    "gateway.tls": ("--tls", ""),
    "gateway.certificate": ("--certificate", "FILE"),
    "gateway.key": ("--key", "FILE"),
    "gateway.drain": ("--drain", "DURATION"),
    "log.format": ("--log-format", ""),
    "log.level": ("--log-level", ""),
}
COMMON = ("log.format", "log.level")
STORE = ("store", "store_options")
RUN = tuple(name for name in FLAGS if name not in COMMON)

# A list or a table of the file is a flag that can be repeated.
REPEATED = (tuple[str, ...], Mapping[str, str])


def with_settings(*names: str, logs: bool = False) -> Callable[[Function], Callable[..., Any]]:
    """Add the settings *names* as flags, and pass the configuration as the first argument.

    The log is configured before the command is called. A command that *logs* writes JSON when
    standard error is no terminal; of any other only errors are logged, as text unless the format
    json is chosen.
    """

    def decorate(function: Function) -> Callable[..., Any]:
        chosen = (*names, *COMMON)

        @functools.wraps(function)
        def call(config_file: Path | None, debug: bool, **arguments: Any) -> Any:
            flags = {name: arguments.pop(f"setting_{name.replace('.', '__')}") for name in chosen}
            config = load_config(
                {name: value for name, value in flags.items() if value not in (None, ())},
                os.environ,
                file=config_file,
            )
            style = config.log.format
            telemetry.configure(
                "console" if style == "auto" and not logs else style,
                config.log.level,
                tracebacks=debug,
            )
            for name, meant in misspelt_variables(os.environ).items():
                telemetry.logger().warning("settings.unread", variable=name, did_you_mean=meant)
            return function(config, **arguments)

        decorated: Callable[..., Any] = call
        for name in reversed(chosen):
            decorated = _flag(name)(decorated)
        decorated = click.option("--debug", is_flag=True, help="Show the traceback of an error")(
            decorated
        )
        return click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Configuration file to use instead of ./worker.toml or the user's",
        )(decorated)

    return decorate


def _flag(name: str) -> Callable[[Function], Function]:
    setting, (flag, metavar) = SETTINGS[name], FLAGS[name]
    arguments: dict[str, Any] = {"help": setting.help, "default": None}
    if get_origin(setting.type) is Literal:
        arguments["type"] = click.Choice(get_args(setting.type))
    elif setting.type is bool:
        arguments["is_flag"] = True
    else:
        arguments["metavar"] = metavar
        arguments["multiple"] = setting.type in REPEATED
    return click.option(flag, f"setting_{name.replace('.', '__')}", **arguments)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, one object a line, for programs"
)
job_option = click.option(
    "--job",
    "job",
    required=True,
    metavar="FILE|-",
    help="The job document, JSON or YAML; - reads standard input",
)


def read_document(name: str) -> tuple[bytes, str]:
    """Return the bytes of the document *name* of the command line, and its name for messages."""
    if name == "-":
        return sys.stdin.buffer.read(), "standard input"
    try:
        return Path(name).read_bytes(), name
    except OSError as error:
        raise click.BadParameter(f"{name}: {error.strerror}", param_hint="--job") from error
