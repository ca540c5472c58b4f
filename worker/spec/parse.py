"""A job document as a whole: from its text to a `JobSpec`, or to all of its mistakes."""

import posixpath
import re
from typing import Any

from worker.spec.document import DocumentErrors, Place, Report, read
from worker.spec.fields import DEFAULT_PROJECT, DEFAULT_TRIES, DOCUMENT, REPROCESS
from worker.spec.inputs import DEFAULT_BRANCH, read_input
from worker.spec.pipeline import JobSpec, Metadata, Output, Secret, Transform, User
from worker.spec.schema import Record

MAX_UID = 2**32 - 2  # the last of 32 bits means "no change"


def parse(text: str | bytes, *, source: str = "") -> JobSpec:
    """Return the job that *text* (JSON or YAML) asks for; raise `DocumentErrors` with all faults.

    *source* is what the messages call the document: a file's name, mostly.
    """
    report = Report()
    value = read(text, report)
    spec = None if value is None and report.errors else _read_job(value, report)
    if spec is None or report.errors:
        raise DocumentErrors(report.errors, source)
    return spec


def _read_job(value: Any, report: Report) -> JobSpec | None:
    record: Record = DOCUMENT.read(value, Place(), report)
    if not isinstance(value, dict):
        return None
    nothing = Record(Place(), {}, {})
    pipeline: Record = record.get("pipeline", nothing)
    project = pipeline.get("project", nothing).get("name", DEFAULT_PROJECT)
    job: Record = record.get("job", nothing)
    node = None
    if "input" in record.values:
        node = read_input(record.values["input"], record.place("input"), report, project)
    _check_output(record, report)
    transform = None
    if "transform" in record.values:
        transform = _read_transform(record.values["transform"], report)
    if node is None or transform is None or report.errors:
        return None
    output: Record = job.get("output", nothing)
    metadata: Record = record.get("metadata", nothing)
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
        datum_tries=record.get("datumTries", DEFAULT_TRIES),
        datum_timeout=record.get("datumTimeout"),
        job_timeout=record.get("jobTimeout"),
        reprocess_spec=record.get("reprocessSpec", REPROCESS[0]),
        salt=record.get("salt", ""),
        warnings=tuple(report.warnings),
        for_scheduler=tuple(report.for_scheduler),
    )


def _check_output(record: Record, report: Report) -> None:
    for kind in ("service", "spout"):
        if record.get("s3Out") and kind in record.places:
            report.error(
                record.place("s3Out"),
                f"`s3Out` cannot go with `{kind}`",
                "such a pipeline has no output commit that a bucket could become",
            )


def _read_transform(record: Record, report: Report) -> Transform:
    cmd = record.get("cmd", ())
    if cmd and not cmd[0]:
        report.error(record.place("cmd") / 0, "the command is empty", "expected a program's name")
    if record.get("errStdin") and "errCmd" not in record.places:
        report.warn(record.place("errStdin"), "without `errCmd` nothing reads these lines")
    directory = record.get("workingDir")
    return Transform(
        cmd=cmd,
        image=record.get("image", ""),
        stdin=record.get("stdin", ()),
        env=record.get("env", {}),
        secrets=tuple(_read_secret(each, report) for each in record.get("secrets", ())),
        user=_read_user(record, report),
        # As Pachyderm does: a relative folder is one below the root.
        working_dir=directory and posixpath.join("/", directory),
        accept_return_code=record.get("acceptReturnCode", ()),
        err_cmd=record.get("errCmd", ()),
        err_stdin=record.get("errStdin", ()),
        debug=record.get("debug", False),
    )


def _read_secret(record: Record, report: Report) -> Secret:
    variable = "envVar" in record.places
    if not variable and "mountPath" not in record.places:
        report.error(record.at, "the secret goes nowhere", "expected `envVar`, `mountPath` or both")
    if variable and "key" not in record.places:
        report.error(
            record.at / "key",
            "the secret has no source: a variable holds one key of it",
            "expected the `key` that `envVar` is taken from",
        )
    return Secret(
        name=record.get("name", ""),
        key=record.get("key"),
        env_var=record.get("envVar"),
        mount_path=record.get("mountPath"),
    )


def _read_user(record: Record, report: Report) -> User | None:
    text: str | None = record.get("user")
    if text is None or not re.match("[0-9]", text):
        return User(name=text) if text else None
    uid, *gid = (int(number) for number in text.split(":"))
    if max(uid, *gid, 0) > MAX_UID:
        report.error(record.place("user"), f"found {text}", f"expected ids up to {MAX_UID}")
    return User(uid=uid, gid=gid[0] if gid else None)
