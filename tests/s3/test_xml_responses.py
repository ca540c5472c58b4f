"""The documents that S3 answers with, read by botocore as a client reads them."""

import pytest
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.session import Session
from s3.scene import a_part, a_request, an_object, an_upload, refused

from worker.model import Checksum, Part
from worker.s3 import listing, xml_responses
from worker.s3.error_codes import S3Error
from worker.s3.reads import attributes
from worker.s3.xml_requests import parse_xml

MODEL = ServiceModel(Session().get_service_data("s3"))
CRC = Checksum("CRC32", "AAAAAA==")
STRANGE = "a b&<é>+%\"'"


def _read(operation, body, *, status=200):
    """Return what botocore makes of a document."""
    shape = MODEL.operation_model(operation).output_shape
    response = {"status_code": status, "headers": {}, "body": body}
    return create_parser("rest-xml").parse(response, shape)


def _page(kind, keys, **params):
    query = "&".join(f"{name.replace('_', '-')}={value}" for name, value in params.items())
    asked = listing.parse_list(a_request("GET", f"/out?{query}"), kind)
    items = [an_object(key=key, checksum=CRC) for key in sorted(keys)]
    found = listing.page(lambda start: (each for each in items if each.key >= start), asked)
    return xml_responses.list_page("out", asked, found)


def test_lists_buckets():
    """Buckets come with names and dates, in order."""
    found = _read("ListBuckets", xml_responses.list_buckets([("out", 0), ("in", 1500)]))

    assert ["in", "out"] == [bucket["Name"] for bucket in found["Buckets"]]
    assert 1 == found["Buckets"][0]["CreationDate"].second


def test_lists_objects():
    """A client gets key, size, ETag, date and kind of checksum of each object."""
    found = _read("ListObjectsV2", _page(listing.V2, [STRANGE, "b/1"], delimiter="/"))

    (item,) = found["Contents"]
    assert (STRANGE, 10, "STANDARD") == (item["Key"], item["Size"], item["StorageClass"])
    assert '"d41d8cd98f00b204e9800998ecf8427e"' == item["ETag"]
    assert (["CRC32"], "FULL_OBJECT") == (item["ChecksumAlgorithm"], item["ChecksumType"])
    assert 2023 == item["LastModified"].year
    assert [{"Prefix": "b/"}] == found["CommonPrefixes"]
    assert (2, 1000, False) == (found["KeyCount"], found["MaxKeys"], found["IsTruncated"])
    assert ("out", "", "/") == (found["Name"], found["Prefix"], found["Delimiter"])
    assert "Owner" not in item


def test_echoes_what_was_asked_of_version_2():
    """Token and start-after come back, and a page that goes on says where."""
    page = _page(
        listing.V2, "abc", continuation_token="", start_after="a", max_keys=1, fetch_owner="true"
    )

    found = _read("ListObjectsV2", page)

    assert ("", "a", True) == (
        found["ContinuationToken"],
        found["StartAfter"],
        found["IsTruncated"],
    )
    assert found["NextContinuationToken"]
    assert "worker" == found["Contents"][0]["Owner"]["ID"]


def test_echoes_what_was_asked_of_version_1():
    """V1 gives its marker even when empty, and NextMarker with a delimiter alone."""
    plain = _read("ListObjects", _page(listing.V1, "abc", max_keys=1))
    folded = _read("ListObjects", _page(listing.V1, "abc", max_keys=1, delimiter="/"))

    assert ("", True) == (plain["Marker"], plain["IsTruncated"])
    assert "NextMarker" not in plain
    assert "a" == folded["NextMarker"]
    assert "worker" == folded["Contents"][0]["Owner"]["ID"]


def test_encodes_names_for_those_who_ask():
    """encoding-type=url goes for every name but the prefix of V1."""
    page = _page(listing.V1, ["a b/c d", "a b/e f/g"], encoding_type="url", prefix="a%20b/",
                 delimiter="f/", marker="a%20")  # fmt: skip

    found = _read("ListObjects", page)

    assert "a%20b/c%20d" == found["Contents"][0]["Key"]
    assert "a%20b/e%20f/" == found["CommonPrefixes"][0]["Prefix"]
    assert ("a b/", "a%20", "f/") == (found["Prefix"], found["Marker"], found["Delimiter"])
    assert (
        "a%20b/"
        == _read("ListObjectsV2", _page(listing.V2, [], encoding_type="url", prefix="a%20b/"))[
            "Prefix"
        ]
    )


@pytest.mark.parametrize("kind", [listing.V1, listing.VERSIONS])
def test_never_goes_on_from_a_name_that_was_changed(kind):
    """A marker that XML cannot carry would come back as another, and keys would be missed."""
    with refused("InvalidRequest"):
        _page(kind, ["a\x01", "b"], max_keys=1)

    assert b"a%01" in _page(kind, ["a\x01", "b"], max_keys=1, encoding_type="url")
    assert b"<Key>a\xef\xbf\xbd</Key>" in _page(kind, ["a\x01", "b"])


def test_lists_versions():
    """Every object is its own latest version."""
    found = _read("ListObjectVersions", _page(listing.VERSIONS, "ab", max_keys=1))

    (version,) = found["Versions"]
    assert ("a", "null", True) == (version["Key"], version["VersionId"], version["IsLatest"])
    assert ("a", "null") == (found["NextKeyMarker"], found["NextVersionIdMarker"])


