"""Redaction of secrets in streams of bytes and in text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.redaction import Redactor


def redact(secrets: list[bytes], *pieces: bytes) -> bytes:
    redactor = Redactor(secrets)
    return b"".join([*map(redactor.feed, pieces), redactor.finish()])


def model(secrets: list[bytes], text: bytes) -> bytes:
    """Replace each maximal run of overlapping occurrences by one mark."""
    spans = sorted(
        (start, start + len(secret))
        for secret in secrets
        for start in range(len(text))
        if text.startswith(secret, start)
    )
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    shown, position = b"", 0
    for start, end in merged:
        shown += text[position:start] + b"***"
        position = end
    return shown + text[position:]


def test_a_secret_is_replaced_however_the_stream_is_split():
    """The position of the split does not matter."""
    text = b"password=hunter22; again hunter22\n"
    for cut in range(len(text)):
        assert b"password=***; again ***\n" == redact([b"hunter22"], text[:cut], text[cut:])


def test_a_multi_line_secret_is_replaced_as_a_whole_and_by_line():
    """Each of its long lines is a secret of its own."""
    key = b"-----BEGIN-----\nabcdefgh\nijklmnop\n-----END-----\n"

    assert b"a ***\nb" == redact([key], b"a " + key[:20], key[20:] + b"b")
    assert b"  ***\n" == redact([key], b"  abcdefgh\n")


@pytest.mark.parametrize(
    "printed",
    [b's\xc3\xa9cret/"1"', b's\\u00e9cret/\\"1\\"', b"s%C3%A9cret%2F%221%22", b"c8OpY3JldC8iMSI="],
    ids=["itself", "json", "url", "base64"],
)
def test_the_spellings_of_a_secret_are_replaced(printed):
    """JSON, URLs and Base64 escape or encode a secret."""
    assert b"<***>" == redact(['sécret/"1"'.encode()], b"<" + printed + b">")


def test_data_is_returned_at_once_if_no_secret_can_start():
    """A line of output is not delayed."""
    redactor = Redactor([b"hunter22"])

    assert b"a line\n" == redactor.feed(b"a line\n")


def test_text_is_redacted_independently_of_the_stream():
    """The name of a process can be redacted in the middle of a stream."""
    redactor = Redactor([b"hunter22"])
    shown = redactor.feed(b"hunt")

    assert "curl -u ***" == redactor.text("curl -u hunter22")
    assert b"***" == shown + redactor.feed(b"er22") + redactor.finish()


letters = st.text("ab", min_size=1, max_size=9).map(str.encode)


@given(st.lists(letters, max_size=3), st.lists(st.text("abc", max_size=12).map(str.encode)))
def test_a_redacted_stream_equals_the_redacted_whole(secrets, pieces):
    """The result is that of the model for the concatenated stream."""
    ways = [way for secret in secrets for way in Redactor([secret])._forms]

    assert model(ways, b"".join(pieces)) == redact(secrets, *pieces)


def test_bytes_that_are_withheld_before_a_gap_are_dropped():
    """They may be the start of a secret whose end is missing."""
    redactor = Redactor([b"hunter22"])

    assert b"a " == redactor.feed(b"a hunter")
    assert len(b"hunter") == redactor.drop()
    assert b"22 b" == redactor.feed(b"22 b") + redactor.finish()
