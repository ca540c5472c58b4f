"""The responses to listings of objects: elements, their order, and their encoding."""

import pytest
from s3.protocol_builders import a_request, an_object, parsed, raises_s3_error

from worker.model import Checksum
from worker.s3.listing import V1, V2, VERSIONS, page, parse_list
from worker.s3.listing_responses import list_objects
from worker.s3.xml_responses import OWNER

CRC = Checksum("CRC32", "AAAAAA==")
SPECIAL = "a b&<é>+%\"'"


def _page(kind, keys, query=""):
    list_query = parse_list(a_request("GET", f"/out?{query}"), kind)
    items = [an_object(key=key, checksum=CRC) for key in sorted(keys)]
    found = page(lambda start: (each for each in items if each.key >= start), list_query)
    return list_objects("out", list_query, found).decode()


OBJECT = (
    "<LastModified>2023-11-14T22:13:20.000Z</LastModified>"
    "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>"
    "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
    "<Size>10</Size>"
)
OWNED = f"<Owner>{OWNER}</Owner><StorageClass>STANDARD</StorageClass>"
WITHOUT_OWNER = "<StorageClass>STANDARD</StorageClass>"
VERSION = "<VersionId>null</VersionId><IsLatest>true</IsLatest>"
PREFIXES = "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>"


@pytest.mark.parametrize(
    ("kind", "query", "content"),
    [
        pytest.param(
            V1,
            "",
            "<Prefix></Prefix><Marker></Marker><MaxKeys>1000</MaxKeys>"
            "<IsTruncated>false</IsTruncated>"
            f"<Contents><Key>a</Key>{OBJECT}{OWNED}</Contents>"
            f"<Contents><Key>b/1</Key>{OBJECT}{OWNED}</Contents>"
            f"<Contents><Key>c</Key>{OBJECT}{OWNED}</Contents>",
            id="ListObjects",
        ),
        pytest.param(
            V1,
            "delimiter=/&max-keys=2&encoding-type=URL&prefix=&marker=A",
            "<Prefix></Prefix><Marker>A</Marker><NextMarker>b/</NextMarker><MaxKeys>2</MaxKeys>"
            "<Delimiter>/</Delimiter><EncodingType>URL</EncodingType>"
            "<IsTruncated>true</IsTruncated>"
            f"<Contents><Key>a</Key>{OBJECT}{OWNED}</Contents>{PREFIXES}",
            id="ListObjects, truncated with a delimiter",
        ),
        pytest.param(
            V1,
            "max-keys=1&delimiter=",
            "<Prefix></Prefix><Marker></Marker><MaxKeys>1</MaxKeys><IsTruncated>true</IsTruncated>"
            f"<Contents><Key>a</Key>{OBJECT}{OWNED}</Contents>",
            id="ListObjects, truncated without a delimiter",
        ),
        pytest.param(
            V2,
            "delimiter=/&start-after=&max-keys=5000",
            "<Prefix></Prefix><StartAfter></StartAfter><KeyCount>3</KeyCount>"
            "<MaxKeys>5000</MaxKeys><Delimiter>/</Delimiter><IsTruncated>false</IsTruncated>"
            f"<Contents><Key>a</Key>{OBJECT}{WITHOUT_OWNER}</Contents>"
            f"<Contents><Key>c</Key>{OBJECT}{WITHOUT_OWNER}</Contents>{PREFIXES}",
            id="ListObjectsV2: keys before common prefixes",
        ),
        pytest.param(
            V2,
            "continuation-token=1YQ&start-after=b&max-keys=1&fetch-owner=true",
            "<Prefix></Prefix><ContinuationToken>1YQ</ContinuationToken>"
            "<NextContinuationToken>1YQA</NextContinuationToken><KeyCount>1</KeyCount>"
            "<MaxKeys>1</MaxKeys><IsTruncated>true</IsTruncated>"
            f"<Contents><Key>a</Key>{OBJECT}{OWNED}</Contents>",
            id="ListObjectsV2: a token supersedes StartAfter",
        ),
        pytest.param(
            V2,
            "max-keys=0",
            "<Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>0</MaxKeys>"
            "<IsTruncated>false</IsTruncated>",
            id="ListObjectsV2 of no key",
        ),
        pytest.param(
            VERSIONS,
            "delimiter=&max-keys=1",
            "<Prefix></Prefix><KeyMarker></KeyMarker><VersionIdMarker></VersionIdMarker>"
            "<NextKeyMarker>a</NextKeyMarker><NextVersionIdMarker>null</NextVersionIdMarker>"
            "<MaxKeys>1</MaxKeys><Delimiter></Delimiter><IsTruncated>true</IsTruncated>"
            f"<Version><Key>a</Key>{VERSION}{OBJECT}{OWNED}</Version>",
            id="ListObjectVersions: an empty delimiter is returned",
        ),
        pytest.param(
            VERSIONS,
            "delimiter=/&max-keys=1&key-marker=a&version-id-marker=null",
            "<Prefix></Prefix><KeyMarker>a</KeyMarker><VersionIdMarker>null</VersionIdMarker>"
            "<NextKeyMarker>b/</NextKeyMarker><MaxKeys>1</MaxKeys><Delimiter>/</Delimiter>"
            f"<IsTruncated>true</IsTruncated>{PREFIXES}",
            id="ListObjectVersions, truncated after a common prefix",
        ),
    ],
)
def test_responses_have_the_elements_in_the_order_of_s3(kind, query, content):
    root = "ListVersionsResult" if kind == VERSIONS else "ListBucketResult"

    assert (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>out</Name>'
        f"{content}</{root}>"
    ) == _page(kind, ["a", "b/1", "c"], query)


