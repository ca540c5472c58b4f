"""The aws-chunked decoder: published examples, every division of the input, malformed framing."""

from itertools import pairwise

import pytest
from builders import checksum_of
from hypothesis import given
from hypothesis import strategies as st
from s3.protocol_builders import a_request, raises_s3_error, vectors

from worker.s3.authentication import verify
from worker.s3.aws_chunked import MAX_LINE, MIN_CHUNK, ChunkedDecoder
from worker.s3.error_codes import S3Error
from worker.s3.payload import FRAMINGS, Payload, parse_payload
from worker.s3.signing import Credentials

VECTORS = vectors("sigv4_chunks")
PAIR = Credentials(VECTORS["access_key"], VECTORS["secret_key"])
TRAILER = "x-amz-checksum-crc32"
SIGNED_MODE = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


def _decoder(length, *, mode="STREAMING-UNSIGNED-PAYLOAD-TRAILER", announced=()):
    framing = FRAMINGS[mode]
    form = Payload(
        length,
        framed=True,
        signed=framing.signed,
        trailer=framing.trailer,
        announced=announced,
    )
    return ChunkedDecoder(form)


def _published(vector):
    request = a_request(
        "PUT", "/examplebucket/chunkObject.txt", vector["headers"], buckets=("examplebucket",)
    )
    body = b"".join(
        b"%x;chunk-signature=%s\r\n" % (size, signature.encode())
        + (b"a" * size + b"\r\n" if size else b"")
        for size, signature in vector["chunks"]
    )
    return request, body + vector["end"].encode()


def _decode(decoder, pieces):
    content = b"".join(bytes(part) for piece in pieces for part in decoder.feed(piece))
    decoder.finish()
    return content


@pytest.mark.parametrize("vector", VECTORS["uploads"], ids=lambda vector: vector["name"])
@pytest.mark.parametrize("step", [1, 7, 4096, 10**6])
def test_published_examples_decode_and_verify(vector, step):
    """From the S3 documentation."""
    request, body = _published(vector)
    signed = verify(request, PAIR, now=VECTORS["now"])
    decoder = ChunkedDecoder(parse_payload(request), signed)

    content = _decode(decoder, [body[i : i + step] for i in range(0, len(body), step)])

    assert b"a" * 66560 == content
    if decoder.trailers:
        assert checksum_of("CRC32C", [content]).value == decoder.trailers["x-amz-checksum-crc32c"]


CHUNKS, TRAILING = VECTORS["uploads"]


@pytest.mark.parametrize(
    ("vector", "before", "after"),
    [
        pytest.param(CHUNKS, b"aaaa", b"aaab", id="changed byte"),
        pytest.param(CHUNKS, b"=ad80", b"=ad81", id="changed chunk signature"),
        pytest.param(CHUNKS, b"=b6c6", b"=b6c7", id="changed signature of the last chunk"),
        pytest.param(TRAILING, b"=b474", b"=b475", id="changed chunk signature, with a trailer"),
        pytest.param(TRAILING, b":d81f", b":d81e", id="changed trailer signature"),
        pytest.param(TRAILING, b"sOO8/Q", b"sOO8/A", id="changed trailer"),
    ],
)
def test_a_changed_byte_chunk_or_trailer_is_signature_does_not_match(vector, before, after):
    request, body = _published(vector)
    signed = verify(request, PAIR, now=VECTORS["now"])

    with raises_s3_error("SignatureDoesNotMatch"):
        _decode(ChunkedDecoder(parse_payload(request), signed), [body.replace(before, after, 1)])


def test_a_signature_that_does_not_match_is_returned_with_its_string_to_sign():
    request, body = _published(CHUNKS)
    signed = verify(request, PAIR, now=VECTORS["now"])
    sent = CHUNKS["chunks"][0][1]
    with raises_s3_error("SignatureDoesNotMatch") as error:
        _decode(ChunkedDecoder(parse_payload(request), signed), [body.replace(b"aaaa", b"aaab", 1)])

    fields = error().fields
    assert (PAIR.access_key, sent) == (fields["AWSAccessKeyId"], fields["SignatureProvided"])
    assert fields["StringToSign"].startswith("AWS4-HMAC-SHA256-PAYLOAD\n")
    assert fields["StringToSign"].encode() == bytes.fromhex(fields["StringToSignBytes"])


