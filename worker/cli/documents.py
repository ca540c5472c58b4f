"""``validate`` and ``schema``: check a job document, and print its JSON Schema."""

from collections.abc import Iterable

import attrs
import click

from worker.cli import terminal as output
from worker.cli.options import json_option, read_job, with_settings
from worker.config import Config
from worker.errors import Cause
from worker.spec.document import DocumentErrors, Problem
from worker.spec.pipeline import JobSpec


@click.command()
@click.argument("document", metavar="FILE|-")
@json_option
@with_settings()
def validate(_settings: Config, *, document: str, as_json: bool) -> int:
    """Check a job document and report all errors at once.

    Each error has a JSON pointer, the reason, and what is expected. Nothing is run and no store is
    accessed; `worker plan` also resolves the inputs. The exit status is 64 if there are errors.

    \b
    Examples:
      worker validate job.json
      worker validate --json - < job.yaml
    """
    try:
        spec = read_job(document, hint="FILE")
    except DocumentErrors as wrong:
        if not as_json:
            raise
        output.print_json({"valid": False, "errors": _problems(wrong.problems)})
        return Cause.INVALID.exit_status
    if as_json:
        output.print_json(
            {
                "valid": True,
                "errors": [],
                "warnings": _problems(spec.warnings),
                "for_scheduler": list(spec.for_scheduler),
            }
        )
        return 0
    _print_valid("standard input" if document == "-" else document, spec)
    return 0


def _problems(problems: Iterable[Problem]) -> list[dict[str, str]]:
    return [attrs.asdict(problem) for problem in problems]


def _print_valid(source: str, spec: JobSpec) -> None:
    output.print_line(f"{source}: no errors")
    for problem in spec.warnings:
        output.print_line(f"  warning: {problem}")
    for pointer in spec.for_scheduler:
        output.print_line(f"  for the scheduler: {pointer}")


@click.command()
@with_settings()
def schema(_settings: Config) -> None:
    """Print the JSON Schema of the job document.

    For editors: it has every key and its type. `worker validate` also checks the rules between
    keys, and accepts both spellings of a key.

    \b
    Examples:
      worker schema > job.schema.json
    """
    from worker.spec.fields import json_schema

    output.print_json(json_schema(), indent=2)
