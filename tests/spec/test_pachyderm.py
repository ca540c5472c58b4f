"""Pipeline specs of Pachyderm, release 2.12: each key, and documents as its users write them."""

import copy
import json
import re
from typing import Any

import pytest

from worker.spec.document import DocumentErrors
from worker.spec.parse import parse

HONOURED, SCHEDULER, REJECTED, ACCEPTED = "honoured", "for the scheduler", "rejected", "accepted"
"""Accepted is a key whose only supported value is the default."""

DOCUMENT: dict[str, Any] = {
    "pipeline": {"name": "p"},
    "input": {"pfs": {"repo": "r", "glob": "/*"}},
    "transform": {"cmd": ["true"], "secrets": [{"name": "s", "mountPath": "/s"}]},
}
RESOURCES = {"cpu": 0.5, "memory": "64M", "gpu": {"type": "nvidia.com/gpu", "number": "1"}}
PFS = "input/pfs/"
# The keys of CreatePipelineRequest and its messages in pps.proto, with a value that Pachyderm
# accepts.
KEYS = {
    "pipeline": ({"name": "q"}, HONOURED),
    "pipeline/project": ({"name": "q"}, HONOURED),
    "pipeline/project/name": ("q", HONOURED),
    "pipeline/name": ("q", HONOURED),
    "tf_job": ({"tfJob": "{}"}, REJECTED),
    "transform": ({"cmd": ["false"]}, HONOURED),
    "parallelism_spec": ({"constant": "4"}, SCHEDULER),
    "egress": ({"URL": "s3://bucket/dir"}, REJECTED),
    "update": (True, SCHEDULER),
    "output_branch": ("dev", HONOURED),
    "s3_out": (True, HONOURED),
    "resource_requests": (RESOURCES, SCHEDULER),
    "resource_limits": (RESOURCES, SCHEDULER),
    "sidecar_resource_limits": (RESOURCES, SCHEDULER),
    "sidecar_resource_requests": (RESOURCES, SCHEDULER),
    "input": ({"pfs": {"repo": "s", "glob": "/"}}, HONOURED),
    "description": ("text", HONOURED),
    "reprocess": (True, SCHEDULER),
    "service": ({"internalPort": 80, "externalPort": 30080}, REJECTED),
    "spout": ({"service": {"internalPort": 80}}, REJECTED),
    "datum_set_spec": ({"number": "1", "sizeBytes": "2", "perWorker": "3"}, SCHEDULER),
    "datum_timeout": ("600s", HONOURED),
    "job_timeout": ("3600.500s", HONOURED),
    "salt": ("salt", HONOURED),
    "datum_tries": ("5", HONOURED),
    "scheduling_spec": ({"nodeSelector": {"a": "b"}, "priorityClassName": "high"}, SCHEDULER),
    "pod_spec": ('{"hostNetwork": true}', SCHEDULER),
    "pod_patch": ('[{"op": "add", "path": "/x", "value": 1}]', SCHEDULER),
    "spec_commit": ({"id": "0" * 32}, SCHEDULER),
    "metadata": ({"labels": {"a": "b"}}, HONOURED),
    "metadata/annotations": ({"a": "b"}, HONOURED),
    "metadata/labels": ({"a": "b"}, HONOURED),
    "reprocess_spec": ("every_job", HONOURED),
    "autoscaling": (True, SCHEDULER),
    "tolerations": ([{"key": "k", "operator": "EXISTS", "effect": "NO_SCHEDULE"}], SCHEDULER),
    "dry_run": (True, SCHEDULER),
    "determined": ({"workspaces": ["w"]}, SCHEDULER),
    "maximum_expected_uptime": ("60s", SCHEDULER),
    "transform/image": ("python:3.12", HONOURED),
    "transform/cmd": (["sh", ""], HONOURED),
    "transform/err_cmd": (["true"], HONOURED),
    "transform/env": ({"A": ""}, HONOURED),
    "transform/secrets": ([{"name": "t", "envVar": "T", "key": "k"}], HONOURED),
    "transform/secrets/0/name": ("t", HONOURED),
    "transform/secrets/0/key": ("k", HONOURED),
    "transform/secrets/0/mount_path": ("/t", HONOURED),
    "transform/secrets/0/env_var": ("T", REJECTED),
    "transform/image_pull_secrets": (["registry"], SCHEDULER),
    "transform/stdin": (["a", ""], HONOURED),
    "transform/err_stdin": (["a"], HONOURED),
    "transform/accept_return_code": (["3"], HONOURED),
    "transform/debug": (True, HONOURED),
    "transform/user": ("1000", HONOURED),
    "transform/working_dir": ("/w", HONOURED),
    "transform/dockerfile": ("Dockerfile", SCHEDULER),
    "transform/memory_volume": (True, SCHEDULER),
    "transform/datum_batching": (True, REJECTED),
    "input/pfs": ({"repo": "s", "glob": "/"}, HONOURED),
    "input/join": ([{"pfs": {"repo": "s", "glob": "/(*)"}}], REJECTED),
    "input/group": ([{"pfs": {"repo": "s", "glob": "/(*)"}}], REJECTED),
    "input/cross": ([{"pfs": {"repo": "s", "glob": "/"}}], HONOURED),
    "input/union": ([{"pfs": {"repo": "s", "glob": "/"}}], REJECTED),
    "input/cron": ({"name": "tick", "spec": "@every 60s"}, REJECTED),
    PFS + "project": ("q", HONOURED),
    PFS + "name": ("n", HONOURED),
    PFS + "repo": ("s", HONOURED),
    PFS + "repo_type": ("user", ACCEPTED),
    PFS + "branch": ("b", HONOURED),
    PFS + "commit": ("0" * 32, HONOURED),
    PFS + "glob": ("/", HONOURED),
    PFS + "join_on": ("$1", REJECTED),
    PFS + "outer_join": (True, REJECTED),
    PFS + "group_by": ("$1", REJECTED),
    PFS + "lazy": (True, REJECTED),
    PFS + "empty_files": (True, HONOURED),
    PFS + "s3": (False, ACCEPTED),
    PFS + "trigger": ({"size": "1K", "all": True}, SCHEDULER),
    PFS + "propagation_spec": ({"never": True}, SCHEDULER),
    PFS + "reference": (True, HONOURED),
}


