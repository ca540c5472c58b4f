"""From the text of a job document to a `JobSpec`, or to all of its errors."""

import posixpath
from typing import Any

from worker.model import DEFAULT_BRANCH, DEFAULT_PROJECT
from worker.spec.document import DocumentErrors, Pointer, Report, read
from worker.spec.fields import DOCUMENT
from worker.spec.inputs import parse_input
from worker.spec.pipeline import (
    DEFAULT_DATUM_TRIES,
    MAX_UID,
    REPROCESS_SPECS,
    JobSpec,
    Metadata,
    Output,
    Secret,
    Transform,
    User,
)
from worker.spec.schema import Record


def parse(text: str | bytes, *, source: str = "") -> JobSpec:
    """Return the job of a document in JSON or YAML; raise `DocumentErrors` with all of its errors.

    A list of one document is this document, as for Pachyderm. *source* names the document in
    messages, for example by its file.
    """
    report, at = Report(), Pointer()
    value = read(text, report)
    if isinstance(value, list) and len(value) == 1:
        value, at = value[0], at / 0
    spec = None
    if isinstance(value, list) and value:
        report.error(at, f"found a list of {len(value)} documents", "expected one")
    elif value is not None or not report.errors:
        spec = _parse_job(value, at, report)
    if spec is None or report.errors:
        raise DocumentErrors(report.errors, source)
    return spec


def _parse_job(value: Any, at: Pointer, report: Report) -> JobSpec | None:
    record: Record = DOCUMENT.parse(value, at, report)
    if not isinstance(value, dict):
        return None
    empty = Record()
    pipeline: Record = record.get("pipeline", empty)
    project = pipeline.get("project", empty).get("name", DEFAULT_PROJECT)
    job: Record = record.get("job", empty)
    node = transform = None
    if "input" in record.values:
        node = parse_input(record.values["input"], record.pointer("input"), report, project)
    for kind in ("service", "spout"):
        if record.get("s3Out") and kind in record.pointers:
            report.error(
                record.pointer("s3Out"),
                f"`s3Out` cannot be combined with `{kind}`",
                "such a pipeline has no output commit",
            )
    if "transform" in record.values:
        transform = _parse_transform(record.values["transform"], report)
    if node is None or transform is None or report.errors:
        return None
    output: Record = job.get("output", empty)
    metadata: Record = record.get("metadata", empty)
    return JobSpec(
        project=project,
        pipeline=pipeline.get("name"),
        input=node,
        transform=transform,
        output=Output(
            project=output.get("project", project),
            repo=output.get("repo", pipeline.get("name")),
            branch=output.get("branch", record.get("outputBranch", DEFAULT_BRANCH)),
        ),
        job_id=job.get("id"),
        parent=job.get("parent"),
        s3_out=record.get("s3Out", False),
        description=record.get("description", ""),
        metadata=Metadata(metadata.get("labels", {}), metadata.get("annotations", {})),
        datum_tries=record.get("datumTries", DEFAULT_DATUM_TRIES),
        datum_timeout=record.get("datumTimeout"),
        job_timeout=record.get("jobTimeout"),
        reprocess_spec=record.get("reprocessSpec", REPROCESS_SPECS[0]),
        salt=record.get("salt", ""),
        warnings=tuple(report.warnings),
        for_scheduler=tuple(report.for_scheduler),
    )


def _parse_transform(record: Record, report: Report) -> Transform:
    cmd = record.get("cmd", ())
    if cmd and not cmd[0]:
        report.error(
            record.pointer("cmd") / 0, "the command is empty", "expected the name of a program"
        )
    if record.get("errStdin") and "errCmd" not in record.pointers:
        report.warn(record.pointer("errStdin"), "nothing reads these lines without `errCmd`")
    directory, user = record.get("workingDir"), record.get("user")
    return Transform(
        cmd=cmd,
        image=record.get("image", ""),
        stdin=record.get("stdin", ()),
        env=record.get("env", {}),
        secrets=tuple(_parse_secret(each, report) for each in record.get("secrets", ())),
        user=None if user is None else _parse_user(user, record.pointer("user"), report),
        # As in Pachyderm: a relative folder is relative to the root.
        working_dir=directory and posixpath.join("/", directory),
        accept_return_code=record.get("acceptReturnCode", ()),
        err_cmd=record.get("errCmd", ()),
        err_stdin=record.get("errStdin", ()),
        debug=record.get("debug", False),
    )


def _parse_secret(record: Record, report: Report) -> Secret:
    is_variable = "envVar" in record.pointers
    if not is_variable and "mountPath" not in record.pointers:
        report.error(
            record.at, "the secret has no destination", "expected `envVar`, `mountPath` or both"
        )
    if is_variable and "key" not in record.pointers:
        report.error(
            record.at / "key",
            "the secret has no source: a variable holds one key",
            "expected the `key` whose value `envVar` holds",
        )
    return Secret(
        name=record.get("name", ""),
        key=record.get("key"),
        env_var=record.get("envVar"),
        mount_path=record.get("mountPath"),
    )


def _parse_user(text: str, at: Pointer, report: Report) -> User:
    if not text[0].isdigit():
        return User(name=text)
    uid, *gid = (int(number) for number in text.split(":"))
    if max(uid, *gid, 0) > MAX_UID:
        report.error(at, f"found {text}", f"expected ids up to {MAX_UID}")
    return User(uid=uid, gid=gid[0] if gid else None)
