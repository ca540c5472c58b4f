"""The termination message of a pod: the result of a run, in as many bytes as Kubernetes keeps."""

import json
from collections.abc import Mapping
from typing import Any

from worker.job.datum_results import shorten
from worker.job.result import Result

MESSAGE_FIELDS = (
    "job", "state", "cause", "exit_code", "command_code", "worth_a_retry", "reason",
    "datum_counts", "output", "branch", "branch_moved", "kept", "files", "size", "started",
    "finished",
)  # fmt: skip
MAX_MESSAGE = 4000
"""Bytes; Kubernetes truncates a termination message at 4,096."""
MAX_LINE = 500
"""Characters of a warning or a line in a termination message."""


def to_message(result: Result) -> str:
    """Return *result* as one JSON document of less than 4,096 bytes in UTF-8.

    It has the fields that tell what happened, then as many of the warnings and of the last
    lines of the command as fit.
    """
    full = result.to_json()
    document = {name: full[name] for name in MESSAGE_FIELDS}
    reason = result.reason
    while len(_compact(document)) > MAX_MESSAGE and reason:
        reason = reason[: len(reason) * 9 // 10]
        document["reason"] = reason + "…"
    for name, values in (("warnings", result.warnings), ("log_tail", result.log_tail[::-1])):
        document[name] = []
        for text in values:
            document[name].append(shorten(text, MAX_LINE))
            if len(_compact(document)) > MAX_MESSAGE:
                document[name].pop()
                break
    document["log_tail"].reverse()
    return _compact(document).decode()


def _compact(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate becomes an escape sequence, which JSON permits.
    return text.encode("utf-8", "backslashreplace")
