"""HTTP framing: messages whose end two parsers could see in different places are refused.

Each case is followed on the same connection by another request. Where the first one is refused,
the other one must not be answered: it could be the body that another parser took it for.
"""

import pytest
from attacks.wire import Wire, head, request, send_request

HOST = b"host: localhost\r\n"
GET = b"GET /labresults/a.txt HTTP/1.1\r\n"
PUT = b"PUT /out/framing HTTP/1.1\r\n" + HOST
CHUNKED = PUT + b"transfer-encoding: chunked\r\n\r\n"
NEXT = request("GET", "/labresults/a.txt")
END = b"0\r\n\r\n"
BODY = b"5\r\nhello\r\n" + END


def rows(**cases):
    """Return a parameter for each case, whose name has spaces for its underscores."""
    return [pytest.param(sent, id=name.replace("_", " ")) for name, sent in cases.items()]


def assert_refused(gateway, sent, code="BadRequest"):
    """Send *sent* and another request: the only response is an error, and the connection ends."""
    before = gateway.index.get("framing")
    with Wire(gateway.port) as wire:
        wire.send(sent + NEXT)
        reply = wire.reply()

        assert code == reply.code
        assert "close" == reply.headers["connection"]
        assert b"" == wire.rest()
    assert before == gateway.index.get("framing")


REQUEST_LINES = rows(
    without_a_version=b"GET /labresults/a.txt\r\n",
    without_a_target=b"GET HTTP/1.1\r\n",
    without_a_method=b" /labresults/a.txt HTTP/1.1\r\n",
    a_space_before=b" " + GET,
    an_empty_line_before=b"\r\n" + GET,
    a_line_feed_before=b"\n" + GET,
    two_spaces=b"GET  /labresults/a.txt HTTP/1.1\r\n",
    two_spaces_before_the_version=b"GET /labresults/a.txt  HTTP/1.1\r\n",
    a_space_after=b"GET /labresults/a.txt HTTP/1.1 \r\n",
    a_space_in_the_target=b"GET /labresults/a.txt x HTTP/1.1\r\n",
    tabs=b"GET\t/labresults/a.txt\tHTTP/1.1\r\n",
    a_tab_in_the_target=b"GET /labresults/\ta.txt HTTP/1.1\r\n",
    a_tab_in_a_target_of_UTF_8=b"GET /labresults/\t\xc3\xbc HTTP/1.1\r\n",
    NUL_in_the_target=b"GET /labresults/\0a.txt HTTP/1.1\r\n",
    NUL_in_a_target_of_UTF_8=b"GET /labresults/\0\xc3\xbc HTTP/1.1\r\n",
    CR_in_the_target=b"GET /labresults/\ra.txt HTTP/1.1\r\n",
    CR_in_a_target_of_UTF_8=b"GET /labresults/\r\xc3\xbc HTTP/1.1\r\n",
    DEL_in_the_target=b"GET /labresults/\x7fa.txt HTTP/1.1\r\n",
    DEL_in_a_target_of_UTF_8=b"GET /labresults/\x7f\xc3\xbc HTTP/1.1\r\n",
    NUL_in_the_method=b"GE\0T /labresults/a.txt HTTP/1.1\r\n",
    a_method_of_UTF_8=b"G\xc3\x89T /labresults/a.txt HTTP/1.1\r\n",
    a_colon_in_the_method=b"GET: /labresults/a.txt HTTP/1.1\r\n",
    HTTP_in_lower_case=b"GET /labresults/a.txt http/1.1\r\n",
    version_0_9=b"GET /labresults/a.txt HTTP/0.9\r\n",
    version_1_2=b"GET /labresults/a.txt HTTP/1.2\r\n",
    version_1_10=b"GET /labresults/a.txt HTTP/1.10\r\n",
    version_2_0=b"GET /labresults/a.txt HTTP/2.0\r\n",
    version_3=b"GET /labresults/a.txt HTTP/3\r\n",
    version_in_words=b"GET /labresults/a.txt HTTP/one\r\n",
    version_with_zeros=b"GET /labresults/a.txt HTTP/01.1\r\n",
    version_of_full_width_digits=b"GET /labresults/a.txt HTTP/\xef\xbc\x91.1\r\n",
)


