"""XML request bodies."""

import pytest
from builders import checksum_of
from s3.protocol_builders import raises_s3_error

from worker.s3.checksums import ALGORITHMS
from worker.s3.conditions import Conditions
from worker.s3.multipart import ListedPart
from worker.s3.xml_requests import ObjectToDelete, parse_complete, parse_delete, parse_tagging


def test_a_completion_is_parsed_in_the_order_listed():
    body = (
        b'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<Part><ETag>&quot;abc&quot;</ETag><PartNumber>1</PartNumber>"
        b"<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>"
        b'<Part><PartNumber> 2 </PartNumber><ETag>"def"</ETag><Unknown/></Part>'
        b"<Part><PartNumber>5</PartNumber><ETag>&#34;ghi&#34;</ETag></Part>"
        b"<Part><PartNumber>6</PartNumber><ETag>jkl</ETag></Part>"
        b"</CompleteMultipartUpload>"
    )

    assert (
        ListedPart(1, "abc", {"CRC32": "AAAAAA=="}),
        ListedPart(2, "def"),
        ListedPart(5, "ghi"),
        ListedPart(6, "jkl"),
    ) == parse_complete(body)


def _completion(*parts):
    return b"<CompleteMultipartUpload>" + b"".join(parts) + b"</CompleteMultipartUpload>"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"", "InvalidRequest", id="empty"),
        pytest.param(_completion(), "MalformedXML", id="no parts"),
        pytest.param(_completion(b"<Part/>"), "MalformedXML", id="empty part"),
        pytest.param(
            _completion(b"<Part><PartNumber>1</PartNumber></Part>"), "MalformedXML", id="no ETag"
        ),
        pytest.param(
            _completion(b"<Part><PartNumber>one</PartNumber><ETag>a</ETag></Part>"),
            "MalformedXML",
            id="number not a number",
        ),
        pytest.param(
            _completion(b"<Part><PartNumber>0</PartNumber><ETag>a</ETag></Part>"),
            "InvalidArgument",
            id="number 0",
        ),
        pytest.param(
            _completion(*[b"<Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>"] * 10_001),
            "MalformedXML",
            id="10,001 parts",
        ),
    ],
)
def test_an_invalid_completion_is_rejected(body, code):
    """1 to 10,000 parts, each with number and ETag."""
    with raises_s3_error(code):
        parse_complete(body)


def _numbered(number):
    return _completion(f"<Part><PartNumber>{number}</PartNumber><ETag>a</ETag></Part>".encode())


@pytest.mark.parametrize("number", ["7", "007", " 7 ", "\n\t7\r\n", "&#55;", "<![CDATA[7]]>"])
def test_a_part_number_may_be_surrounded_by_white_space_of_xml(number):
    assert (ListedPart(7, "a"),) == parse_complete(_numbered(number))


@pytest.mark.parametrize(
    "number",
    [
        *(
            "",
            " ",
            "+7",
            "++7",
            "--7",
            "- 7",
            "7 7",
            "7_0",
            "7.0",
            "7e0",
            "0x7",
            "7;",
            "#7",
            "7" * 21,
        ),
        *("\u0667", "\uff17", "\u00b2", "\u00a07", "7\u2003", "\u30007", "7\u0085", "7<x/>7_"),
    ],
    ids=ascii,
)
def test_a_part_number_has_digits_of_ascii_only(number):
    """As in a query."""
    with raises_s3_error("MalformedXML"):
        parse_complete(_numbered(number))


@pytest.mark.parametrize(
    ("elements", "shown"),
    [
        pytest.param("<ChecksumCRC32>invalid</ChecksumCRC32>", "invalid", id="not Base64"),
        pytest.param("<ChecksumCRC32>AAAA</ChecksumCRC32>", "AAAA", id="too short"),
        pytest.param(
            "<ChecksumCRC32>AAAAAA==</ChecksumCRC32><ChecksumSHA1>YQ==</ChecksumSHA1>",
            "CRC32:AAAAAA==;SHA1:YQ==;",
            id="two checksums",
        ),
    ],
)
def test_a_part_has_at_most_one_checksum_which_is_base64(elements, shown):
    part = f"<Part><PartNumber>1</PartNumber><ETag>e</ETag>{elements}</Part>"
    with raises_s3_error("InvalidArgument") as error:
        parse_complete(f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode())

    assert "Invalid Base64 or multiple checksums present in request" == error().message
    assert {"ArgumentName": "Checksum", "ArgumentValue": shown} == error().fields


