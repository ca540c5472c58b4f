"""The values of a job that are secret: registered for redaction before anything mentions them."""

import os
import re
from collections.abc import Iterator, Mapping

from worker.config import Config
from worker.errors import WorkerError
from worker.job.environment import passed_variables
from worker.job.secrets import find_secrets
from worker.redaction import SHORTEST_SECRET, hide, is_redactable
from worker.spec.pipeline import JobSpec
from worker.text import SECRET_NAME

_URL_PASSWORD = re.compile(r"://[^/@:\s]*:([^/@\s]+)@")
"""Matches the password of a URL, such as that of a proxy (RFC 3986, 3.2.1)."""


def hide_secrets(spec: JobSpec, config: Config, environment: Mapping[str, str]) -> list[str]:
    """Redact the secret values of a job from now on; return warnings of those that are not.

    *environment* is the agent's own. The values are those of the job's secrets, of the variables of
    the command whose names mark them as secret, and the passwords in URLs of passed variables. A
    secret that cannot be read is an error once the command needs it.
    """
    warnings = []
    for name, value in _secrets(spec, config, environment):
        if is_redactable(value):
            hide([value])
        elif value.strip():
            what = (
                f"it has fewer than {SHORTEST_SECRET} bytes"
                if len(value.strip()) < SHORTEST_SECRET
                else "it is a common word"
            )
            warnings.append(
                f"the secret {name} is not redacted from logs and results: {what}, and would hide "
                "other text; use a longer random value"
            )
    return warnings


def _secrets(
    spec: JobSpec, config: Config, environment: Mapping[str, str]
) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the value of each secret."""
    try:
        found = find_secrets(spec.transform.secrets, config.secrets, environment)
    except (WorkerError, OSError):
        pass
    else:
        for name, text in found.variables.items():
            yield name, os.fsencode(text)
        for file in found.files:
            yield f"{file.folder}/{file.name}", file.value
    passed = passed_variables(environment, config.pass_environment)
    for name, text in {**passed, **spec.transform.env}.items():
        if SECRET_NAME.search(name):
            yield name, text.encode("utf-8", "surrogateescape")
        for password in _URL_PASSWORD.findall(text):
            yield f"in the URL of {name}", password.encode("utf-8", "surrogateescape")
