"""How one setting is read: a TOML value or a text becomes a typed value, or is refused."""

import re
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NewType, Union, get_args, get_origin

Seconds = NewType("Seconds", float)
"""A number of seconds, written as a number or as ``1m30s``."""
Address = NewType("Address", str)
"""A directory or the URL of an object store."""

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
AMOUNT = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _text(raw: object, _base: Path) -> str:
    if isinstance(raw, str):
        return raw
    raise ValueError("expected text")


def _truth(raw: object, _base: Path) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in TRUTHS:
        return TRUTHS[raw.lower()]
    raise ValueError("expected true or false")


def _whole(raw: object, _base: Path) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and re.fullmatch(r"-?[0-9]{1,18}", raw):
        return int(raw)
    raise ValueError("expected a whole number")


def _seconds(raw: object, _base: Path) -> Seconds:
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return Seconds(float(raw))
    if isinstance(raw, str) and re.fullmatch(r"\d+(\.\d+)?", raw):
        return Seconds(float(raw))
    if isinstance(raw, str) and re.fullmatch(f"({AMOUNT.pattern})+", raw):
        return Seconds(sum(float(n) * UNITS[unit] for n, unit in AMOUNT.findall(raw)))
    raise ValueError('expected a duration such as 10, "10s" or "1m30s"')


def _path(raw: object, base: Path) -> Path:
    if isinstance(raw, str) and raw and "\0" not in raw:
        return base / Path(raw).expanduser()
    raise ValueError("expected a path")


def _address(raw: object, base: Path) -> Address:
    if isinstance(raw, str) and "://" in raw:
        return Address(raw)
    return Address(str(_path(raw, base)))


def _words(raw: object, _base: Path) -> tuple[str, ...]:
    if isinstance(raw, str):
        return tuple(word for word in (part.strip() for part in raw.split(",")) if word)
    if isinstance(raw, list | tuple) and all(isinstance(word, str) for word in raw):
        return tuple(raw)
    raise ValueError("expected a list of texts, or one text with commas")


def _pairs(raw: object, base: Path) -> dict[str, str]:
    if isinstance(raw, str | list | tuple):
        pairs = [word.partition("=") for word in _words(raw, base)]
        if all(equals for _, equals, _ in pairs):
            return {name: value for name, _, value in pairs}
    if isinstance(raw, Mapping) and all(isinstance(v, str | int | bool) for v in raw.values()):
        # The clients take text; TOML's true is written "true", not "True".
        return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in raw.items()}
    raise ValueError("expected a table of texts, or one text of name=value with commas")


READERS: Mapping[Any, Callable[[object, Path], Any]] = {
    str: _text,
    bool: _truth,
    int: _whole,
    Seconds: _seconds,
    Path: _path,
    Address: _address,
    tuple[str, ...]: _words,
    Mapping[str, str]: _pairs,
}


def read_as(kind: Any, raw: object, base: Path) -> Any:
    """Return *raw* as a value of the type *kind*; a relative path is relative to *base*."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(member for member in get_args(kind) if member is not type(None))
    if get_origin(kind) is not Literal:
        return READERS[kind](raw, base)
    if raw in get_args(kind):
        return raw
    raise ValueError(f"expected one of {', '.join(get_args(kind))}")
