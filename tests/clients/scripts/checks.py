"""What every client script of Python checks with: the input as a folder, and plain comparisons.

Only the standard library, and old Python too: the script runs in the client's own environment.
"""

import os
import sys
from pathlib import Path

EXPECTED = Path(os.environ["EXPECTED"])
"""The folder that the bucket ``labresults`` was made from."""
INPUT, OUT = "labresults", "out"
ODD = "naïve a+b & 100% 東京.txt"
NAMES = sorted(str(path.relative_to(EXPECTED)) for path in EXPECTED.rglob("*") if path.is_file())
"""Every key of the input, in the order of S3: by their UTF-8 bytes."""
LEFT = {
    "kept/small.txt": "small.txt",
    "kept/empty.bin": "empty.bin",
    "kept/big.bin": "big.bin",
    "kept/" + ODD: "odd names/" + ODD,
}
"""What the script has to leave in ``out``, and the input file that it is a copy of."""


def content(name: str) -> bytes:
    """Return the bytes that the key *name* of the input has."""
    return (EXPECTED / name).read_bytes()


BIG = content("big.bin")


def same(want: object, got: object, what: str) -> None:
    """End with a reason unless *got* is *want*."""
    if want != got:
        sys.exit(f"{what}: expected {_short(want)}, got {_short(got)}")


def refused(
    what: str, error: "type[BaseException] | tuple[type[BaseException], ...]", call
) -> None:
    """End with a reason unless *call* raises *error*."""
    try:
        call()
    except error:
        return
    sys.exit(f"{what}: expected a refusal, and it was done")


def _short(value: object) -> str:
    text = repr(value)
    return (
        text
        if len(text) <= 200
        else f"{text[:200]}… ({len(value) if hasattr(value, '__len__') else '?'} long)"
    )
