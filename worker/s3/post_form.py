"""The body of a form upload: ``multipart/form-data``, decoded incrementally.

The fields before the file are collected, since they say where the file goes and whether it may;
the file is passed on as it arrives. What follows the file is ignored, except a second file
(S3 developer guide, "POST Object").
"""

import logging
from collections.abc import Mapping

import attrs
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.request import Request

MAX_PRE_DATA = 20 << 10
"""Bytes of the body up to the content of the file."""
MAX_BOUNDARY = 70
"""Characters of a boundary (RFC 2046, 5.1.1)."""
FILE = "file"
FILENAME = "${filename}"
MAX_FILENAME = 1024
"""Bytes of the name of a file without its folders, as of a key: it may occur in the fields 1,800
times."""
MULTIPART = b"multipart/form-data"
# Fields in which the variable is not replaced: they are signed, or are the signature.
VERBATIM = frozenset(("policy", "signature", "x-amz-signature"))

# The parser logs a warning for each malformed body, and so a line for each hostile request.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


@attrs.frozen
class Field:
    """A field of a form before its file."""

    name: str
    """As sent."""
    value: str
    """With the name of the file in place of ``${filename}``."""


@attrs.frozen
class Form:
    """The fields of a form before its file, by lower-case name.

    As S3 documents, the values of fields of the same name are joined with commas.
    """

    fields: Mapping[str, Field]

    def get(self, name: str) -> str | None:
        """Return the value of the field *name*, which is in lower case; None without one."""
        found = self.fields.get(name)
        return None if found is None else found.value


def malformed(reason: str = "") -> S3Error:
    """Return MalformedPOSTRequest; *reason* is a sentence that is added to its message."""
    message = "The body of your POST request is not well-formed multipart/form-data."
    return S3Error("MalformedPOSTRequest", f"{message} {reason}".rstrip())


def form_boundary(request: Request) -> bytes:
    """Return the boundary of a form; raises PreconditionFailed and MalformedPOSTRequest."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind.lower() != MULTIPART:
        raise S3Error(
            "PreconditionFailed",
            Condition="Bucket POST must be of the enclosure-type multipart/form-data",
        )
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY or b"\r" in boundary or b"\n" in boundary:
        raise malformed(f"Its Content-Type needs a boundary of 1 to {MAX_BOUNDARY} characters.")
    return boundary


class FormDecoder:
    """Decodes a form: ``feed`` returns the content of its file as it arrives."""

    def __init__(self, boundary: bytes) -> None:
        self.form: Form | None = None
        """The fields before the file, from the moment that its content begins."""
        self.files = 0
        """The number of files so far."""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )
        self._received = 0
        """Bytes that were fed before the content of the file."""
        self._fields: dict[str, list[tuple[str, bytes]]] = {}
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._name: str | None = None
        """The name of the field that is received; None within a part that is ignored."""
        self._value = bytearray()
        self._in_file = False
        self._pieces: list[memoryview] = []
        self._complete = False

    def feed(self, data: bytes) -> list[memoryview]:
        """Return the content of the file in the next bytes of the body.

        Raises MalformedPOSTRequest, and MaxPostPreDataLengthExceeded if the file has not begun
        within the first 20,480 bytes.
        """
        while data and self.form is None and not self._complete:
            room = MAX_PRE_DATA - self._received
            if not room:
                raise S3Error(
                    "MaxPostPreDataLengthExceeded", MaxPostPreDataLengthBytes=MAX_PRE_DATA
                )
            start, data = data[:room], data[room:]
            self._received += len(start)
            self._write(start)
        if data:
            self._write(data)
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> Form:
        """Return the form after the last byte of the body.

        Raises MalformedPOSTRequest if the body is incomplete, and InvalidArgument if it does not
        have exactly one file.
        """
        if not self._complete:
            raise malformed("The closing boundary is missing.")
        if self.form is None or self.files != 1:
            raise invalid_argument(
                FILE, str(self.files), "POST requires exactly one file upload per request."
            )
        return self.form

    def _write(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError:
            raise malformed() from None

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        self._name = None
        disposition, options = parse_options_header(self._headers.get(b"content-disposition"))
        raw_name = options.get(b"name")
        if disposition.lower() != b"form-data" or raw_name is None:
            return
        name = _text(raw_name, "The name of a field")
        if name.lower() == FILE:
            self.files += 1
            if self.form is None:
                self.form = self._form(options.get(b"filename"))
                self._in_file = True
        elif self.form is None:
            self._name = name
            self._value = bytearray()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._pieces.append(memoryview(data)[start:end])
        elif self._name is not None:
            self._value += data[start:end]

    def _on_part_end(self) -> None:
        self._in_file = False
        if self._name is not None:
            values = self._fields.setdefault(self._name.lower(), [])
            values.append((self._name, bytes(self._value)))
            self._name = None

    def _on_end(self) -> None:
        self._complete = True

    def _form(self, raw_filename: bytes | None) -> Form:
        fields = {}
        for lower, sent in self._fields.items():
            value = ",".join(_text(each, f"The field {lower!r}") for _, each in sent)
            # S3 documents that the variable is empty if there is no file name, and leaves it as it
            # is (recorded in 2026). It is empty if the name is.
            if raw_filename is not None and FILENAME in value and lower not in VERBATIM:
                value = value.replace(FILENAME, _base_name(raw_filename))
            fields[lower] = Field(sent[0][0], value)
        return Form(fields)


def _base_name(raw: bytes) -> str:
    """Return the name of a file without the folders that some browsers send."""
    name = _text(raw, "The name of the file")
    last = name[max(name.rfind("/"), name.rfind("\\")) + 1 :]
    if len(last.encode()) > MAX_FILENAME:
        raise malformed(f"The name of the file is longer than {MAX_FILENAME:,} bytes.")
    return last


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise malformed(f"{what} is not text in UTF-8.") from None
