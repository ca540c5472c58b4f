"""Helpers of the Python client scripts: the expected input and comparisons.

Limited to the standard library and to old versions of Python: a script runs in the environment of
its client.
"""

import os
import sys
from pathlib import Path

EXPECTED = Path(os.environ["EXPECTED"])
"""The folder with the files of the bucket ``labresults``."""
INPUT, OUT = "labresults", "out"
ODD = "naïve a+b & 100% 東京.txt"
NAMES = sorted(str(path.relative_to(EXPECTED)) for path in EXPECTED.rglob("*") if path.is_file())
"""Every key of the input, sorted by UTF-8 bytes as in S3."""
COPIES = {
    "kept/small.txt": "small.txt",
    "kept/empty.bin": "empty.bin",
    "kept/big.bin": "big.bin",
    "kept/" + ODD: "odd names/" + ODD,
}
"""Keys that the script must write to ``out``, and the input file that each one is a copy of."""


def content(name: str) -> bytes:
    """Return the content of the key *name* of the input."""
    return (EXPECTED / name).read_bytes()


BIG = content("big.bin")


def same(want: object, got: object, what: str) -> None:
    """Exit with a message unless *got* equals *want*."""
    if want != got:
        sys.exit(f"{what}: expected {_short(want)}, got {_short(got)}")


def refused(
    what: str, error: "type[BaseException] | tuple[type[BaseException], ...]", call
) -> None:
    """Exit with a message unless *call* raises *error*."""
    try:
        call()
    except error:
        return
    sys.exit(f"{what}: expected an error; the operation succeeded")


def _short(value: object) -> str:
    text = repr(value)
    return (
        text
        if len(text) <= 200
        else f"{text[:200]}… ({len(value) if hasattr(value, '__len__') else '?'} long)"
    )
