"""XML request bodies parsed into values."""

from collections.abc import Iterator, Mapping
from xml.parsers import expat

import attrs

from worker.model import MAX_KEY
from worker.s3.checksums import ALGORITHMS, try_decode
from worker.s3.conditions import Conditions, etags
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.multipart import MAX_PART_NUMBER, ListedPart
from worker.s3.tags import check_tags
from worker.text import parse_integer

MAX_DEPTH = 8
MAX_ELEMENTS = 120_000
"""10,000 parts of eight elements are valid."""
PIECE = 1 << 16
MAX_TAG = 4 * PIECE
"""Bytes of one tag: parsing megabytes of attributes would block the event loop for seconds."""

MAX_DELETE = 1000
MAX_VERSION = 1024
"""Characters of a version, as the user guide of S3 limits its ids."""
MAX_ETAG = 1024

_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_DECLARATION = "xmlns:"
_SPACE = " \t\r\n"
"""White space of XML (XML 1.0, 2.3), which may surround a number."""

MAX_SHOWN = 256
"""Characters of a value that an error repeats."""

# The elements of a part in CompleteMultipartUpload, by algorithm.
CHECKSUM_ELEMENTS = {f"Checksum{algorithm}": algorithm for algorithm in ALGORITHMS}


@attrs.define
class Element:
    """A parsed element: its local name, its text and its child elements."""

    name: str
    text: str = ""
    children: list["Element"] = attrs.field(factory=list)
    kind: str = ""
    """The attribute ``xsi:type``."""

    def all(self, name: str) -> Iterator["Element"]:
        """Yield the children with a name."""
        return (child for child in self.children if child.name == name)

    def get(self, name: str) -> str | None:
        """Return the text of the first child with a name, or None."""
        return next((child.text for child in self.all(name)), None)


def malformed(message: str | None = None) -> S3Error:
    """Return MalformedXML; *message* replaces the default message."""
    return S3Error("MalformedXML", message)


def parse_xml(body: bytes, root: str | None) -> Element:
    """Parse a document with the root element *root*; raises no other error than S3Error.

    *root* is None for any root element. Namespaces are ignored, as in S3. A document type is
    rejected: its entities could expand without bound, or read files.
    """
    reader = _Reader()
    # Without its support of namespaces: it copies the whole name of the namespace for each element.
    parser = expat.ParserCreate()
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
        # LookupError and ValueError: the declared encoding is unknown.
        raise malformed() from None
    found = reader.root
    if found is None or root not in (None, found.name):
        raise malformed()
    return found