@pytest.mark.parametrize("line", REQUEST_LINES)
def test_a_malformed_request_line_is_refused(gateway, line):
    """A method, a target and a version with one space between them (RFC 9112, 3)."""
    assert_refused(gateway, line + HOST + b"\r\n")


HEADS = rows(
    line_feeds_only=b"GET /labresults/a.txt HTTP/1.1\nhost: localhost\n\n",
    a_line_feed_after_the_request_line=b"GET /labresults/a.txt HTTP/1.1\n" + HOST + b"\r\n",
    a_line_feed_after_a_field=GET + b"host: localhost\nx: 1\r\n\r\n",
    a_line_feed_for_the_empty_line=GET + HOST + b"\n",
    a_line_feed_before_the_empty_line=GET + b"host: localhost\n\r\n",
    a_line_feed_in_a_value=GET + HOST + b"x: a\nb: c\r\n\r\n",
    CR_in_a_value=GET + HOST + b"x: a\rb: c\r\n\r\n",
    CR_before_the_end_of_a_line=GET + b"host: localhost\r\r\n\r\n",
    CR_in_a_name=GET + HOST + b"x\r: a\r\n\r\n",
    CR_before_the_first_field=GET + b"\r" + HOST + b"\r\n",
    NUL_in_a_name=GET + HOST + b"x\0: a\r\n\r\n",
    NUL_in_a_value=GET + HOST + b"x: a\0\r\n\r\n",
    a_vertical_tab_in_a_value=GET + HOST + b"x: a\x0bb\r\n\r\n",
    a_form_feed_in_a_value=GET + HOST + b"x: a\x0cb\r\n\r\n",
    a_control_character_in_a_name=GET + HOST + b"x\x01: a\r\n\r\n",
    UTF_8_in_a_name=GET + HOST + b"\xc3\xbc: a\r\n\r\n",
    a_space_before_the_colon=GET + HOST + b"x : a\r\n\r\n",
    a_tab_before_the_colon=GET + HOST + b"x\t: a\r\n\r\n",
    a_space_in_a_name=GET + HOST + b"x y: a\r\n\r\n",
    a_field_without_a_colon=GET + HOST + b"x\r\n\r\n",
    a_field_without_a_name=GET + HOST + b": a\r\n\r\n",
    a_space_before_the_first_field=GET + b" x: a\r\n" + HOST + b"\r\n",
    a_tab_before_the_first_field=GET + b"\tx: a\r\n" + HOST + b"\r\n",
    a_folded_value=GET + HOST + b"x: a\r\n b\r\n\r\n",
    a_value_folded_by_a_tab=GET + HOST + b"x: a\r\n\tb\r\n\r\n",
    a_value_that_is_folded_only=GET + HOST + b"x:\r\n a\r\n\r\n",
    a_folded_line_without_text=GET + HOST + b"x: a\r\n \r\n\r\n",
    a_folded_content_length=PUT + b"content-length:\r\n 5\r\n\r\nhello",
    a_folded_transfer_encoding=PUT + b"transfer-encoding:\r\n chunked\r\n\r\n" + BODY,
    a_folded_name=PUT + b"x: a\r\n transfer-encoding: chunked\r\n\r\n" + BODY,
    two_hosts=GET + HOST + HOST + b"\r\n",
    no_host=GET + b"\r\n",
)


@pytest.mark.parametrize("sent", HEADS)
def test_a_malformed_head_is_refused(gateway, sent):
    """Lines end with CRLF, and are not folded (RFC 9112, 2.2 and 5)."""
    assert_refused(gateway, sent)


LENGTHS = rows(
    empty=b"",
    plus=b"+5",
    minus=b"-5",
    space_inside=b"5 5",
    list_of_equal_ones=b"5, 5",
    list_of_different_ones=b"5, 6",
    list_with_an_empty_element=b"5,",
    hexadecimal=b"0x5",
    fraction=b"5.0",
    exponent=b"5e0",
    underscore=b"5_0",
    parameter=b"5;a=b",
    quoted=b'"5"',
    words=b"five",
    Arabic_digits="٥".encode(),
    vertical_tab=b"\x0b5",
    too_many_digits=b"5" * 21,
    megabyte_of_digits=b"5" * 60_000,
)


