"""Flags that several commands share: settings as flags, ``--json``, refs and job documents."""

import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from worker import telemetry
from worker.config import OPTIONS, load_config, misspelled_variables
from worker.text import SECRET_NAME

Function = TypeVar("Function", bound=Callable[..., Any])

# Settings that are flags too: the dotted name, the flag, and how its value is called in help.
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
GATEWAY = tuple(name for name in FLAGS if name.startswith("gateway."))
RUN = (
    *STORE,
    "scratch",
    "grace",
    "pfs_root",
    "runtime",
    "engine_arguments",
    "engine_options",
    "client_hints",
    "pass_environment",
    "secrets",
    "keep_failed",
    *GATEWAY,
)

# What is given as a list or a table in a file is given flag by flag here.
REPEATED = (tuple[str, ...], Mapping[str, str])


def _parameter(name: str) -> str:
    return "setting_" + name.replace(".", "__")


def _flag(name: str) -> Callable[[Function], Function]:
    option, (flag, metavar) = OPTIONS[name], FLAGS[name]
    kwargs: dict[str, Any] = {"help": option.help, "default": None}
    if get_origin(option.type) is Literal:
        kwargs["type"] = click.Choice(get_args(option.type))
    elif option.type is bool:
        kwargs["is_flag"] = True
    else:
        kwargs["metavar"] = metavar
        kwargs["multiple"] = option.type in REPEATED
    return click.option(flag, _parameter(name), **kwargs)


def with_settings(*names: str, logs: bool = False) -> Callable[[Function], Callable[..., Any]]:
    """Give a command these settings as flags, and the merged settings as its first argument.

    The log is configured before the command begins. One that *logs* writes JSON where no terminal
    is; any other has nothing but its errors to say, which stay sentences unless JSON is asked for.
    """

    def decorate(function: Function) -> Callable[..., Any]:
        chosen = (*names, *COMMON)

        @functools.wraps(function)
        def call(config: Path | None, debug: bool, **arguments: Any) -> Any:
            flags = {name: arguments.pop(_parameter(name)) for name in chosen}
            settings = load_config(
                {name: value for name, value in flags.items() if value not in (None, ())},
                os.environ,
                file=config,
            )
            style = settings.log.format
            telemetry.configure(
                "console" if style == "auto" and not logs else style,
                settings.log.level,
                tracebacks=debug,
            )
            telemetry.hide(
                value.encode()
                for name, value in settings.store_options.items()
                if SECRET_NAME.search(name)
            )
            for slip, meant in misspelled_variables(os.environ).items():
                telemetry.logger().warning("settings.unread", variable=slip, did_you_mean=meant)
            return function(settings, **arguments)

        decorated: Callable[..., Any] = call
        for name in reversed(chosen):
            decorated = _flag(name)(decorated)
        decorated = click.option(
            "--debug", is_flag=True, help="Show the traceback of an error as well"
        )(decorated)
        return click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Settings to use instead of ./worker.toml or your own",
        )(decorated)

    return decorate


def json_option(function: Function) -> Function:
    """Add ``--json``: one JSON object a line instead of text for people."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, one object a line, for programs"
    )(function)


def job_option(function: Function) -> Function:
    """Add ``--job``: a job document in a file, or on standard input."""
    return click.option(
        "--job",
        "job",
        required=True,
        metavar="FILE|-",
        help="The job document, JSON or YAML; - reads standard input",
    )(function)


def read_document(name: str) -> bytes:
    """Return the bytes of a job document by its name on the command line."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{name}: {error.strerror}", param_hint="--job") from error
