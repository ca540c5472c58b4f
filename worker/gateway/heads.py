"""Heads of HTTP messages, where clients differ from the parser in what they send and accept."""

from http import HTTPStatus
from urllib.parse import quote_from_bytes

REASONS = {b"%d" % status: status.phrase.encode() for status in HTTPStatus}


def with_reason(head: bytes) -> bytes:
    """Return the head of a response with the reason phrase of its status, which h11 leaves out.

    botocore, and so the AWS CLI, sends "Expect: 100-continue" with every body, and takes a status
    line without a reason for no response: it would upload a body only to be rejected.
    """
    line, end, rest = head.partition(b"\r\n")
    if not line.endswith(b" "):
        return head
    return line + REASONS.get(line.split()[-1], b"") + end + rest


def normalize_request_line(data: bytes) -> bytes:
    """Return *data*, which may start with a request line, so that the parser accepts it.

    A client library sends the key of a HEAD as raw UTF-8, and methods are accepted in lower case. A
    request line that is incomplete is left alone.
    """
    line, end, rest = data.partition(b"\r\n")
    method, space, target = line.partition(b" ")
    if not end or not method.isalpha() or not space:
        return data
    if not target.isascii():
        printable = bytes(range(0x20, 0x7F)).decode()
        target = quote_from_bytes(target, safe=printable).encode()
    return method.upper() + space + target + end + rest