@pytest.mark.parametrize("value", LENGTHS)
def test_a_content_length_that_is_not_one_number_is_refused(gateway, value):
    """Only digits are one (RFC 9110, 8.6), and a list of them is none."""
    assert_refused(gateway, PUT + b"content-length: " + value + b"\r\n\r\nhello")


@pytest.mark.parametrize(
    "lengths",
    [
        pytest.param((b"5", b"5"), id="equal"),
        pytest.param((b"5", b"6"), id="different"),
        pytest.param((b"5", b"05"), id="equal numbers"),
        pytest.param((b"5", b""), id="one is empty"),
        pytest.param((b"0", b"5"), id="one is zero"),
    ],
)
def test_two_content_lengths_are_refused(gateway, lengths):
    first, second = lengths
    lines = b"content-length: %s\r\nx: 1\r\nContent-Length: %s\r\n\r\n" % (first, second)

    assert_refused(gateway, PUT + lines + b"hello")


CODINGS = rows(
    empty=b"transfer-encoding:\r\n",
    identity=b"transfer-encoding: identity\r\n",
    gzip=b"transfer-encoding: gzip, chunked\r\n",
    chunked_twice=b"transfer-encoding: chunked, chunked\r\n",
    chunked_then_identity=b"transfer-encoding: chunked, identity\r\n",
    two_fields=b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    two_different_fields=b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
    another_name=b"transfer-encoding: xchunked\r\n",
    a_parameter=b"transfer-encoding: chunked;x=1\r\n",
    quoted=b'transfer-encoding: "chunked"\r\n',
    a_comma=b"transfer-encoding: chunked,\r\n",
    a_control_character=b"transfer-encoding: \x01chunked\r\n",
)


@pytest.mark.parametrize("lines", CODINGS)
@pytest.mark.parametrize("length", [b"", b"content-length: 5\r\n"], ids=["", "and a length"])
def test_any_transfer_coding_but_chunked_is_refused(gateway, lines, length):
    """It is not implemented (RFC 9112, 6.1)."""
    assert_refused(gateway, PUT + length + lines + b"\r\n" + BODY, "NotImplemented")


def test_a_transfer_encoding_in_http_1_0_is_refused(gateway):
    """Its framing is faulty (RFC 9112, 6.1)."""
    sent = b"PUT /out/framing HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"

    assert_refused(gateway, sent + BODY)


@pytest.mark.parametrize("name", [b"transfer-encoding", b"Transfer-Encoding", b"TRANSFER-ENCODING"])
@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"\tchunked ", b"CHUNKED"])
def test_chunked_is_not_case_sensitive(gateway, name, value):
    with Wire(gateway.port) as wire:
        wire.send(PUT + name + b":" + value + b"\r\n\r\n" + BODY + NEXT)

        assert [200, 200] == [wire.reply("PUT").status, wire.reply().status]
    assert 5 == gateway.index.get("framing").size


@pytest.mark.parametrize("target", ["/out/framing", "/labresults/k", "/-/healthz"])
@pytest.mark.parametrize("length", ["0", "5", "15", "1000000"])
def test_a_length_beside_chunked_ends_the_connection(gateway, target, length):
    """The body is that of the chunks, and what follows may be part of it to another parser.

    RFC 9112, 6.3: the connection is closed after the response.
    """
    with Wire(gateway.port) as wire:
        both = {"content-length": length, "transfer-encoding": "chunked"}
        wire.send(request("PUT", target, both, BODY) + NEXT)
        reply = wire.reply("PUT")

        assert "close" == reply.headers["connection"]
        assert b"" == wire.rest()