def test_lists_uploads():
    """Uploads come with key, id and date."""
    query = listing.parse_uploads(a_request("GET", "/out?uploads&max-uploads=1"))
    uploads = [
        an_upload("a&b", "1", algorithm="CRC32", checksum_type="COMPOSITE"),
        an_upload("c", "2"),
    ]
    body = xml_responses.list_uploads("out", query, listing.uploads_page(uploads, query))

    found = _read("ListMultipartUploads", body)

    (upload,) = found["Uploads"]
    assert ("a&b", "1", "CRC32") == (upload["Key"], upload["UploadId"], upload["ChecksumAlgorithm"])
    assert ("a&b", "1", True) == (
        found["NextKeyMarker"],
        found["NextUploadIdMarker"],
        found["IsTruncated"],
    )


def test_lists_parts():
    """Parts come with number, size, ETag and checksum."""
    query = listing.parse_parts(a_request("GET", "/out/k?uploadId=1&max-parts=1"))
    parts = [a_part(1, 5, checksum=CRC), a_part(2, 5)]
    page = listing.parts_page(parts, query)

    found = _read("ListParts", xml_responses.list_parts("out", an_upload(), query, page))

    (part,) = found["Parts"]
    assert (1, 5, "AAAAAA==") == (part["PartNumber"], part["Size"], part["ChecksumCRC32"])
    assert (1, True) == (found["NextPartNumberMarker"], found["IsTruncated"])


@pytest.mark.parametrize(
    ("operation", "body", "expected"),
    [
        (
            "CreateMultipartUpload",
            xml_responses.initiated("out", "k&", "id"),
            {"Bucket": "out", "Key": "k&", "UploadId": "id"},
        ),
        (
            "CompleteMultipartUpload",
            xml_responses.completed(
                "out", "k", etag="e-1", checksum=CRC, location="http://h/out/k"
            ),
            {
                "Location": "http://h/out/k",
                "Bucket": "out",
                "Key": "k",
                "ETag": '"e-1"',
                "ChecksumCRC32": "AAAAAA==",
                "ChecksumType": "FULL_OBJECT",
            },
        ),
        (
            "GetObjectTagging",
            xml_responses.tagging({"a": "<1>"}),
            {"TagSet": [{"Key": "a", "Value": "<1>"}]},
        ),
        (
            "DeleteObjects",
            xml_responses.deleted([("a", None), ("b", S3Error("AccessDenied"))], quiet=False),
            {
                "Deleted": [{"Key": "a"}],
                "Errors": [{"Key": "b", "Code": "AccessDenied", "Message": "Access Denied"}],
            },
        ),
        ("DeleteObjects", xml_responses.deleted([("a", None)], quiet=True), {}),
    ],
    ids=["initiated", "completed", "tagging", "deleted", "deleted quietly"],
)
def test_answers(operation, body, expected):
    """Each document says to a client what it must."""
    found = _read(operation, body)
    found.pop("ResponseMetadata")

    assert expected == found


@pytest.mark.parametrize("operation", ["CopyObject", "UploadPartCopy"])
def test_answers_copies(operation):
    """The copy of an object or a range has an ETag, a date and a checksum."""
    make = xml_responses.copied if operation == "CopyObject" else xml_responses.part_copied

    found = _read(operation, make(etag="abc", modified=1500, checksum=CRC))

    result = found.get("CopyObjectResult") or found["CopyPartResult"]
    assert ('"abc"', "AAAAAA==") == (result["ETag"], result["ChecksumCRC32"])


def test_tells_an_error():
    """Code, message, the facts of that code, the resource and both ids."""
    fault = S3Error("NoSuchKey", Key=STRANGE)
    body = xml_responses.error(fault, resource="/out/k\x01", request_id="R", host_id="H")

    found = _read("GetObject", body, status=404)

    assert {
        "Code": "NoSuchKey",
        "Message": "The specified key does not exist.",
        "Key": STRANGE,
        "Resource": "/out/k\ufffd",
    } == found["Error"]
    written = parse_xml(body, "Error")
    assert ("R", "H") == (written.get("RequestId"), written.get("HostId"))


def test_tells_the_attributes_of_an_object():
    """All that GetObjectAttributes can be asked for, the parts in pages."""
    facts = an_object(checksum=CRC, parts=(Part(1, 5, checksum=CRC), Part(4, 5)))
    headers = {
        "x-amz-object-attributes": "ETag,Checksum,ObjectParts, StorageClass,ObjectSize",
        "x-amz-max-parts": "1",
    }

    found = _read("GetObjectAttributes", attributes(a_request("GET", "/out/k", headers), facts))

    assert (facts.etag, 10, "STANDARD") == (
        found["ETag"],
        found["ObjectSize"],
        found["StorageClass"],
    )
    assert {"ChecksumCRC32": "AAAAAA==", "ChecksumType": "FULL_OBJECT"} == found["Checksum"]
    parts = found["ObjectParts"]
    assert (2, True, 1) == (
        parts["TotalPartsCount"],
        parts["IsTruncated"],
        parts["NextPartNumberMarker"],
    )
    assert [{"PartNumber": 1, "Size": 5, "ChecksumCRC32": "AAAAAA=="}] == parts["Parts"]


@pytest.mark.parametrize("value", ["", "Owner", "ETag,Owner", ","])
def test_refuses_attributes(value):
    """What is asked for must be one of the five."""
    with pytest.raises(S3Error):
        attributes(a_request("GET", "/out/k", {"x-amz-object-attributes": value}), an_object())
