"""Options that several commands share: settings as flags, ``--json``, and the job document."""

import functools
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from click.core import ParameterSource

from worker import telemetry
from worker.config import OPTIONS
from worker.config_sources import CREDENTIALS_PLACES, load_config, misspelled_variables
from worker.redaction import hide
from worker.spec.document import MAX_BYTES
from worker.spec.parse import parse
from worker.spec.pipeline import JobSpec
from worker.store.backends.options import credentials_of
from worker.text import escape_controls

Function = TypeVar("Function", bound=Callable[..., Any])

COMMON = ("log.format", "log.level")
"""Settings that are flags of every command."""
STORE = ("store", "store_options")
"""Settings that are flags of the commands that read or write a store."""
RUN = tuple(name for name in OPTIONS if name not in COMMON)
"""Settings that are flags of the commands that run a job or serve its buckets."""

# A list or a table in a file is a flag that can be repeated.
REPEATED = (tuple[str, ...], Mapping[str, str])


def _parameter(name: str) -> str:
    return "setting_" + name.replace(".", "__")


def _flag(name: str) -> Callable[[Function], Function]:
    option = OPTIONS[name]
    kwargs: dict[str, Any] = {"help": option.help, "default": None}
    if get_origin(option.type) is Literal:
        kwargs["type"] = click.Choice(get_args(option.type))
    elif option.type is bool:
        kwargs["is_flag"] = True
    else:
        kwargs["metavar"] = option.metavar
        kwargs["multiple"] = option.type in REPEATED
    return click.option(option.flag, _parameter(name), **kwargs)


def with_settings(*names: str, logs: bool = False) -> Callable[[Function], Callable[..., Any]]:
    """Add these settings as flags, and pass the configuration as the first argument.

    The log is configured before the command starts. With *logs*, the format ``auto`` is JSON unless
    standard error is a terminal. The other commands log only errors, as text.
    """

    def decorate(function: Function) -> Callable[..., Any]:
        chosen = (*names, *COMMON)

        @functools.wraps(function)
        def call(config: Path | None, debug: bool, **arguments: Any) -> Any:
            flags = {name: arguments.pop(_parameter(name)) for name in chosen}
            _reject_credentials(flags.get("store_options", ()))
            settings = load_config(
                {name: value for name, value in flags.items() if value not in (None, ())},
                os.environ,
                file=config,
            )
            format_ = settings.log.format
            telemetry.configure(
                "console" if format_ == "auto" and not logs else format_,
                settings.log.level,
                tracebacks=debug,
            )
            hide(secret.encode() for _, secret in credentials_of(settings.store_options))
            for variable, meant in misspelled_variables(os.environ).items():
                telemetry.logger().warning("settings.unread", variable=variable, did_you_mean=meant)
            return function(settings, **arguments)

        decorated: Callable[..., Any] = call
        for name in reversed(chosen):
            decorated = _flag(name)(decorated)
        decorated = click.option(
            "--debug", is_flag=True, help="Print the traceback of an error as well"
        )(decorated)
        return click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Configuration file, instead of ./worker.toml or that of the user",
        )(decorated)

    return decorate


def _reject_credentials(words: Iterable[str]) -> None:
    """Raise BadParameter if one of the *words* NAME=VALUE may be a credential.

    All users of a machine can read the command lines of its processes.
    """
    pairs = (word.partition("=") for word in words)
    for name, _ in credentials_of({name: value for name, _, value in pairs}):
        hide(word.partition("=")[2].encode() for word in words)
        raise click.BadParameter(
            f"{escape_controls(name[:64])} may be a credential, and all users of this machine can "
            f"read a command line: replace the credential; it belongs in {CREDENTIALS_PLACES}",
            param_hint="--store-option",
        )


def given_options(settings: Collection[str], *, others: bool = False) -> list[str]:
    """Return the options that the current command line gives, as words of another one.

    Those of *settings* and ``--config``; with *others*, also those that are no settings, but for
    the job document.
    """
    context = click.get_current_context()
    chosen = {_parameter(name) for name in settings} | {"config"}
    if others:
        names = {parameter.name or "" for parameter in context.command.params}
        chosen |= names - {_parameter(name) for name in OPTIONS} - {"job"}
    words: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name not in chosen or not given or not isinstance(parameter, click.Option):
            continue
        value = context.params[name]
        if parameter.is_flag:
            words += parameter.opts[:1] if value else parameter.secondary_opts[:1]
            continue
        for each in value if parameter.multiple else [value]:
            words += [parameter.opts[0], str(each)]
    return words


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line")
"""Adds ``--json``: output for programs."""
job_option = click.option(
    "--job",
    "job",
    required=True,
    metavar="FILE|-",
    help="Job document in JSON or YAML; - reads standard input",
)
"""Adds ``--job``: the job document, in a file or on standard input."""


def job_document(function: Function) -> Function:
    """Add the job document as ``--job FILE`` or as an argument."""

    def take(context: click.Context, _: click.Parameter, argument: str | None) -> None:
        flag = context.params.get("job")
        if (flag is None) == (argument is None):
            problem = "both were given" if flag else "neither was given"
            raise click.UsageError(f"Expected --job FILE or FILE: {problem}.", context)
        context.params["job"] = flag if argument is None else argument

    option = click.option(
        "--job",
        "job",
        is_eager=True,
        metavar="FILE|-",
        help="Job document in JSON or YAML; - reads standard input",
    )
    argument = click.argument(
        "document", metavar="[FILE]", required=False, expose_value=False, callback=take
    )
    return option(argument(function))


def read_job(document: str, *, hint: str = "--job") -> JobSpec:
    """Return the checked job of *document*, a file or ``-`` for standard input.

    Raises BadParameter, which names the parameter *hint*, and DocumentErrors.
    """
    # One byte more than a document has is enough to reject a text, which may be endless.
    limit = MAX_BYTES + 1
    if document == "-":
        return parse(sys.stdin.buffer.read(limit), source="standard input")
    try:
        with open(document, "rb") as file:
            content = file.read(limit)
    except OSError as error:
        raise click.BadParameter(f"{document}: {error.strerror}", param_hint=hint) from error
    return parse(content, source=document)