CHUNKS = rows(
    hexadecimal_prefix=b"0x5\r\nhello\r\n" + END,
    plus=b"+5\r\nhello\r\n" + END,
    minus=b"-5\r\nhello\r\n" + END,
    underscore=b"0_5\r\nhello\r\n" + END,
    no_digit=b"\r\nhello\r\n" + END,
    no_digit_but_an_extension=b";a\r\nhello\r\n" + END,
    no_hexadecimal_digit=b"g\r\nhello\r\n" + END,
    a_space_before=b" 5\r\nhello\r\n" + END,
    a_space_after=b"5 \r\nhello\r\n" + END,
    a_tab_after=b"5\t\r\nhello\r\n" + END,
    two_sizes=b"5 5\r\nhello\r\n" + END,
    NUL_after=b"5\0\r\nhello\r\n" + END,
    quoted=b'"5"\r\nhello\r\n' + END,
    more_than_64_bits=b"1" + b"0" * 16 + b"\r\nhello\r\n" + END,
    zeros_without_end=b"0" * 70_000,
    zeros_before=b"0" * 20 + b"5\r\nhello\r\n" + END,
    a_line_feed_after_the_size=b"5\nhello\r\n" + END,
    CR_after_the_size=b"5\rhello\r\n" + END,
    two_CR_after_the_size=b"5\r\r\nhello\r\n" + END,
    a_line_feed_in_an_extension=b"5;a\n\r\nhello\r\n" + END,
    a_line_feed_after_an_extension=b"5;a\nhello\r\n" + END,
    CR_in_an_extension=b"5;a\rb\r\nhello\r\n" + END,
    NUL_in_an_extension=b"5;a\0\r\nhello\r\n" + END,
    an_extension_of_10_KB=b"5;" + b"a" * 10_000 + b"\r\nhello\r\n" + END,
    an_extension_without_end=b"5;" + b"a" * 100_000,
    extensions_of_100_KB_altogether=(b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 100 + END,
    nothing_after_the_data=b"5\r\nhello0\r\n\r\n",
    a_line_feed_after_the_data=b"5\r\nhello\n0\r\n\r\n",
    CR_after_the_data=b"5\r\nhello\r0\r\n\r\n",
    more_data=b"5\r\nhello!\r\n0\r\n\r\n",
    a_line_feed_after_the_last_size=b"5\r\nhello\r\n0\n\r\n",
    a_line_feed_for_the_last_line=b"5\r\nhello\r\n0\r\n\n",
    a_line_feed_after_a_trailer=b"5\r\nhello\r\n0\r\nx: a\n\r\n",
    line_feeds_after_a_trailer=b"5\r\nhello\r\n0\r\nx: a\n\n",
    a_folded_trailer=b"5\r\nhello\r\n0\r\nx: a\r\n b\r\n\r\n",
    a_trailer_without_a_colon=b"5\r\nhello\r\n0\r\nx\r\n\r\n",
    a_trailer_with_a_space=b"5\r\nhello\r\n0\r\nx : a\r\n\r\n",
    a_trailer_with_NUL=b"5\r\nhello\r\n0\r\nx: \0\r\n\r\n",
    a_trailer_with_CR=b"5\r\nhello\r\n0\r\nx: a\rb\r\n\r\n",
    a_request_for_a_trailer=b"5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
    a_trailer_of_100_KB=b"5\r\nhello\r\n0\r\nx: " + b"a" * 100_000 + b"\r\n\r\n",
    trailers_of_100_KB=b"5\r\nhello\r\n0\r\n" + b"x: 1\r\n" * 17_000 + b"\r\n",
)


@pytest.mark.parametrize("sent", CHUNKS)
@pytest.mark.parametrize("divided", [False, True], ids=["at once", "divided"])
def test_malformed_chunks_are_refused(gateway, sent, divided):
    """A size, its data and CRLF after each (RFC 9112, 7.1); nothing is stored."""
    before = gateway.index.get("framing")
    with Wire(gateway.port) as wire:
        if divided:
            wire.send(CHUNKED)
            assert 200 == send_request(gateway.port, "HEAD", "/out").status
            wire.send(sent[:3])
            assert 200 == send_request(gateway.port, "HEAD", "/out").status
            wire.send(sent[3:] + NEXT)
        else:
            wire.send(CHUNKED + sent + NEXT)
        reply = wire.reply("PUT")

        assert "IncompleteBody" == reply.code
        assert "close" == reply.headers["connection"]
        assert b"" == wire.rest()
    assert before == gateway.index.get("framing")


BODIES = rows(
    one_chunk=BODY,
    size_in_upper_case=b"A\r\nhellohello\r\n0\r\n\r\n",
    zeros=b"0005\r\nhello\r\n000\r\n\r\n",
    an_extension=b"5;a=b\r\nhello\r\n0;c\r\n\r\n",
    a_quoted_extension=b'5;a="b;c"\r\nhello\r\n0\r\n\r\n',
    spaces_around_an_extension=b"5 ; a = b\r\nhello\r\n0\r\n\r\n",
    trailers=b"5\r\nhello\r\n0\r\nx: a\r\ny:\r\n\r\n",
    a_content_length_in_the_trailers=b"5\r\nhello\r\n0\r\ncontent-length: 100\r\n\r\n",
    a_transfer_encoding_in_the_trailers=b"5\r\nhello\r\n0\r\ntransfer-encoding: chunked\r\n\r\n",
    a_host_in_the_trailers=b"5\r\nhello\r\n0\r\nhost: out.example\r\n\r\n",
    an_authorization_in_the_trailers=b"5\r\nhello\r\n0\r\nauthorization: AWS a:b\r\n\r\n",
    metadata_in_the_trailers=b"5\r\nhello\r\n0\r\nx-amz-meta-a: b\r\n\r\n",
)


@pytest.mark.parametrize("sent", BODIES)
def test_extensions_and_trailers_of_chunks_are_ignored(gateway, sent):
    """Trailers are not headers (RFC 9110, 6.5.1). However they are divided, the next request is
    answered.
    """
    for cut in range(len(sent)):
        with Wire(gateway.port) as wire:
            wire.send(CHUNKED + sent[:cut])
            if cut % 16 == 0:
                send_request(gateway.port, "HEAD", "/out")
            wire.send(sent[cut:] + NEXT)

            assert [200, b"alpha"] == [wire.reply("PUT").status, wire.reply().body]

    found = gateway.index.get("framing")
    assert (5 * sent.count(b"hello"), {}) == (found.size, found.metadata)


FIRST = rows(
    of_a_page=request("GET", "/-/healthz"),
    of_a_page_with_a_body=request("GET", "/-/healthz", {}, b"x"),
    of_a_page_with_chunks=head("GET", "/-/", {"transfer-encoding": "chunked"}) + BODY,
    of_a_page_that_is_none=request("GET", "/-/none", {}, b"x"),
    of_a_page_with_another_method=request("POST", "/-/", {}, b"x"),
    of_an_object_with_a_body=request("GET", "/labresults/a.txt", {}, b"x"),
    of_an_upload_that_is_refused=request("PUT", "/labresults/k", {}, b"x"),
)


@pytest.mark.parametrize("first", FIRST)
def test_the_request_after_a_response_is_complete(gateway, first):
    """Its body arrives later than its head, which is sent as soon as the response is there."""
    with Wire(gateway.port, deadline=10) as wire:
        for _ in range(12):
            wire.send(first)
            wire.reply()
            wire.send(head("PUT", "/out/after", {"content-length": "5"}))
            assert 200 == send_request(gateway.port, "HEAD", "/out").status
            wire.send(b"hello")

            assert 200 == wire.reply("PUT").status


@pytest.mark.parametrize(
    ("target", "method"),
    [
        pytest.param("http://gateway/labresults/a.txt", "GET", id="absolute"),
        pytest.param("HTTP://gateway:80/labresults/a.txt", "GET", id="absolute with a port"),
        pytest.param("http://", "GET", id="absolute without a host"),
        pytest.param("ftp://gateway/labresults/a.txt", "GET", id="another scheme"),
        pytest.param("gateway:443", "CONNECT", id="authority"),
        pytest.param("gateway:443", "GET", id="authority of a GET"),
        pytest.param("*", "OPTIONS", id="asterisk"),
        pytest.param("labresults/a.txt", "GET", id="relative"),
        pytest.param("?x", "GET", id="query"),
        pytest.param("#", "GET", id="fragment"),
        pytest.param("//gateway/labresults/a.txt", "GET", id="without a scheme"),
    ],
)
def test_every_form_of_target_has_one_response(gateway, target, method):
    """The next request is answered (RFC 9112, 3.2)."""
    with Wire(gateway.port) as wire:
        wire.send(head(method, target) + NEXT)
        first, second = wire.reply(method), wire.reply()

    assert first.status < 500
    assert (200, b"alpha") == (second.status, second.body)


@pytest.mark.parametrize(
    "sent",
    rows(
        preface=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        preface_and_settings=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        preface_with_a_host=b"PRI * HTTP/2.0\r\n" + HOST + b"\r\nSM\r\n\r\n",
    ),
)
def test_http2_is_refused(gateway, sent):
    """The response is HTTP/1.1."""
    assert_refused(gateway, sent)
