"""The values of a job that are secret: registered for redaction before anything mentions them."""

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote_to_bytes

from worker.config import Config
from worker.errors import WorkerError
from worker.job.environment import passed_variables
from worker.job.secrets import find_secrets
from worker.redaction import SHORTEST_SECRET, hide, is_redactable
from worker.spec.pipeline import JobSpec
from worker.text import SECRET_NAME

_URL_PASSWORD = re.compile(r"://[^/?#@:\s]*:([^/?#\s]+)@")
"""Matches the password of a URL, such as that of a proxy (RFC 3986, 3.2.1)."""
_URL_START = re.compile(r"://[^/?#:]*:(?!\d+[/?#])(?=.)")
"""Matches a URL up to its password, in what precedes an at sign. Some programs accept a slash in a
password. Digits before one are a port."""


def hide_secrets(spec: JobSpec, config: Config, environment: Mapping[str, str]) -> list[str]:
    """Redact the secret values of a job from now on; return warnings of those that are not.

    *environment* is the agent's own. The values are those of the job's secrets and of
    `secret_variables`. A secret that cannot be read is an error once the command needs it.
    """
    warnings = []
    found = (*_job_secrets(spec, config, environment), *secret_variables(spec, config, environment))
    # At once: each time, all that are hidden are prepared for the search.
    hide(value for _, value in found)
    for name, value in found:
        if not is_redactable(value) and value.strip():
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


def secret_variables(
    spec: JobSpec, config: Config, environment: Mapping[str, str]
) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the value of each variable of the command whose name marks it as secret.

    Also the passwords in the URLs of other ones.
    """
    passed = passed_variables(environment, config.pass_environment)
    for name, text in {**passed, **spec.transform.env}.items():
        if SECRET_NAME.search(name):
            yield name, text.encode("utf-8", "surrogateescape")
        yield from _url_passwords(name, text)


def _job_secrets(
    spec: JobSpec, config: Config, environment: Mapping[str, str]
) -> Iterator[tuple[str, bytes]]:
    try:
        found = find_secrets(spec.transform.secrets, config.secrets, environment)
    except (WorkerError, OSError):
        return
    for name, text in found.variables.items():
        yield name, os.fsencode(text)
        yield from _url_passwords(name, text)
    for file in found.files:
        yield f"{file.folder}/{file.name}", file.value


def _url_passwords(name: str, text: str) -> Iterator[tuple[str, bytes]]:
    """Yield the passwords in the URLs of a variable, as they are and without percent encoding."""
    found = _URL_PASSWORD.findall(text)
    # Not one expression, which would search the rest of the text for the at sign of each URL.
    for before in (each for word in text.split() for each in word.split("@")[:-1]):
        if start := _URL_START.search(before):
            found.append(before[start.end() :])
    values = [password.encode("utf-8", "surrogateescape") for password in found]
    # Credentials in Base64, as for a proxy, have none.
    for value in dict.fromkeys((*values, *map(unquote_to_bytes, values))):
        yield f"in the URL of {name}", value