@pytest.mark.parametrize(
    ("vector", "before", "after"),
    [
        pytest.param(CHUNKS, b"chunk-signature", b"chunk-signaturf", id="no signature"),
        pytest.param(CHUNKS, b"=ad80", b"=ad8", id="a short signature"),
        pytest.param(TRAILING, b"x-amz-trailer-signature:", b"", id="no trailer signature"),
    ],
)
def test_a_body_without_a_signature_is_malformed(vector, before, after):
    request, body = _published(vector)
    signed = verify(request, PAIR, now=VECTORS["now"])
    start, found, rest = body.partition(before)
    changed = start + after + (rest if after else b"")
    with raises_s3_error("IncompleteBody"):
        _decode(ChunkedDecoder(parse_payload(request), signed), [changed if found else b""])


def test_signatures_are_not_verified_without_authentication():
    request, body = _published(TRAILING)
    body = body.replace(b"chunk-signature=b474", b"chunk-signature=0000")

    assert b"a" * 66560 == _decode(ChunkedDecoder(parse_payload(request)), [body])


def _framed(chunks, trailers=None, *, end=b"\r\n"):
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    lines = b"".join(f"{name}:{value}\r\n".encode() for name, value in (trailers or {}).items())
    return body + b"0\r\n" + lines + end


@given(
    sizes=st.lists(st.integers(MIN_CHUNK, MIN_CHUNK + 9), max_size=4),
    last=st.binary(max_size=30),
    with_trailer=st.booleans(),
    # Near the lines, which are divided most easily.
    cuts=st.lists(
        st.builds(lambda near, by: near * MIN_CHUNK + by, st.integers(0, 4), st.integers(0, 80)),
        max_size=20,
    ),
)
def test_the_result_does_not_depend_on_how_the_input_is_divided(sizes, last, with_trailer, cuts):
    chunks = [bytes([65 + n]) * size for n, size in enumerate(sizes)] + ([last] if last else [])
    trailers = {TRAILER: "AAAAAA=="} if with_trailer else {}
    body = _framed(chunks, trailers)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:stop] for start, stop in pairwise(edges)]
    content = b"".join(chunks)
    decoder = _decoder(len(content), announced=tuple(trailers))

    assert content == _decode(decoder, pieces)
    assert trailers == decoder.trailers


WHOLE = _framed([b"a" * MIN_CHUNK, b"c"], {TRAILER: "x"})
CUTS = [*range(10), *range(MIN_CHUNK, len(WHOLE))]


@pytest.mark.parametrize("cut", CUTS)
def test_a_truncated_body_is_incomplete(cut):
    """At every byte of its framing."""
    decoder = _decoder(MIN_CHUNK + 1, announced=(TRAILER,))

    with raises_s3_error("IncompleteBody"):
        _decode(decoder, [WHOLE[:cut]])