def camel(name: str) -> str:
    return re.sub("_([a-z0-9])", lambda found: found[1].upper(), name)


def document_with(path: str, value: object) -> dict[str, Any]:
    """Return a valid document with *value* at *path*, which replaces another kind of input."""
    document = copy.deepcopy(DOCUMENT)
    *steps, name = path.split("/")
    node: Any = document
    for step in steps:
        node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
    if steps == ["input"]:
        node.clear()
    if name in ("mount_path", "mountPath"):
        del node["mountPath"]
    node[name] = value
    return document


@pytest.mark.parametrize("spelling", [str, camel], ids=["snake_case", "camelCase"])
@pytest.mark.parametrize(("path", "value", "outcome"), [(k, *KEYS[k]) for k in KEYS], ids=KEYS)
def test_every_key_is_honoured_or_for_the_scheduler_or_rejected_by_name(
    path, value, outcome, spelling
):
    """None is unknown, and none is read and forgotten."""
    *steps, name = path.split("/")
    path = "/".join([*steps, spelling(name)])
    text = json.dumps(document_with(path, value))
    plain = parse(json.dumps(DOCUMENT))
    if outcome is REJECTED:
        with pytest.raises(DocumentErrors) as caught:
            parse(text)
        for problem in caught.value.problems:
            # A variable of a secret without a key points at the key that is missing.
            assert problem.pointer.startswith((f"/{path}", "/transform/secrets/0/key"))
            assert "unknown" not in problem.reason
        return
    spec = parse(text)

    assert ((f"/{path}",) if outcome is SCHEDULER else ()) == spec.for_scheduler
    changed = (spec.document, spec.inputs, spec.output) != (
        plain.document,
        plain.inputs,
        plain.output,
    )
    assert changed == (outcome is HONOURED)


@pytest.mark.parametrize("path", [path for path in KEYS if KEYS[path][1] is SCHEDULER])
def test_keys_for_the_scheduler_may_have_any_value(path):
    """Their values are not those of this program to check."""
    assert (f"/{path}",) == parse(json.dumps(document_with(path, {"new": [1]}))).for_scheduler


@pytest.mark.parametrize("key", ["service", "spout", "egress", "tfJob"])
def test_an_empty_message_that_changes_the_kind_of_pipeline_is_rejected(key):
    """Protocol buffers distinguish it from none: `"spout": {}` is a spout."""
    with pytest.raises(DocumentErrors) as caught:
        parse(json.dumps({**DOCUMENT, key: {}}))

    assert [f"/{key}"] == [problem.pointer for problem in caught.value.problems]
    assert parse(json.dumps(DOCUMENT)) == parse(json.dumps({**DOCUMENT, key: None}))


@pytest.mark.parametrize("project", [None, {}, {"name": ""}, {"name": "default"}])
def test_a_project_without_a_name_is_the_default(project):
    document = document_with("pipeline/project", project)

    assert parse(json.dumps(DOCUMENT)) == parse(json.dumps(document))


