"""The body of a form upload: fields, file, framing and limits."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3.form_builders import BOUNDARY, a_body, a_file, a_form_request, a_part, decode
from s3.protocol_builders import a_request, raises_s3_error

from worker.s3.error_codes import S3Error
from worker.s3.post_form import MAX_PRE_DATA, FormDecoder, form_boundary

# Content that looks like boundaries and is none.
DECEPTIVE = (
    b"\r\n--"
    + BOUNDARY[:-1]
    + b"\r\n\r\n--"
    + BOUNDARY
    + b"x\r\n--\r\n\r\n\r\n-"
    + BOUNDARY
    + b"\r"
)


def values(form):
    """Return the values of a form by lower-case name."""
    return {name: field.value for name, field in form.fields.items()}


def test_the_fields_before_the_file_are_its_form():
    """Names are case-insensitive; what follows the file is ignored."""
    form, content = decode(
        a_part("kEy", "a/b"), a_part("Content-Type", "text/x"), a_file(), a_part("acl", "private")
    )

    assert {"key": "a/b", "content-type": "text/x"} == values(form)
    assert "kEy" == form.fields["key"].name
    assert b"content" == content


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 1000])
def test_a_body_may_be_divided_anywhere(step):
    form, content = decode(
        a_part("key", "k" * 50), a_file(DECEPTIVE), a_part("submit", "x"), step=step
    )

    assert ({"key": "k" * 50}, DECEPTIVE) == (values(form), content)


@given(
    content=st.lists(
        st.sampled_from([b"\r", b"\n", b"-", b"--", b"\r\n--", BOUNDARY, b"x", b"\0"]), max_size=20
    ).map(b"".join),
    step=st.integers(1, 40),
)
def test_any_content_without_its_boundary_is_received_as_it_is(content, step):
    if b"\r\n--" + BOUNDARY in b"\r\n" + content:
        return

    assert content == decode(a_part("key", "k"), a_file(content), step=step)[1]


def test_fields_of_one_name_are_joined_with_commas():
    """As S3 documents for ``Ninja`` and ``Stallman``."""
    form, _ = decode(
        a_part("key", "k"),
        a_part("x-amz-meta-tag", "Ninja"),
        a_part("X-Amz-Meta-Tag", "Stallman"),
        a_file(),
    )

    assert "Ninja,Stallman" == form.get("x-amz-meta-tag")


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        pytest.param("a.txt", "x/a.txt", id="a name"),
        pytest.param("dir/a.txt", "x/a.txt", id="a path"),
        pytest.param("C:\\\\Program Files\\\\a.txt", "x/a.txt", id="a path of Windows"),
        pytest.param("dir\\\\a.txt", "x/a.txt", id="a relative path of Windows"),
        pytest.param("../../a.txt", "x/a.txt", id="a path that climbs"),
        pytest.param("dir/", "x/", id="a folder"),
        pytest.param("", "x/", id="no file selected"),
        pytest.param("ü€.txt", "x/ü€.txt", id="not ASCII"),
        pytest.param("a;b=c.txt", "x/a;b=c.txt", id="separators"),
        pytest.param("${filename}", "x/${filename}", id="the variable"),
        pytest.param(None, "x/${filename}", id="without a name"),
    ],
)
def test_the_variable_is_the_name_of_the_file(filename, expected):
    """In all fields. Without a name it remains (recorded from S3 in 2026)."""
    form, _ = decode(
        a_part("key", "x/${filename}"),
        a_part("x-amz-meta-name", "x/${filename}"),
        a_file(filename=filename),
    )

    assert (expected, expected) == (form.get("key"), form.get("x-amz-meta-name"))


def test_the_variable_is_not_replaced_in_what_is_signed():
    form, _ = decode(a_part("policy", "${filename}"), a_part("signature", "${filename}"), a_file())

    assert {"policy": "${filename}", "signature": "${filename}"} == values(form)


def test_an_extended_file_name_is_ignored():
    """RFC 7578, 4.2, forbids it."""
    form, _ = decode(
        a_part("key", "${filename}"),
        a_part("file", "x", more="; filename=\"a.txt\"; filename*=UTF-8''b.txt"),
    )

    assert "a.txt" == form.get("key")


def test_every_part_may_have_a_filename():
    """Some clients send one with each field; only the part named ``file`` is the file."""
    form, content = decode(a_part("key", "k", more='; filename="key"'), a_file(b"x", None))

    assert ({"key": "k"}, b"x") == (values(form), content)


def test_parts_that_are_no_fields_are_ignored():
    form, _ = decode(
        b"\r\nno header",
        b'Content-Disposition: Form-Data; Name="x-ignore-a"\r\n\r\na field',
        b'Content-Disposition: file; name="file"\r\n\r\nno field',
        b"Content-Disposition: form-data\r\n\r\nno name",
        a_part("key", "k"),
        a_file(),
    )

    assert {"x-ignore-a": "a field", "key": "k"} == values(form)


@pytest.mark.parametrize(
    "files", [pytest.param(0, id="none"), pytest.param(2, id="two"), pytest.param(5, id="five")]
)
def test_a_form_has_exactly_one_file(files):
    with raises_s3_error("InvalidArgument") as error:
        decode(a_part("key", "k"), *[a_file()] * files)

    assert {"ArgumentName": "file", "ArgumentValue": str(files)} == error().fields
    assert "POST requires exactly one file upload per request." == error().message


def test_the_file_begins_within_20_kilobytes():
    """The content of the file has any size."""
    body = a_body(a_part("key", ""), a_file(b""))
    room = MAX_PRE_DATA - (body.index(b"text/plain") + len(b"text/plain\r\n\r\n"))

    form, content = decode(a_part("key", "k" * room), a_file(b"x" * 100_000))
    with raises_s3_error("MaxPostPreDataLengthExceeded") as error:
        decode(a_part("key", "k" * (room + 1)), a_file())

    assert (room, 100_000) == (len(form.get("key") or ""), len(content))
    assert {"MaxPostPreDataLengthBytes": "20480"} == error().fields


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"key=k&file=x", id="another encoding"),
        pytest.param(a_body(a_part("key", "k"), a_file(), boundary=b"other"), id="other boundary"),
        pytest.param(a_body(a_part("key", "k"), a_file())[:-4], id="end missing"),
        pytest.param(a_body(a_part("key", "k"), a_file())[:-30], id="within the file"),
        pytest.param(a_body(a_part("key", "k"))[:60], id="within a field"),
        pytest.param(a_body(a_part("key", "k"), a_file()).replace(b"\r\n", b"\n"), id="bare LF"),
        pytest.param(a_body(b"no header at all", a_file()), id="no header"),
        pytest.param(a_body(b": x\r\n\r\nx", a_file()), id="header without a name"),
        pytest.param(a_body(b"a b: x\r\n\r\nx", a_file()), id="space in a name"),
        pytest.param(a_body(a_part("key", b"\xff"), a_file()), id="field not UTF-8"),
        pytest.param(a_body(b'Content-Disposition: form-data; name="\xff"\r\n\r\n'), id="name"),
        pytest.param(
            a_body(
                a_part("key", "${filename}"),
                b'Content-Disposition: form-data; name="file"; filename="\xff"\r\n\r\n',
            ),
            id="file name not UTF-8",
        ),
    ],
)
def test_a_body_that_is_no_form_is_rejected(body):
    decoder = FormDecoder(BOUNDARY)

    with raises_s3_error("MalformedPOSTRequest"):
        decoder.feed(body)
        decoder.finish()


def test_what_follows_the_closing_boundary_is_ignored():
    decoder = FormDecoder(BOUNDARY)
    body = a_body(a_part("key", "k"), a_file())

    pieces = [*decoder.feed(body), *decoder.feed(b"anything" + body)]

    assert (b"content", "k") == (b"".join(pieces), decoder.finish().get("key"))


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; Boundary="a b:c"', b"a b:c"),
        ("multipart/form-data;boundary=" + "b" * 70, b"b" * 70),
    ],
)
def test_the_boundary_is_a_parameter_of_the_content_type(kind, boundary):
    assert boundary == form_boundary(a_form_request({"Content-Type": kind}))


@pytest.mark.parametrize(
    "kind",
    ["text/html", "application/x-www-form-urlencoded", "multipart/mixed; boundary=a", "", "form"],
)
def test_another_content_type_is_a_failed_precondition(kind):
    """Recorded from S3."""
    with raises_s3_error("PreconditionFailed") as error:
        form_boundary(a_form_request({"Content-Type": kind}))

    condition = "Bucket POST must be of the enclosure-type multipart/form-data"
    assert {"Condition": condition} == error().fields


def test_a_request_without_a_content_type_is_a_failed_precondition():
    with raises_s3_error("PreconditionFailed"):
        form_boundary(a_request("POST", "/out"))


@pytest.mark.parametrize(
    "parameters", ["", "; boundary", "; boundary=", '; boundary=""', "; boundary=" + "b" * 71]
)
def test_a_form_without_a_valid_boundary_is_malformed(parameters):
    with raises_s3_error("MalformedPOSTRequest"):
        form_boundary(a_form_request({"Content-Type": f"multipart/form-data{parameters}"}))


@given(
    st.lists(
        st.sampled_from(
            [
                b"--" + BOUNDARY,
                b"--",
                b"\r\n",
                b"\r",
                b"\n",
                b":",
                b" ",
                b"\t",
                b'"',
                b"\xff",
                b'Content-Disposition: form-data; name="file"',
                b'; filename="a"',
                b"\0",
                b'Content-Disposition: form-data; name="key"',
                b"x" * 5000,
            ]
        )
    ).map(b"".join)
)
def test_any_body_is_a_form_or_an_s3_error(body):
    """No other error; and a form has a file."""
    decoder = FormDecoder(BOUNDARY)
    with suppress(S3Error):
        decoder.feed(body)
        assert decoder.finish() is decoder.form


def test_a_long_name_of_a_file_is_not_repeated():
    """In fields of 10 KB, it would become 9 MB."""
    fields = [a_part(f"x-amz-meta-{number}", "${filename}" * 90) for number in range(9)]
    form, _ = decode(*fields, a_file(filename="folder/" * 100 + "a" * 1024))
    assert 9 * 90 * 1024 == sum(map(len, values(form).values()))

    with raises_s3_error("MalformedPOSTRequest"):
        decode(*fields, a_file(filename="a" * 1025))
