"""``plan``: resolve the inputs of a job and show what a run would do."""

import os
import uuid
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import click

from worker.cli import terminal as output
from worker.cli.options import RUN, job_document, json_option, read_job, with_settings
from worker.cli.planned_environment import PlannedEnvironment, planned_environment
from worker.config import Config
from worker.job.hidden import secret_variables
from worker.job.paths import PFS, CommandPaths, planned_paths
from worker.job.plan import Plan, make_plan, open_job_store
from worker.job.recorded import recorded_document
from worker.redaction import hide

DATUMS_SHOWN = 20
"""Datums that are listed on a terminal. Pipes get all of them, and JSON as many as fit into it."""


@click.command()
@job_document
@json_option
@with_settings(*RUN)
def plan(settings: Config, *, job: str, as_json: bool) -> None:
    """Show what a run would do, without running it.

    Lists the current commits of the inputs, the datums, the buckets, all variables of the command,
    and the keys that only a scheduler can honor. The exit status is 66 if an input is missing.

    \b
    Examples:
      worker plan --job job.json
      worker plan --job job.yaml --json | jq .datums
    """
    spec = read_job(job)
    hide(value for _, value in secret_variables(spec, settings, os.environ))
    store = open_job_store(settings, spec)
    found = make_plan(store, spec, job=spec.job_id or uuid.uuid4().hex)
    paths = planned_paths(settings, spec) if found.published is None else CommandPaths(PFS, PFS)
    environment = planned_environment(settings, found, paths.shown, os.environ)
    document = recorded_document(found.to_json())
    document["warnings"] += paths.warnings
    if as_json:
        shown = {
            **document,
            "runtime": settings.runtime,
            "environment": environment.variables,
            "passed_environment": environment.passed,
        }
        output.print_json(shown | ({} if spec.job_id else {"job": None}))
        return
    _print_plan(settings, found, document, paths, environment)


def _print_plan(
    settings: Config,
    found: Plan,
    document: Mapping[str, Any],
    paths: CommandPaths,
    environment: PlannedEnvironment,
) -> None:
    spec = found.spec
    output.print_facts(
        [
            ("pipeline", f"{spec.project}/{spec.pipeline}"),
            ("job", spec.job_id or "a new id for each run"),
            ("output", document["output"]),
            (
                "published",
                f"{found.published.name}: a run does nothing" if found.published else "",
            ),
            ("command", " ".join(document["command"])),
            ("runtime", _runtime(settings, spec.transform.image)),
            ("files", _files(found, paths)),
            ("tries", f"{spec.datum_tries} per datum"),
            ("limits", ", ".join(_limits(document))),
        ]
    )
    if found.inputs:
        _print_inputs(document, found)
    if environment.variables:
        _print_environment(environment, found.count)
    for heading, lines in (
        ("For the scheduler", document["for_scheduler"]),
        ("Warnings", document["warnings"]),
    ):
        if lines:
            output.print_title(heading)
            for line in lines:
                output.print_line(line)


def _runtime(settings: Config, image: str) -> str:
    if settings.runtime == "process":
        return "process" + (f"; the image {image} is recorded and not used" if image else "")
    return f"{settings.runtime}, in {image}"


def _files(found: Plan, paths: CommandPaths) -> str:
    """Return where the command finds its files, if it has any."""
    if found.published is not None or not found.spec.has_files:
        return ""
    if paths.shown != PFS:
        return f"{paths.shown}; none are at {PFS}"
    is_mount = PFS in (mount.target for mount in paths.mounts)
    return f"{PFS}, a private mount of the command" if is_mount else str(PFS)


def _limits(document: Mapping[str, Any]) -> Iterator[str]:
    for name, scope in (("datum_timeout", "per datum"), ("job_timeout", "for the job")):
        if document[name] is not None:
            yield f"{output.duration(document[name])} {scope}"


def _print_inputs(document: Mapping[str, Any], found: Plan) -> None:
    output.print_title("Inputs")
    output.print_table(
        ("name", "commit", "branch", "as", "files", "size"),
        [
            (
                each["name"],
                each["commit"],
                each["branch"],
                "bucket" if each["s3"] else f"files {each['glob']}",
                output.integer(each["files"]),
                output.size(each["size"]) if output.on_terminal() else str(each["size"]),
            )
            for each in document["inputs"]
        ],
        right=("files", "size"),
    )
    if document["buckets"]:
        output.print_title("Buckets")
        output.print_table(
            ("bucket", "access"),
            [(f"s3://{name}", access) for name, access in document["buckets"].items()],
        )
    output.print_title(f"Datums: {found.count:,}")
    shown = DATUMS_SHOWN if output.on_terminal() else None
    output.print_table(
        ("number", "id", "paths"),
        [
            (
                str(datum.number),
                datum.id[:12] if output.on_terminal() else datum.id,
                "  ".join(f"{name}:{path}" for name, path in datum.paths.items()),
            )
            for datum in islice(found.datums(), shown)
        ],
        right=("number",),
    )
    if shown is not None and found.count > shown:
        output.print_line(f"… and {found.count - shown:,} more; --json lists them")


def _print_environment(environment: PlannedEnvironment, datums: int) -> None:
    output.print_title("Environment" if datums == 1 else "Environment of the first datum")
    for name, value in sorted(environment.variables.items()):
        output.print_line(f"{name}={value}")
    output.print_facts([("as the worker", ", ".join(environment.passed))])
