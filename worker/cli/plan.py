"""``plan``: what a run would do."""

import os
import uuid
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import click

from worker.cli import terminal
from worker.cli.options import RUN, job_option, json_option, read_document, with_settings
from worker.config import Config
from worker.gateway.messages import Endpoint, KeyPair
from worker.job.access import ANONYMOUS, Access
from worker.job.commands import EnvironmentTemplate, InputVariables, passed_variables
from worker.job.plan import Datum, Plan, make_plan
from worker.spec.parse import parse
from worker.store.opening import open_store
from worker.text import HIDDEN

DATUMS_SHOWN = 20
"""Datums shown on a terminal; JSON and pipes contain all."""


@click.command()
@job_option
@json_option
@with_settings(*RUN)
def plan(config: Config, *, job: str, as_json: bool) -> None:
    """Show what a run would do, and run nothing.

    Shows the commits of its inputs, its datums, its buckets, the variables of its command, and the
    fields for a scheduler. Exit status 66 means that an input does not exist.

    \b
    Examples:
      worker plan --job job.json
      worker plan --job job.yaml --json | jq .datums
    """
    text, source = read_document(job)
    spec = parse(text, source=source)
    store = open_store(config.store, config.store_options)
    found = make_plan(store, spec, job=spec.job_id or uuid.uuid4().hex)
    variables = command_environment(config, found)
    if as_json:
        shown = {**found.to_json(), "runtime": config.runtime, "environment": variables}
        terminal.print_json(shown | ({} if spec.job_id else {"job": None}))
        return
    _print_plan(config, found, variables)


def command_environment(config: Config, found: Plan) -> dict[str, str]:
    """Return the variables of the first datum's command, without those passed from the agent.

    A value that is only known in a run is a word in angle brackets; secrets are not read.
    """
    datum = next(found.datums(), None) if found.published is None else None
    if datum is None:
        return {}
    spec, gateway = found.spec, config.gateway
    access = None
    if spec.serves_s3:
        scheme = "http" if gateway.tls == "off" else "https"
        url = f"{scheme}://{gateway.host}:{gateway.port or '<port>'}"
        keys = KeyPair("<access key>", HIDDEN) if gateway.authenticated else ANONYMOUS
        access = Access(Endpoint(gateway.host, gateway.port, url), keys)
    template = EnvironmentTemplate(
        base={},
        job=spec.job_id or "<id>",
        pipeline=spec.pipeline,
        project=spec.project,
        access=access,
        client_hints=config.client_hints,
        secrets={s.env_var: HIDDEN for s in spec.transform.secrets if s.env_var},
        spec=spec.transform.env,
    )
    variables = template.render(datum=datum.id, inputs=_input_variables(config, datum))
    passed = passed_variables({})
    return {name: value for name, value in variables.items() if passed.get(name) != value}


def _input_variables(config: Config, datum: Datum) -> Iterator[InputVariables]:
    chosen = config.pfs_root if config.runtime == "process" else None
    root = chosen or Path("/pfs")
    for selection in datum.selections:
        spec = selection.input.spec
        path = "" if spec.s3 else selection.match.path.lstrip("/")
        yield InputVariables(spec.name, root / spec.name / path, selection.input.commit.name.id)


def _print_plan(config: Config, found: Plan, variables: Mapping[str, str]) -> None:
    document = found.to_json()
    spec = found.spec
    terminal.print_facts(
        [
            ("pipeline", f"{spec.project}/{spec.pipeline}"),
            ("job", spec.job_id or "generated when it runs"),
            ("output", document["output"]),
            (
                "published",
                f"{found.published.name}, so a run would do nothing" if found.published else "",
            ),
            ("command", " ".join(spec.transform.cmd)),
            ("runtime", _runtime(config, spec.transform.image)),
            ("tries", f"{spec.datum_tries} for each datum"),
            ("limits", ", ".join(_limits(document))),
        ]
    )
    if found.inputs:
        _print_inputs(document, found)
    if variables:
        _print_environment(config, variables)
    for heading, lines in (
        ("For the scheduler", document["for_scheduler"]),
        ("Warnings", document["warnings"]),
    ):
        if lines:
            terminal.print_title(heading)
            for line in lines:
                terminal.print_line(line)


def _runtime(config: Config, image: str) -> str:
    if config.runtime == "process":
        return "process" + (f"; the image {image} is recorded" if image else "")
    return f"{config.runtime}, in {image}"


def _limits(document: Mapping[str, Any]) -> Iterator[str]:
    for name, words in (("datum_timeout", "a datum"), ("job_timeout", "the job")):
        if document[name] is not None:
            yield f"{terminal.format_seconds(document[name])} for {words}"


def _print_inputs(document: Mapping[str, Any], found: Plan) -> None:
    terminal.print_title("Inputs")
    terminal.print_table(
        ("name", "commit", "branch", "as", "files", "size"),
        [
            (
                each["name"],
                each["commit"],
                each["branch"],
                "bucket" if each["s3"] else f"files {each['glob']}",
                terminal.format_integer(each["files"]),
                terminal.format_size(each["size"]) if terminal.is_terminal() else str(each["size"]),
            )
            for each in document["inputs"]
        ],
        right=("files", "size"),
    )
    terminal.print_title("Buckets")
    terminal.print_table(
        ("bucket", "access"), [(f"s3://{n}", what) for n, what in document["buckets"].items()]
    )
    terminal.print_title(f"Datums: {found.count:,}")
    shown = DATUMS_SHOWN if terminal.is_terminal() else None
    terminal.print_table(
        ("number", "id", "paths"),
        [
            (
                str(datum.number),
                datum.id[:12] if terminal.is_terminal() else datum.id,
                "  ".join(f"{name}:{path}" for name, path in datum.paths.items()),
            )
            for datum in islice(found.datums(), shown)
        ],
        right=("number",),
    )
    if shown is not None and found.count > shown:
        terminal.print_line(f"… and {found.count - shown:,} more; --json lists them all")


def _print_environment(config: Config, variables: Mapping[str, str]) -> None:
    terminal.print_title("Environment")
    for name, value in sorted(variables.items()):
        terminal.print_line(f"{name}={value}")
    kept = sorted(passed_variables(os.environ, config.pass_environment))
    terminal.print_line(f"and of the agent's environment: {', '.join(kept)}")