def test_an_error_repeats_the_start_of_a_long_checksum():
    part = f"<ETag>e</ETag><PartNumber>1</PartNumber><ChecksumCRC32>{'x' * 1_900_000}"
    with raises_s3_error("InvalidArgument") as error:
        parse_complete(_completion(f"<Part>{part}</ChecksumCRC32></Part>".encode()))

    assert "x" * 256 == error().fields["ArgumentValue"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_part_may_have_a_checksum_of_each_algorithm(algorithm):
    value = checksum_of(algorithm, [b"a"]).value
    name = f"Checksum{algorithm}"
    part = f"<Part><PartNumber>1</PartNumber><ETag>e</ETag><{name}>{value}</{name}></Part>"

    parts = parse_complete(f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode())

    assert (ListedPart(1, "e", {algorithm: value}),) == parts


def test_objects_to_delete_are_parsed_with_their_conditions():
    found = parse_delete(
        b"<Delete><Object><Key> a&amp;b </Key></Object>"
        b'<Object><ETag>"d"</ETag><Key>c</Key></Object>'
        b"<Quiet>true</Quiet></Delete>"
    )

    assert found.quiet
    assert (
        ObjectToDelete(" a&b ", None, Conditions()),
        ObjectToDelete(
            "c",
            None,
            Conditions(if_match=("d",)),
        ),
    ) == found.objects


@pytest.mark.parametrize(("version", "code"), [("null", None), ("", None), ("x", "NoSuchVersion")])
def test_the_only_version_is_null(version, code):
    body = f"<Delete><Object><Key>a</Key><VersionId>{version}</VersionId></Object></Delete>"

    rejection = parse_delete(body.encode()).objects[0].rejection

    assert code == (rejection and rejection.code)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        pytest.param("k" * 1024, None, id="1,024 bytes"),
        pytest.param("k" * 1025, "KeyTooLongError", id="1,025 bytes"),
        pytest.param("ü" * 513, "KeyTooLongError", id="1,026 bytes in 513 characters"),
        pytest.param("k" * 1_900_000, "KeyTooLongError", id="1.9 MB"),
    ],
)
def test_a_key_that_is_too_long_is_rejected_and_shown_in_part(key, code):
    """The other objects of the request are deleted."""
    body = f"<Delete><Object><Key>{key}</Key></Object><Object><Key>b</Key></Object></Delete>"

    first, second = parse_delete(body.encode()).objects

    assert code == (first.rejection and first.rejection.code)
    assert key[:1024] == first.shown_key
    assert second.rejection is None


@pytest.mark.parametrize("name", ["VersionId", "ETag"])
def test_a_version_or_an_etag_that_is_too_long_is_malformed(name):
    """No response repeats it."""
    with raises_s3_error("MalformedXML"):
        parse_delete(
            f"<Delete><Object><Key>a</Key><{name}>{'3' * 1025}</{name}></Object></Delete>".encode()
        )


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param(b"", id="no objects"),
        pytest.param(b"<Object/>", id="no key"),
        pytest.param(b"<Object><Key>a</Key><Key>a</Key></Object>", id="two keys"),
        pytest.param(b"<Object><Key>a</Key><ETag/><ETag/></Object>", id="two ETags"),
        pytest.param(b"<Object><Key>a</Key><Size>1</Size></Object>", id="size"),
        pytest.param(
            b"<Object><Key>a</Key><LastModifiedTime>x</LastModifiedTime></Object>", id="time"
        ),
        pytest.param(b"<Object><Key>a</Key><Other/></Object>", id="unknown element of an object"),
        pytest.param(b"<Object><Key>a</Key></Object><Other/>", id="unknown element"),
        pytest.param(b"<Quiet/><Object><Key>a</Key></Object><Quiet/>", id="two flags"),
        pytest.param(b"<Quiet>true</Quiet>", id="only the flag"),
        pytest.param(b"<Object><Key>a</Key></Object>" * 1001, id="1,001 objects"),
    ],
)
def test_an_invalid_delete_is_rejected(inside):
    """1 to 1,000 objects."""
    with raises_s3_error("MalformedXML"):
        parse_delete(b"<Delete>" + inside + b"</Delete>")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MissingRequestBodyError"),
        (b"<Delete><Object><Key/></Object></Delete>", "UserKeyMustBeSpecified"),
    ],
)
def test_a_delete_without_a_body_or_a_key_is_named(body, code):
    with raises_s3_error(code):
        parse_delete(body)


def test_an_object_that_is_listed_twice_is_deleted_once():
    """As recorded from S3. With another version or condition, it is another entry."""
    rows = (
        b"<Object><Key>a</Key></Object>",
        b"<Object><Key>b</Key><ETag>x</ETag></Object>",
        b"<Object><Key>a</Key><VersionId>null</VersionId></Object>",
        b"<Object><Key>b</Key><ETag>y</ETag></Object>",
    )
    once = parse_delete(b"<Delete>" + b"".join(rows) + b"</Delete>").objects

    assert 4 == len(once)
    assert once == parse_delete(b"<Delete>" + b"".join(rows * 2) + b"</Delete>").objects


def test_1000_keys_of_1024_bytes_can_be_deleted():
    rows = [
        b"<Object><Key>%s</Key></Object>" % str(number).rjust(1024).encode()
        for number in range(1000)
    ]

    assert 1000 == len(parse_delete(b"<Delete>" + b"".join(rows) + b"</Delete>").objects)


def test_tags_are_parsed():
    """Values may be empty."""
    body = (
        b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag>"
        b"<Tag><Key>b</Key><Value/></Tag></TagSet></Tagging>"
    )

    assert {"a": "1", "b": ""} == parse_tagging(body)
    assert {} == parse_tagging(b"<Tagging><TagSet/></Tagging>")


@pytest.mark.parametrize(
    ("inside", "code"),
    [
        (b"<TagSet><Tag><Key>a</Key></Tag></TagSet>", "MalformedXML"),
        (b"<TagSet><Tag><Key>!</Key><Value>1</Value></Tag></TagSet>", "InvalidTag"),
    ],
)
def test_invalid_tags_are_rejected(inside, code):
    with raises_s3_error(code):
        parse_tagging(b"<Tagging>" + inside + b"</Tagging>")
