"""``validate`` and ``schema``: job documents, without running them."""

from collections.abc import Iterable

import attrs
import click

from worker.cli import failures, terminal
from worker.cli.options import json_option, read_document, with_settings
from worker.config import Config
from worker.errors import Cause
from worker.spec.document import DocumentErrors, Problem
from worker.spec.parse import parse


@click.command()
@click.argument("document", metavar="FILE|-")
@json_option
@with_settings()
def validate(_config: Config, *, document: str, as_json: bool) -> int:
    """Check a job document and list all errors at once.

    Each error has a JSON pointer, the reason, and what is expected. Nothing is run and no store is
    read; `worker plan` also resolves the inputs. Exit status 64 means that there are errors.

    \b
    Examples:
      worker validate job.json
      worker validate --json - < job.yaml
    """
    text, source = read_document(document)
    try:
        spec = parse(text, source=source)
    except DocumentErrors as invalid:
        if not as_json:
            raise
        terminal.print_json({"valid": False, "errors": _to_json(invalid.problems)})
        return Cause.INVALID.exit_code
    if as_json:
        terminal.print_json(
            {
                "valid": True,
                "errors": [],
                "warnings": _to_json(spec.warnings),
                "for_scheduler": list(spec.for_scheduler),
            }
        )
        return failures.OK
    terminal.print_line(f"{source}: valid")
    for problem in spec.warnings:
        terminal.print_line(f"  warning: {problem}")
    for pointer in spec.for_scheduler:
        terminal.print_line(f"  for the scheduler: {pointer}")
    return failures.OK


def _to_json(problems: Iterable[Problem]) -> list[dict[str, str]]:
    return [attrs.asdict(problem) for problem in problems]


@click.command()
@with_settings()
def schema(_config: Config) -> None:
    """Print the JSON Schema of the job document.

    It describes every key and its type, for editors. `worker validate` also checks rules between
    keys, and accepts both spellings of each.

    \b
    Examples:
      worker schema > job.schema.json
    """
    from worker.spec.fields import schema_text

    click.echo(schema_text())