@pytest.mark.parametrize(
    ("sizes", "number", "bad"),
    [
        ((MIN_CHUNK, MIN_CHUNK, 100), None, None),
        ((100,), None, None),
        ((10_000, 9_500, 20), None, None),
        ((100, MIN_CHUNK), 2, 100),
        ((MIN_CHUNK, 10, 100), 3, 10),
        ((MIN_CHUNK - 1, 1), 2, MIN_CHUNK - 1),
    ],
)
@pytest.mark.parametrize("mode", ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", SIGNED_MODE])
def test_only_the_last_chunk_is_small(mode, sizes, number, bad):
    """The error has the number of the chunk after the bad one, as in S3."""
    chunks = [b"x" * size for size in sizes]
    decoder = _decoder(sum(sizes), mode=mode)
    if bad is None:
        assert b"".join(chunks) == _decode(decoder, [_framed(chunks)])
        return
    with raises_s3_error("InvalidChunkSizeError") as error:
        _decode(decoder, [_framed(chunks)])

    assert (403, {"Chunk": str(number), "BadChunkSize": str(bad)}) == (
        error().status,
        error().fields,
    )


@pytest.mark.parametrize(("declared", "found"), [(4, 5), (6, 5), (0, 5)])
def test_another_length_than_the_decoded_one_is_incomplete(declared, found):
    with raises_s3_error("IncompleteBody") as error:
        _decode(_decoder(declared), [_framed([b"x" * found])])

    assert error().message == (
        "You did not provide the number of bytes specified by the Content-Length HTTP header"
    )
    assert error().fields == {
        "NumberBytesExpected": str(declared),
        "NumberBytesProvided": str(found),
    }


HELLO = b"5\r\nhello\r\n0\r\n"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"x\r\n", "IncompleteBody", id="size not in hex"),
        pytest.param(b"\r\n", "IncompleteBody", id="empty size"),
        pytest.param(b"-1\r\n", "IncompleteBody", id="negative size"),
        pytest.param(b"0x5\r\n", "IncompleteBody", id="size with 0x"),
        pytest.param(b"5\nhello", "IncompleteBody", id="LF after the size"),
        pytest.param(b"5\r\nhelloworld\r\n", "IncompleteBody", id="data longer than the size"),
        pytest.param(b"5\r\nhello\n0\r\n\r\n", "IncompleteBody", id="LF after the data"),
        pytest.param(b"F" * 17 + b"\r\n", "IncompleteBody", id="size of 68 bits"),
        pytest.param(
            b"6\r\nhello!\r\n0\r\n\r\n", "IncompleteBody", id="longer than the decoded length"
        ),
        pytest.param(
            b"4\r\nhell\r\n0\r\n\r\n", "IncompleteBody", id="shorter than the decoded length"
        ),
        pytest.param(b"1" * (MAX_LINE + 1), "IncompleteBody", id="line too long"),
        pytest.param(b"0\r\n\r\n", "IncompleteBody", id="no data"),
        pytest.param(HELLO + b"\r\nmore", "IncompleteBody", id="bytes after the end"),
        pytest.param(HELLO + b"\r\n", "MalformedTrailerError", id="missing trailer"),
        pytest.param(
            HELLO + b"x-amz-checksum-crc32\r\n\r\n",
            "MalformedTrailerError",
            id="trailer without a colon",
        ),
        pytest.param(
            HELLO + b"x-amz-meta-a:1\r\n\r\n", "MalformedTrailerError", id="unannounced trailer"
        ),
        pytest.param(
            HELLO + b"x-amz-checksum-crc32:a\r\nx-amz-checksum-crc32:b\r\n\r\n",
            "MalformedTrailerError",
            id="duplicate trailer",
        ),
    ],
)
def test_malformed_framing_is_rejected(body, code):
    """The message starts with that of S3."""
    with raises_s3_error(code) as error:
        _decode(_decoder(5, announced=(TRAILER,)), [body])

    assert error().message.startswith(
        (
            "The request contained trailing data that was not well-formed or did not conform to "
            "our published schema",
            "The request body terminated unexpectedly",
            "You did not provide the number of bytes specified by the Content-Length HTTP header",
        )
    )


def test_trailers_require_a_mode_with_trailers():
    decoder = _decoder(0, mode="STREAMING-AWS4-HMAC-SHA256-PAYLOAD")

    with raises_s3_error("IncompleteBody"):
        _decode(decoder, [b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"])


def test_a_mode_with_trailers_does_not_require_any():
    assert b"hello" == _decode(_decoder(5), [_framed([b"hello"])])


def test_one_empty_line_may_follow_the_end():
    """Some clients send it in place of trailers."""
    assert b"hello" == _decode(_decoder(5), [_framed([b"hello"], end=b"\r\n\r\n")])


def test_content_is_returned_as_views_of_the_input():
    data = b"5\r\nhello\r\n"

    (piece,) = _decoder(5).feed(data)

    assert data is piece.obj


@given(pieces=st.lists(st.binary(max_size=20), max_size=8))
def test_decoding_raises_only_s3_errors(pieces):
    """For any input."""
    with pytest.raises(S3Error):
        _decode(_decoder(10**6, announced=(TRAILER,)), pieces)