@pytest.mark.parametrize(
    ("value", "tries"), [("3", 3), (4.0, 4), ("5.0", 5), (0, 3), ("0", 3), (0.0, 3)], ids=repr
)
def test_integers_are_read_as_protocol_buffers_read_them(value, tries):
    assert tries == parse(json.dumps({**DOCUMENT, "datumTries": value})).datum_tries


@pytest.mark.parametrize("value", [3.5, "3.5", float("nan"), "1.", "-1.0"], ids=repr)
def test_other_numbers_are_no_integers(value):
    with pytest.raises(DocumentErrors):
        parse(json.dumps({**DOCUMENT, "datumTries": value}))


def test_the_schema_of_an_editor_is_ignored_in_every_object():
    """`$schema` is how editors find the JSON Schema; Pachyderm removes it as well."""
    document = copy.deepcopy(DOCUMENT)
    for node in (document, document["pipeline"], document["input"]["pfs"], document["transform"]):
        node["$schema"] = "https://example.com/CreatePipelineRequest.schema.json"

    assert parse(json.dumps(DOCUMENT)) == parse(json.dumps(document))


def test_a_list_of_one_document_is_this_document():
    """Its pointers start with the index."""
    assert parse(json.dumps(DOCUMENT)) == parse(json.dumps([DOCUMENT]))
    with pytest.raises(DocumentErrors) as caught:
        parse(json.dumps([{**DOCUMENT, "spout": {}}]))

    assert "/0/spout" == caught.value.problems[0].pointer


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(json.dumps([DOCUMENT] * 3), "a list of 3 documents", id="list"),
        pytest.param(f"{json.dumps(DOCUMENT)}\n" * 2, "several documents", id="JSON"),
        pytest.param(f"---\n{json.dumps(DOCUMENT)}\n" * 2, "several documents", id="YAML"),
    ],
)
def test_several_documents_are_rejected(text, reason):
    with pytest.raises(DocumentErrors) as caught:
        parse(text)

    (problem,) = caught.value.problems
    assert reason in problem.reason


@pytest.mark.parametrize(
    ("fields", "branch"),
    [
        ({"trigger": {"size": "1K"}}, "master"),
        ({"trigger": {"branch": "staging"}}, "staging"),
        ({"trigger": {"branch": ""}}, "master"),
        ({"trigger": {"branch": "staging"}, "branch": "b"}, "b"),
        ({"trigger": 5}, "master"),
    ],
    ids=json.dumps,
)
def test_an_input_with_a_trigger_and_no_branch_reads_the_branch_of_the_trigger(fields, branch):
    """Pachyderm makes a branch that the trigger moves to the head of this one."""
    document = {**DOCUMENT, "input": {"pfs": {"repo": "r", "glob": "/", **fields}}}

    assert branch == parse(json.dumps(document)).inputs[0].branch


