"""The fields of a job document, table by table, and the JSON Schema made from them.

A new field is a row here, a value in `pipeline`, and a row in ``docs/job.md``.
"""

from collections.abc import Mapping
from typing import Any

from worker.model import (
    COMMIT_ID,
    COMMIT_ID_EXPECTED,
    DEFAULT_BRANCH,
    DEFAULT_PROJECT,
    NAME,
    NAME_EXPECTED,
)
from worker.spec.image import IMAGE, IMAGE_EXPECTED
from worker.spec.pipeline import DEFAULT_DATUM_TRIES, REPROCESS_SPECS
from worker.spec.schema import (
    Anything,
    Array,
    Boolean,
    Duration,
    Enumeration,
    Field,
    Integer,
    Object,
    String,
    StringMap,
)
from worker.spec.variables import VARIABLE, VARIABLE_EXPECTED

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NODE_SCHEMA: Mapping[str, Any] = {"$ref": "#/$defs/input"}

# A login name as useradd(8) accepts it, or numeric ids.
USER_PATTERN = "[A-Za-z_][A-Za-z0-9_.-]{0,31}\\$?|[0-9]{1,10}(:[0-9]{1,10})?"

NAMED = String(NAME.pattern, NAME_EXPECTED)
COMMIT = String(COMMIT_ID.pattern, COMMIT_ID_EXPECTED)
BRANCH = String(f"(?!{COMMIT_ID.pattern}$){NAME.pattern}", f"{NAME_EXPECTED}; not a commit id")
# A secret and its keys are a folder and its files, so both are limited to what Kubernetes allows as
# a key of a Secret.
# Messages repeat nothing of a secret: its value may be where its name is expected.
SECRET_NAMED = String(
    "(?!\\.\\.?$)[A-Za-z0-9._-]{1,253}", "1 to 253 of A–Z, a–z, 0–9, ., _ and -", private=True
)
FREE_TEXT = String(empty=True)
LINES = Array(String(empty=True, meaning="a line of text"), meaning="a list of lines")
ARGUMENTS = Array(String(empty=True, meaning="an argument"), meaning="a list of arguments")

PROJECT = Object((Field("name", NAMED, f"the project's name; default `{DEFAULT_PROJECT}`"),))
PIPELINE = Object(
    (
        Field("project", PROJECT, f"the project; default `{DEFAULT_PROJECT}`"),
        Field("name", NAMED, "the name of the pipeline and of its output repo", required=True),
    )
)
OUTPUT = Object(
    (
        Field("project", NAMED, "project of the output repo; default: the pipeline's"),
        Field("repo", NAMED, "output repo; default: the pipeline's name"),
        Field("branch", BRANCH, "output branch; takes precedence over `outputBranch`"),
    )
)
JOB = Object(
    (
        Field("id", COMMIT, "id of the job and of its output commit; the same id is the same job"),
        Field("output", OUTPUT, "the branch that the output is committed to"),
        Field("parent", String(), "origin of the job, as free text or a URL"),
    )
)
METADATA = Object(
    (
        Field("labels", StringMap(), "labels, recorded with the output"),
        Field("annotations", StringMap(), "annotations, recorded with the output"),
    )
)
SECRET = Object(
    (
        Field("name", SECRET_NAMED, "the name of the secret", required=True),
        Field("key", SECRET_NAMED, "key of the secret; required with `envVar`"),
        Field(
            "envVar", String(VARIABLE, VARIABLE_EXPECTED, private=True), "variable that holds it"
        ),
        Field(
            "mountPath",
            String("(?!.*/\\.\\.(/|$))/[^\\n]*", "an absolute path without ..", private=True),
            "folder that holds it, one file for each key",
        ),
    ),
    private=True,
)
TRANSFORM = Object(
    (
        Field(
            "image",
            String(f"(?:{IMAGE})?", IMAGE_EXPECTED, empty=True),
            "container image of the command",
        ),
        Field(
            "cmd",
            Array(
                String(empty=True, meaning="an argument"),
                least=1,
                meaning='the command and its arguments, such as ["sh"]',
            ),
            "the command and its arguments; no shell interprets them",
            required=True,
        ),
        Field("stdin", LINES, "lines of its standard input"),
        Field(
            "env",
            StringMap(VARIABLE, VARIABLE_EXPECTED, private=True),
            "environment variables; they take precedence over all others",
        ),
        Field("secrets", Array(SECRET, private=True), "secrets, as variables or files"),
        Field("user", String(USER_PATTERN, '"name", "uid" or "uid:gid"'), "user it runs as"),
        Field("workingDir", String(), "folder it starts in, which must exist"),
        Field(
            "acceptReturnCode",
            Array(Integer(0, 255), meaning="a list of exit codes"),
            "exit codes that count as success, in addition to 0",
        ),
        Field("errCmd", ARGUMENTS, "runs once after the last failed try; success recovers it"),
        Field("errStdin", LINES, "lines of the standard input of `errCmd`"),
        Field("debug", Boolean(), "log the command and the names of its variables before each try"),
        Field(
            "datumBatching",
            rejected="`datumBatching` is not supported: the command runs once for each datum",
        ),
        Field("imagePullSecrets", about="secrets to pull the image with", for_scheduler=True),
        Field("dockerfile", about="how the image was built", for_scheduler=True),
        Field("memoryVolume", about="whether scratch space is in memory", for_scheduler=True),
    )
)