@pytest.mark.parametrize(
    ("kind", "query", "encoded"),
    [
        (V1, "marker=%20%3D", ("Prefix", "Delimiter", "Marker", "NextMarker", "Key")),
        (V2, "start-after=%20%3D", ("Prefix", "Delimiter", "StartAfter", "Key")),
        (
            VERSIONS,
            "key-marker=%20%3D",
            ("Prefix", "Delimiter", "KeyMarker", "NextKeyMarker", "Key"),
        ),
    ],
)
def test_encoding_type_url_encodes_each_field_that_has_a_key(kind, query, encoded):
    values = {
        "Prefix": ("+%3D/", " =/"),
        "Delimiter": ("%3D+", "= "),
        "Key": ("+%3D/k+1", " =/k 1"),
        "NextMarker": ("+%3D/p%3D+", " =/p= "),
        "NextKeyMarker": ("+%3D/p%3D+", " =/p= "),
    }
    keys = [" =/k 1", " =/p= 1", " =/z"]
    query += "&prefix=%20%3D/&delimiter=%3D%20&max-keys=2"

    found, plain = _page(kind, keys, query + "&encoding-type=url"), _page(kind, keys, query)

    for name in encoded:
        with_encoding, without = values.get(name, ("+%3D", " ="))
        assert f"<{name}>{with_encoding}</{name}>" in found
        assert f"<{name}>{without}</{name}>" in plain
    assert "<CommonPrefixes><Prefix>+%3D/p%3D+</Prefix></CommonPrefixes>" in found


@pytest.mark.parametrize(
    ("kind", "operation"),
    [(V1, "ListObjects"), (V2, "ListObjectsV2"), (VERSIONS, "ListObjectVersions")],
)
@pytest.mark.parametrize("encoding", ["", "&encoding-type=url"])
def test_clients_read_the_key_that_was_put(kind, operation, encoding):
    found = parsed(operation, _page(kind, [SPECIAL], encoding).encode())

    (item,) = found["Versions" if kind == VERSIONS else "Contents"]
    expected = "a+b%26%3C%C3%A9%3E%2B%25%22%27" if encoding else SPECIAL
    assert (expected, 10, ["CRC32"]) == (item["Key"], item["Size"], item["ChecksumAlgorithm"])


@pytest.mark.parametrize("kind", [V1, VERSIONS])
def test_a_marker_that_xml_cannot_represent_is_rejected(kind):
    """The next page would miss keys."""
    with raises_s3_error("InvalidRequest"):
        _page(kind, ["a\x01", "b"], "max-keys=1")

    assert "a%01" in _page(kind, ["a\x01", "b"], "max-keys=1&encoding-type=url")
    assert "<Key>a\ufffd</Key>" in _page(kind, ["a\x01", "b"])