# Shapes of the documents in Pachyderm's examples and in its own tests.
ACCEPTED_DOCUMENTS = {
    "the smallest": """
        {"pipeline": {"name": "edges"}, "transform": {"cmd": ["python3", "/e.py"], "image": "i"},
         "input": {"pfs": {"repo": "images", "glob": "/*"}}}""",
    "a project and a description": """
        {"pipeline": {"name": "edges", "project": {"name": "video-to-frame"}},
         "description": "Detects edges.", "transform": {"cmd": ["x"]},
         "input": {"pfs": {"project": "other", "repo": "images", "glob": "/"}}}""",
    "a cross with names": """
        {"pipeline": {"name": "model"}, "transform": {"cmd": ["bash"], "stdin": ["a", "b"]},
         "input": {"cross": [{"pfs": {"glob": "/", "repo": "train"}},
                             {"pfs": {"glob": "/*", "repo": "c-parameters"}},
                             {"pfs": {"glob": "/*", "name": "gamma", "repo": "g-parameters"}}]}}""",
    "resources": """
        {"pipeline": {"name": "train"}, "transform": {"image": "i:1", "cmd": ["/bin/bash"]},
         "input": {"pfs": {"repo": "tweets", "glob": "/*"}}, "autoscaling": true,
         "resource_limits": {"gpu": {"type": "nvidia.com/gpu", "number": 1}, "memory": "10G"},
         "resource_requests": {"memory": "4G", "cpu": 1}, "parallelism_spec": {"constant": "1"}}""",
    "YAML": """
        pipeline:
          name: mnist
        transform:
          image: mnist:v1
          cmd: [/bin/bash]
          stdin:
          - python3 /app/train.py
          secrets:
          - {name: db, key: password, env_var: DB_PASSWORD}
        input:
          pfs:
            repo: input_repo
            glob: /
            s3: true
        s3_out: true
        """,
    "as pachctl prints it": """
        {"pipeline": {"project": {"name": "default"}, "name": "p"}, "tfJob": null, "egress": null,
         "transform": {"image": "i", "cmd": ["sh"], "errCmd": [], "env": {}, "secrets": [],
                       "imagePullSecrets": [], "stdin": ["true"], "errStdin": [], "debug": false,
                       "acceptReturnCode": [], "user": "", "workingDir": "", "dockerfile": "",
                       "memoryVolume": false, "datumBatching": false},
         "parallelismSpec": {"constant": "1"}, "update": false, "outputBranch": "master",
         "s3Out": false, "resourceRequests": {"cpu": 1, "memory": "256M", "gpu": null, "disk": ""},
         "input": {"pfs": {"project": "default", "name": "r", "repo": "r", "repoType": "user",
                           "branch": "master", "commit": "", "glob": "/*", "joinOn": "",
                           "outerJoin": false, "groupBy": "", "lazy": false, "emptyFiles": false,
                           "s3": false, "trigger": null, "reference": false},
                   "join": [], "group": [], "cross": [], "union": [], "cron": null},
         "description": "", "reprocess": false, "service": null, "spout": null,
         "datumSetSpec": null, "datumTimeout": null, "jobTimeout": null, "salt": "",
         "datumTries": "3", "schedulingSpec": null, "podSpec": "", "podPatch": "",
         "specCommit": null, "metadata": null, "reprocessSpec": "until_success",
         "autoscaling": false, "tolerations": [], "determined": null}""",
    "a deferred branch": """
        {"pipeline": {"name": "montage"}, "outputBranch": "dev", "transform": {"cmd": ["sh"]},
         "input": {"cross": [{"pfs": {"glob": "/", "repo": "images", "branch": "master"}},
                             {"pfs": {"glob": "/", "repo": "edges", "branch": "master"}}]}}""",
    "names that are no DNS names": """
        {"pipeline": {"name": "Reduce_Group"}, "transform": {"cmd": ["sh"]}, "s3Out": true,
         "input": {"pfs": {"repo": "Lab_Results", "glob": "/", "s3": true}}}""",
}
REJECTED_DOCUMENTS = {
    "a spout": (
        """{"pipeline": {"name": "s"}, "spout": {}, "transform": {"cmd": ["go", "run", "main.go"],
            "env": {"HOST": "rabbitmq"}}}""",
        {"/spout", "/input"},
    ),
    "a service": (
        """{"pipeline": {"name": "s"}, "service": {"internal_port": 8888, "type": "NodePort"},
            "input": {"pfs": {"repo": "r", "glob": "/"}}, "transform": {"cmd": ["jupyter"]}}""",
        {"/service"},
    ),
    "a cron": (
        """{"pipeline": {"name": "s"}, "transform": {"cmd": ["sh"]},
            "input": {"cross": [{"pfs": {"repo": "urls", "glob": "/*"}},
                                {"cron": {"name": "tick", "spec": "@every 60s"}}]}}""",
        {"/input/cross/1/cron"},
    ),
    "a union of the same names": (
        """{"pipeline": {"name": "edges"}, "transform": {"cmd": ["x"]},
            "input": {"union": [{"pfs": {"glob": "/*", "repo": "images"}},
                                {"pfs": {"glob": "/*", "repo": "more", "name": "images"}}]}}""",
        {"/input/union"},
    ),
    "a join": (
        """{"pipeline": {"name": "j"}, "transform": {"cmd": ["x"]},
            "input": {"join": [{"pfs": {"repo": "a", "glob": "/(*)", "join_on": "$1"}},
                               {"pfs": {"repo": "b", "glob": "/(*)", "join_on": "$1"}}]}}""",
        {"/input/join", "/input/join/0/pfs/join_on", "/input/join/1/pfs/join_on"},
    ),
    "egress": (
        """{"pipeline": {"name": "e"}, "transform": {"cmd": ["x"]},
            "input": {"pfs": {"repo": "r", "glob": "/*"}},
            "egress": {"sql_database": {"url": "mysql://a/d", "file_format": {"type": "CSV"}}}}""",
        {"/egress"},
    ),
}


@pytest.mark.parametrize("text", ACCEPTED_DOCUMENTS.values(), ids=ACCEPTED_DOCUMENTS)
def test_documents_of_pachyderm_run_unchanged(text):
    assert parse(text).inputs


@pytest.mark.parametrize(
    ("text", "pointers"), REJECTED_DOCUMENTS.values(), ids=list(REJECTED_DOCUMENTS)
)
def test_documents_that_cannot_run_are_rejected_by_the_names_of_their_keys(text, pointers):
    with pytest.raises(DocumentErrors) as caught:
        parse(text)

    assert pointers == {problem.pointer for problem in caught.value.problems}
