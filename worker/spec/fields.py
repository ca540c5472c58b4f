"""Fields of a job document: tables that `parse` reads and from which the JSON Schema is made."""

import json
from typing import Any

from worker.spec.inputs import (
    COMMIT,
    COMMIT_MEANS,
    DEFAULT_BRANCH,
    NAME,
    NAME_MEANS,
    NODE,
    NODE_SCHEMA,
)
from worker.spec.schema import (
    Choice,
    Duration,
    Field,
    Flag,
    Items,
    Table,
    Text,
    Texts,
    Unread,
    Whole,
    refused,
    scheduler,
)

DEFAULT_PROJECT = "default"
DEFAULT_TRIES = 3
REPROCESS = ("until_success", "every_job")
# A name as useradd takes it, or numbers up to the last but one of 32 bits, which means "no change".
USER = "[A-Za-z_][A-Za-z0-9_.-]{0,31}\\$?|[0-9]{1,10}(:[0-9]{1,10})?"
VARIABLE = "[^=]+"
# A secret and its keys are folders and files, so their names are kept to what Kubernetes allows.
SECRET_NAME = "(?!\\.\\.?$)[A-Za-z0-9._-]{1,253}"
SECRET_MEANS = "1 to 253 of A–Z, a–z, 0–9, ., _ and -"

BRANCH = Text(f"(?!{COMMIT}$){NAME}", NAME_MEANS)
LINES = Items(Text(empty=True, meaning="a line of text"), meaning="a list of lines")
ARGUMENTS = Items(Text(empty=True, meaning="an argument"), meaning="a list of arguments")