class _Reader:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        # The text of each, in pieces: concatenation would cost quadratic time.
        self._texts: list[list[str]] = []
        self._count = 0
        # The namespaces of each prefix, that of the innermost element last; and the prefixes that
        # each open element declares.
        self._namespaces: dict[str, list[str]] = {}
        self._declared: list[list[str]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise malformed()
        declared = [each for each in attributes if each.startswith(_DECLARATION)]
        for each in declared:
            prefix = each.removeprefix(_DECLARATION)
            self._namespaces.setdefault(prefix, []).append(attributes[each])
        self._declared.append(declared)
        new = Element(self._local(name)[0], kind=self._type(attributes))
        if self._open:
            self._open[-1].children.append(new)
        else:
            self.root = new
        self._open.append(new)
        self._texts.append([])

    def end(self, _name: str) -> None:
        self._open.pop().text = "".join(self._texts.pop())
        for each in self._declared.pop():
            self._namespaces[each.removeprefix(_DECLARATION)].pop()

    def _local(self, name: str) -> tuple[str, str]:
        """Return *name* without its prefix, and the namespace of the prefix; or raise."""
        prefix, colon, local = name.partition(":")
        if not colon:
            return name, ""
        namespaces = self._namespaces.get(prefix)
        if not namespaces and prefix != "xml":
            raise malformed()
        return local, namespaces[-1] if namespaces else ""

    def _type(self, attributes: Mapping[str, str]) -> str:
        """Return the attribute ``xsi:type``, whatever its prefix; or else an empty string."""
        found = ""
        for name, value in attributes.items():
            is_declaration = name.startswith(_DECLARATION)
            if not is_declaration and self._local(name) == ("type", _INSTANCE):
                found = value
        return found

    def characters(self, data: str) -> None:
        if self._texts:
            self._texts[-1].append(data)

    def doctype(self, *_declaration: object) -> None:
        raise malformed("The XML you provided has a document type, which is not allowed")


@attrs.frozen
class ObjectToDelete:
    """One object of a DeleteObjects request."""

    key: str
    version: str | None
    conditions: Conditions

    @property
    def shown_key(self) -> str:
        """The key, or the start of one that is too long for a response to repeat."""
        return self.key[:MAX_KEY]

    @property
    def rejection(self) -> S3Error | None:
        """The error for a key that no object has, or for a version other than ``null``; or None.

        ``null`` is the only version of an object.
        """
        if (size := len(self.key.encode())) > MAX_KEY:
            return S3Error("KeyTooLongError", Size=size, MaxSizeAllowed=MAX_KEY)
        if self.version in (None, "", "null"):
            return None
        return S3Error("NoSuchVersion", Key=self.key, VersionId=self.version)


@attrs.frozen
class DeleteRequest:
    """The body of DeleteObjects."""

    objects: tuple[ObjectToDelete, ...]
    quiet: bool


# The elements of an object, each at most once. Size and LastModifiedTime are for directory buckets.
_DELETE_ELEMENTS = frozenset(("Key", "VersionId", "ETag"))


def parse_delete(body: bytes) -> DeleteRequest:
    """Parse the body of DeleteObjects, with 1 to 1,000 objects.

    Raises MissingRequestBodyError, MalformedXML, and UserKeyMustBeSpecified for an empty key.
    """
    if not body:
        raise S3Error("MissingRequestBodyError")
    root = parse_xml(body, "Delete")
    objects = list(root.all("Object"))
    flags = list(root.all("Quiet"))
    if len(flags) > 1 or len(objects) + len(flags) < len(root.children):
        raise malformed()
    if not 1 <= len(objects) <= MAX_DELETE:
        raise malformed(
            f"A DeleteObjects request names 1 to {MAX_DELETE} objects; found {len(objects)}."
        )
    # S3 deletes an object that is listed twice once, and reports it once.
    found = tuple(dict.fromkeys(_to_delete(each) for each in objects))
    if any(not each.key for each in found):
        raise S3Error("UserKeyMustBeSpecified")
    return DeleteRequest(found, bool(flags) and flags[0].text.strip().lower() == "true")


def _to_delete(found: Element) -> ObjectToDelete:
    names = [child.name for child in found.children]
    if len(names) > len(set(names)) or not _DELETE_ELEMENTS.issuperset(names):
        raise malformed()
    key, version, etag = found.get("Key"), found.get("VersionId"), found.get("ETag")
    if key is None or len(version or "") > MAX_VERSION or len(etag or "") > MAX_ETAG:
        raise malformed()
    return ObjectToDelete(
        key,
        version,
        Conditions(if_match=None if etag is None else etags(etag)),
    )


def parse_complete(body: bytes) -> tuple[ListedPart, ...]:
    """Parse the body of CompleteMultipartUpload; raises MalformedXML.

    Raises InvalidRequest for an empty body, which SDKs send without a list of parts.
    """
    if not body:
        raise S3Error("InvalidRequest", "You must specify at least one part")
    root = parse_xml(body, "CompleteMultipartUpload")
    parts = tuple(_listed_part(found) for found in root.all("Part"))
    if not parts or len(parts) > MAX_PART_NUMBER:
        raise malformed()
    return parts


def _listed_part(found: Element) -> ListedPart:
    number, etag = found.get("PartNumber"), found.get("ETag")
    if number is None or etag is None:
        raise malformed()
    written = number.strip(_SPACE)
    value = parse_integer(written, signs="-")
    if value is None:
        raise malformed()
    if value < 1:
        raise invalid_argument("PartNumber", written, "PartNumber must be >= 1")
    checksums = {
        CHECKSUM_ELEMENTS[child.name]: child.text.strip()
        for child in found.children
        if child.name in CHECKSUM_ELEMENTS and child.text.strip()
    }
    _check_checksums(checksums)
    return ListedPart(value, etag.strip().strip('"'), checksums)


def _check_checksums(checksums: Mapping[str, str]) -> None:
    """Reject a part with several checksums, or with one that is not Base64; as S3 words it."""
    shown = "".join(f"{name}:{value};" for name, value in checksums.items())
    if len(checksums) == 1:
        ((name, shown),) = checksums.items()
        if try_decode(ALGORITHMS[name], shown) is not None:
            return
    if checksums:
        raise invalid_argument(
            "Checksum", shown[:MAX_SHOWN], "Invalid Base64 or multiple checksums present in request"
        )


def parse_tagging(body: bytes, *, root: str | None = "Tagging") -> dict[str, str]:
    """Parse the body of PutObjectTagging.

    Raises MissingRequestBodyError, MalformedXML, InvalidTag and BadRequest. Without a TagSet, as
    with an empty one, there are no tags. *root* is the name of the root element; None is any, as S3
    accepts in a form.
    """
    if not body:
        raise S3Error("MissingRequestBodyError")
    tagging = parse_xml(body, root)
    pairs = []
    for tag in (tag for tag_set in tagging.all("TagSet") for tag in tag_set.all("Tag")):
        key, value = tag.get("Key"), tag.get("Value")
        if key is None or value is None:
            raise malformed()
        pairs.append((key, value))
    return check_tags(pairs)
