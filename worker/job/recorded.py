"""Texts that a run records in its result and its commit: without secrets, and valid Unicode."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from worker.redaction import HIDDEN, redact

_SURROGATE = re.compile(r"[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def valid_unicode(text: str) -> str:
    """Return *text* without lone surrogates, which JSON in UTF-8 cannot have (RFC 8259, 8.1).

    A byte of a path or an argument that is not UTF-8 is shown as ``\\xff``, as in the output.
    """
    return _SURROGATE.sub(_replace, text)


def _replace(found: re.Match[str]) -> str:
    code = ord(found[0])
    # Python's surrogateescape (PEP 383).
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else REPLACEMENT


def recorded(text: str) -> str:
    """Return *text* without secrets, as valid Unicode."""
    return valid_unicode(redact(text))


def recorded_texts(texts: Iterable[str]) -> tuple[str, ...]:
    """Return *texts* as `recorded`."""
    return tuple(recorded(text) for text in texts)


def recorded_document(value: Any) -> Any:
    """Return a JSON value with its texts as `recorded`; names of objects stay."""
    if isinstance(value, str):
        return recorded(value)
    if isinstance(value, Mapping):
        return {name: recorded_document(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [recorded_document(each) for each in value]
    return value


def recorded_spec(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job document as `recorded_document`, and the names of its metadata as `recorded`."""
    found: dict[str, Any] = recorded_document(document)
    if metadata := document.get("metadata"):
        found["metadata"] = {kind: recorded_data(names) for kind, names in metadata.items()}
    return found


def recorded_data(value: Any) -> Any:
    """Return a JSON value of the command with texts, numbers and names of objects as `recorded`."""
    if isinstance(value, Mapping):
        return {recorded(name): recorded_data(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [recorded_data(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        # A number that is a secret, such as a PIN.
        text = repr(value)
        return value if redact(text) == text else HIDDEN
    return recorded(value) if isinstance(value, str) else value