PROJECT = Table((Field("name", Text(NAME, NAME_MEANS), "the project's name", required=True),))
PIPELINE = Table(
    (
        Field("project", PROJECT, f"the project, or else `{DEFAULT_PROJECT}`"),
        Field(
            "name",
            Text(NAME, NAME_MEANS),
            "the pipeline's name, and so its output repo's",
            required=True,
        ),
    )
)
OUTPUT = Table(
    (
        Field("project", Text(NAME, NAME_MEANS), "the output repo's, or else the pipeline's"),
        Field("repo", Text(NAME, NAME_MEANS), "the output repo, or else the pipeline's name"),
        Field("branch", BRANCH, "the output branch, over `outputBranch`"),
    )
)
JOB = Table(
    (
        Field(
            "id",
            Text(COMMIT, COMMIT_MEANS),
            "the id of the job and of its output commit; the same id is the same job",
        ),
        Field("output", OUTPUT, "where the output goes"),
        Field("parent", Text(), "what the job came from, in free text or as a URL"),
    )
)
METADATA = Table(
    (
        Field("labels", Texts(), "labels, kept with the output"),
        Field("annotations", Texts(), "annotations, kept with the output"),
    )
)
SECRET = Table(
    (
        Field("name", Text(SECRET_NAME, SECRET_MEANS), "which secret", required=True),
        Field("key", Text(SECRET_NAME, SECRET_MEANS), "which of its keys; needed for `envVar`"),
        Field("envVar", Text(VARIABLE, "the name of a variable"), "the variable that holds it"),
        Field(
            "mountPath",
            Text("(?!.*/\\.\\.(/|$))/[^\\n]*", "an absolute path without .."),
            "the folder that holds it as files, one for each key",
        ),
    )
)
TRANSFORM = Table(
    (
        Field("image", Text(empty=True), "the container image of the command"),
        Field(
            "cmd",
            Items(
                Text(empty=True, meaning="an argument"),
                least=1,
                meaning='the command and its arguments, such as ["sh"]',
            ),
            "the command and its arguments; no shell reads them",
            required=True,
        ),
        Field("stdin", LINES, "the lines of its standard input"),
        Field(
            "env",
            Texts(VARIABLE, "the name of a variable, without =", private=True),
            "variables of its environment, over all others",
        ),
        Field("secrets", Items(SECRET), "secrets, as variables or files"),
        Field(
            "user",
            Text(USER, '"name", "uid" or "uid:gid"'),
            "whom it runs as: a name, a uid, or uid:gid",
        ),
        Field("workingDir", Text(), "the folder it starts in, which must exist"),
        Field(
            "acceptReturnCode",
            Items(Whole(0, 255), meaning="a list of exit codes"),
            "exit codes that count as success, beside 0",
        ),
        Field("errCmd", ARGUMENTS, "runs once after the last failing try; success recovers it"),
        Field("errStdin", LINES, "the lines of its standard input"),
        Field("debug", Flag(), "more to see in the log"),
        refused(
            "datumBatching",
            "`datumBatching` is not supported: the command is run once for each datum",
        ),
        scheduler("imagePullSecrets", "how the image is fetched"),
        scheduler("dockerfile", "how the image was made"),
        scheduler("memoryVolume", "whether scratch space is in memory"),
    )
)
DOCUMENT = Table(
    (
        Field("job", JOB, "what pins this one job; a plain pipeline spec has none"),
        Field("pipeline", PIPELINE, "the pipeline that the job is of", required=True),
        Field("description", Text(empty=True), "free text, kept with the output"),
        Field("metadata", METADATA, "labels and annotations, kept with the output"),
        Field("input", Unread(NODE_SCHEMA), "what the job reads", required=True),
        Field("transform", TRANSFORM, "the command, with at least `cmd`", required=True),
        Field("s3Out", Flag(), "write the output through the bucket s3://out, in place of files"),
        Field("outputBranch", BRANCH, f"the output branch, or else `{DEFAULT_BRANCH}`"),
        Field("datumTries", Whole(1, 1000), f"tries of a datum, or else {DEFAULT_TRIES}"),
        Field("datumTimeout", Duration(), 'how long one try may take, such as "10m"'),
        Field("jobTimeout", Duration(), "how long the job may take up to its commit"),
        Field("reprocessSpec", Choice(REPROCESS), "kept with the output"),
        Field("salt", Text(empty=True), "goes into the ids of the datums"),
        refused("service", "services are not supported: a job here ends, and has an output"),
        refused("spout", "spouts are not supported: a job here reads inputs, and ends"),
        refused("egress", "`egress` is not supported: copy what is to go out in the command"),
        refused("tfJob", "`tfJob` is not supported: give the command as `transform`"),
        scheduler("parallelismSpec", "how many workers there are"),
        scheduler("resourceRequests", "what the pod asks for"),
        scheduler("resourceLimits", "what the pod may use at most"),
        scheduler("sidecarResourceRequests", "what the sidecar asks for"),
        scheduler("sidecarResourceLimits", "what the sidecar may use at most"),
        scheduler("schedulingSpec", "on which nodes the pod may run"),
        scheduler("tolerations", "which taints of nodes the pod bears"),
        scheduler("podSpec", "changes to the pod"),
        scheduler("podPatch", "changes to the pod, as a JSON patch"),
        scheduler("autoscaling", "whether idle workers are stopped"),
        scheduler("datumSetSpec", "how datums are dealt out to workers"),
        scheduler("determined", "workspaces of Determined"),
        scheduler("update", "whether a pipeline of this name is replaced"),
        scheduler("reprocess", "whether an update runs all datums again"),
        scheduler("specCommit", "where the pipeline's own spec is kept"),
        scheduler("dryRun", "whether the pipeline is only checked"),
    )
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a job document, with both spellings of each key.

    What depends on several keys at once, such as the names of inputs, only `parse` checks.
    """
    return {
        "$schema": DIALECT,
        "title": "Job document of worker",
        **DOCUMENT.schema(),
        "$defs": {"input": {**NODE.schema(), "minProperties": 1}},
    }


def schema_text() -> str:
    """Return the schema as JSON text."""
    return json.dumps(schema(), indent=2, ensure_ascii=False)