REQUIRES_JOIN = "has a meaning only below `join` or `group`, which are not supported"
PFS = Object(
    (
        Field("project", NAMED, "project of the repo; default: the pipeline's"),
        Field("repo", NAMED, "the repo to read", required=True),
        Field(
            "branch",
            String(BRANCH.pattern, f"{NAME_EXPECTED}; a commit is pinned by `commit`"),
            f"branch whose head is read; default `{DEFAULT_BRANCH}`",
        ),
        Field("commit", COMMIT, "commit to read instead of the head"),
        Field("name", FREE_TEXT, "name of the bucket, folder and variable; default: the repo's"),
        Field("glob", FREE_TEXT, 'paths that are one datum each; always "/" with `s3`'),
        Field("s3", Boolean(), "serve the commit as the bucket s3://<name> instead of files"),
        Field("emptyFiles", Boolean(), "materialize the files without content"),
        Field("lazy", Boolean(), "rejected when true"),
        Field("outerJoin", Boolean(), "rejected when true"),
        Field("joinOn", rejected=f"`joinOn` {REQUIRES_JOIN}"),
        Field("groupBy", rejected=f"`groupBy` {REQUIRES_JOIN}"),
        Field("reference", Boolean(), "leave the input out of the ids of the datums"),
        Field("repoType", String("user", "`user`, the only supported type"), "`user`"),
        Field("trigger", about="when a new commit starts a job", for_scheduler=True),
        Field("propagationSpec", about="whether a new commit starts a job", for_scheduler=True),
    )
)
UNSUPPORTED_NODES = ("join", "group", "union", "cron")
NODE = Object(
    (
        Field("pfs", PFS, "a repo of the store"),
        Field(
            "cross",
            Anything({"type": "array", "minItems": 1, "items": NODE_SCHEMA}),
            "the product of its parts",
        ),
        *(Field(kind, Anything({"type": "null"}), "not supported") for kind in UNSUPPORTED_NODES),
    )
)

MESSAGE = Object(())
"""A message of Pachyderm that is rejected also if it is empty: it changes the kind of pipeline."""
SCHEDULER_FIELDS: Mapping[str, str] = {
    "parallelismSpec": "number of workers",
    "resourceRequests": "resources that the pod requests",
    "resourceLimits": "limits of the pod",
    "sidecarResourceRequests": "resources that the sidecar requests",
    "sidecarResourceLimits": "limits of the sidecar",
    "schedulingSpec": "nodes on which the pod may run",
    "tolerations": "taints of nodes that the pod tolerates",
    "podSpec": "changes to the pod",
    "podPatch": "changes to the pod, as a JSON patch",
    "autoscaling": "whether idle workers are stopped",
    "datumSetSpec": "how datums are distributed to workers",
    "determined": "workspaces of Determined",
    "update": "whether an existing pipeline of this name is replaced",
    "reprocess": "whether an update processes all datums again",
    "specCommit": "commit that holds the pipeline's own spec",
    "dryRun": "whether the pipeline is only checked",
    "maximumExpectedUptime": "how long a worker may run before an alert",
}
DOCUMENT = Object(
    (
        Field("job", JOB, "pins one job; a plain pipeline spec has none"),
        Field("pipeline", PIPELINE, "the pipeline of the job", required=True),
        Field("description", FREE_TEXT, "free text, recorded with the output"),
        Field("metadata", METADATA, "labels and annotations, recorded with the output"),
        Field("input", Anything(NODE_SCHEMA), "the inputs of the job", required=True),
        Field("transform", TRANSFORM, "the command, with at least `cmd`", required=True),
        Field("s3Out", Boolean(), "write the output through the bucket s3://out, not as files"),
        Field("outputBranch", BRANCH, f"output branch; default `{DEFAULT_BRANCH}`"),
        Field("datumTries", Integer(1, 1000), f"tries of a datum; default {DEFAULT_DATUM_TRIES}"),
        Field("datumTimeout", Duration(), 'limit for one try, such as "10m"'),
        Field("jobTimeout", Duration(), "limit for the job up to its commit"),
        Field("reprocessSpec", Enumeration(REPROCESS_SPECS), "recorded with the output"),
        Field("salt", FREE_TEXT, "part of the ids of the datums"),
        Field(
            "service", MESSAGE, rejected="services are not supported: a job ends and has an output"
        ),
        Field("spout", MESSAGE, rejected="spouts are not supported: a job reads inputs and ends"),
        Field(
            "egress", MESSAGE, rejected="`egress` is not supported: copy the output in the command"
        ),
        Field(
            "tfJob", MESSAGE, rejected="`tfJob` is not supported: give the command as `transform`"
        ),
        *(Field(name, about=about, for_scheduler=True) for name, about in SCHEDULER_FIELDS.items()),
    )
)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a job document, with both spellings of each key.

    Rules that involve several keys, such as those for the names of inputs, are checked by `parse`
    only.
    """
    return {
        "$schema": DIALECT,
        "title": "Job document of worker",
        **DOCUMENT.json_schema(),
        "$defs": {"input": {**NODE.json_schema(), "minProperties": 1}},
    }
