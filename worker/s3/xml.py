"""XML in and out: a small bounded reader, and text that every parser takes."""

import re
from collections.abc import Iterator
from urllib.parse import quote
from xml.parsers import expat

import attrs

from worker.s3.error_codes import S3Error

MAX_DEPTH = 8
MAX_ELEMENTS = 120_000  # 10,000 parts of eight elements, and room to spare
PIECE = 1 << 16
MAX_TAG = 4 * PIECE
"""Bytes of one tag: one of megabytes, all attributes, would keep the process for seconds."""

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

# The characters that text cannot hold as they are. A bare carriage return would come back as a
# line feed, so it and its like are written as references.
_SPECIAL = re.compile("[&<>\"'\t\n\r\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_UNCARRIED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_URL_PLAIN = re.compile(r"[A-Za-z0-9_.\-~/]*")


def _reference(match: re.Match[str]) -> str:
    character = match.group()
    named = _NAMED.get(character)
    if named is not None:
        return named
    # XML 1.0 has no way to say these, not even as references; a client that needs such keys asks
    # for encoding-type=url. A document that no parser takes would hide all other keys too.
    if character < " " or character > "\x9f":
        return "\ufffd"
    return f"&#{ord(character)};"


_NAMED = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&apos;",
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}


def text(value: str) -> str:
    """Return *value* as the text of an element; characters XML cannot carry become U+FFFD."""
    return _SPECIAL.sub(_reference, value)


def carries(value: str) -> bool:
    """Whether XML 1.0 has a form for every character of *value*."""
    return _UNCARRIED.search(value) is None


def url_text(value: str) -> str:
    """Return *value* as ``encoding-type=url`` wants it: percent-encoded but for slashes."""
    return value if _URL_PLAIN.fullmatch(value) else quote(value, safe="/", errors="replace")


def element(name: str, value: str) -> str:
    """Return ``<name>value</name>``, the value escaped."""
    return f"<{name}>{text(value)}</{name}>"


def optional(name: str, value: str | None) -> str:
    """Return the element, or nothing when there is no value."""
    return "" if value is None else element(name, value)


def document(name: str, content: str) -> bytes:
    """Return a whole document in S3's namespace."""
    return f'{HEAD}<{name} xmlns="{NAMESPACE}">{content}</{name}>'.encode()


@attrs.define
class Element:
    """An element that was read: its local name, its text and what is inside."""

    name: str
    text: str = ""
    children: list["Element"] = attrs.field(factory=list)

    def all(self, name: str) -> Iterator["Element"]:
        """Yield the children of that name."""
        return (child for child in self.children if child.name == name)

    def get(self, name: str) -> str | None:
        """Return the text of the first child of that name, None without one."""
        return next((child.text for child in self.all(name)), None)


def malformed(message: str | None = None) -> S3Error:
    """Return MalformedXML, with a sentence that says what is missing if there is one."""
    return S3Error("MalformedXML", message)


def parse(body: bytes, root: str) -> Element:
    """Return the document, whose outermost element must be *root*; raises only S3Error.

    Namespaces are ignored, as S3 ignores them; a document type is refused, so that no entity can
    grow or reach for a file.
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        for start in range(0, len(body), PIECE):
            parser.Parse(body[start : start + PIECE])
            if start + PIECE - parser.CurrentByteIndex > MAX_TAG:
                raise malformed()
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError):
        # LookupError and ValueError: an encoding that the declaration names and Python lacks.
        raise malformed() from None
    found = reader.root
    if found is None or found.name != root:
        raise malformed()
    return found


class _Reader:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        # The texts of those, in pieces: text added to text, again and again, takes minutes when it
        # is long and much divided.
        self._texts: list[list[str]] = []
        self._count = 0

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        new = Element(name.rpartition(" ")[2])
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise malformed()
        if self._open:
            self._open[-1].children.append(new)
        else:
            self.root = new
        self._open.append(new)
        self._texts.append([])

    def end(self, _name: str) -> None:
        self._open.pop().text = "".join(self._texts.pop())

    def characters(self, data: str) -> None:
        if self._texts:
            self._texts[-1].append(data)

    def doctype(self, *_declaration: object) -> None:
        raise malformed("The XML you provided has a document type, which is not allowed")
