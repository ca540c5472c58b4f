"""``validate`` and ``schema``: job documents before anything is run."""

import json
from collections.abc import Iterable

import attrs
import click

from worker.cli import terminal as output
from worker.cli.options import json_option, read_document, with_settings
from worker.config import Config
from worker.errors import Cause
from worker.spec.parse import parse
from worker.spec.pipeline import JobSpec
from worker.spec.problems import DocumentErrors, Problem


def source_name(document: str) -> str:
    """Return what messages call the document that is *document* on the command line."""
    return "standard input" if document == "-" else document


@click.command()
@click.argument("document", metavar="FILE|-")
@json_option
@with_settings()
def validate(_settings: Config, *, document: str, as_json: bool) -> int:
    """Check a job document and name every mistake at once.

    Each has its place as a JSON pointer, the reason, and what would be right. Nothing is run, and
    no store is asked; `worker plan` also looks the inputs up. Exit status 64 means mistakes.

    \b
    Examples:
      worker validate job.json
      worker validate --json - < job.yaml
    """
    text = read_document(document)
    try:
        spec = parse(text, source=source_name(document))
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
    _print_right(source_name(document), spec)
    return 0


def _problems(problems: Iterable[Problem]) -> list[dict[str, str]]:
    return [attrs.asdict(problem) for problem in problems]


def _print_right(source: str, spec: JobSpec) -> None:
    output.print_line(f"{source}: nothing wrong")
    for problem in spec.warnings:
        output.print_line(f"  warning: {problem}")
    for pointer in spec.for_scheduler:
        output.print_line(f"  for the scheduler: {pointer}")


@click.command()
@with_settings()
def schema(_settings: Config) -> None:
    """Print the JSON Schema of the job document.

    For editors: it knows every key and its type. `worker validate` knows more: the rules between
    keys, and both spellings of each.

    \b
    Examples:
      worker schema > job.schema.json
    """
    from worker.spec.fields import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
