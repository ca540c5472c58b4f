"""XML response bodies, parsed by botocore."""

import pytest
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.session import Session
from s3.protocol_builders import a_part, a_request, an_object, an_upload, raises_s3_error

from worker.model import Checksum, Part
from worker.s3 import listing, xml_responses
from worker.s3.attributes import attributes
from worker.s3.error_codes import S3Error
from worker.s3.xml_requests import parse_xml

MODEL = ServiceModel(Session().get_service_data("s3"))
CRC = Checksum("CRC32", "AAAAAA==")
SPECIAL = "a b&<é>+%\"'"


def _parse(operation, body, *, status=200):
    """Return a document as botocore parses it."""
    shape = MODEL.operation_model(operation).output_shape
    response = {"status_code": status, "headers": {}, "body": body}
    return create_parser("rest-xml").parse(response, shape)


def _page(kind, keys, **params):
    query = "&".join(f"{name.replace('_', '-')}={value}" for name, value in params.items())
    list_query = listing.parse_list(a_request("GET", f"/out?{query}"), kind)
    items = [an_object(key=key, checksum=CRC) for key in sorted(keys)]
    found = listing.page(lambda start: (each for each in items if each.key >= start), list_query)
    return xml_responses.list_objects("out", list_query, found)


def test_list_buckets_has_names_and_dates_in_order():
    found = _parse("ListBuckets", _list_buckets(""))

    assert ["in", "out"] == [bucket["Name"] for bucket in found["Buckets"]]
    assert 1 == found["Buckets"][0]["CreationDate"].second


def _list_buckets(query):
    parsed = listing.parse_buckets(a_request("GET", f"/?{query}"))
    page = listing.buckets_page([("out", 0), ("in", 1500)], parsed)
    return xml_responses.list_buckets(parsed, page)


@pytest.mark.parametrize(
    ("query", "region"), [("", None), ("max-buckets=1", b"us-east-1"), ("prefix=i", b"us-east-1")]
)
def test_buckets_have_an_arn_and_with_any_parameter_their_region(query, region):
    found = _list_buckets(query)

    assert b"<BucketArn>arn:aws:s3:::in</BucketArn>" in found
    assert (b"<BucketRegion>us-east-1</BucketRegion>" in found) == (region is not None)
    assert (b"<ContinuationToken>" in found) == (query == "max-buckets=1")


def test_list_objects_v2_has_key_size_etag_date_and_checksum():
    found = _parse("ListObjectsV2", _page(listing.V2, [SPECIAL, "b/1"], delimiter="/"))

    (item,) = found["Contents"]
    assert (SPECIAL, 10, "STANDARD") == (item["Key"], item["Size"], item["StorageClass"])
    assert '"d41d8cd98f00b204e9800998ecf8427e"' == item["ETag"]
    assert (["CRC32"], "FULL_OBJECT") == (item["ChecksumAlgorithm"], item["ChecksumType"])
    assert 2023 == item["LastModified"].year
    assert [{"Prefix": "b/"}] == found["CommonPrefixes"]
    assert (2, 1000, False) == (found["KeyCount"], found["MaxKeys"], found["IsTruncated"])
    assert ("out", "", "/") == (found["Name"], found["Prefix"], found["Delimiter"])
    assert "Owner" not in item


def test_list_objects_v2_returns_token_and_start_after():
    page = _page(
        listing.V2, "abc", continuation_token="1YQ", start_after="a", max_keys=1, fetch_owner="true"
    )

    found = _parse("ListObjectsV2", page)

    assert ("1YQ", "a", True) == (
        found["ContinuationToken"],
        found["StartAfter"],
        found["IsTruncated"],
    )
    assert found["NextContinuationToken"]
    assert "worker" == found["Contents"][0]["Owner"]["ID"]


def test_list_objects_has_next_marker_only_with_a_delimiter():
    plain = _parse("ListObjects", _page(listing.V1, "abc", max_keys=1))
    delimited = _parse("ListObjects", _page(listing.V1, "abc", max_keys=1, delimiter="/"))

    assert ("", True) == (plain["Marker"], plain["IsTruncated"])
    assert "NextMarker" not in plain
    assert "a" == delimited["NextMarker"]
    assert "worker" == delimited["Contents"][0]["Owner"]["ID"]


def test_encoding_type_url_encodes_all_keys():
    """Except the prefix of ListObjects."""
    page = _page(
        listing.V1,
        ["a b/c d", "a b/e f/g"],
        encoding_type="url",
        prefix="a%20b/",
        delimiter="f/",
        marker="a%20",
    )

    found = _parse("ListObjects", page)

    assert "a%20b/c%20d" == found["Contents"][0]["Key"]
    assert "a%20b/e%20f/" == found["CommonPrefixes"][0]["Prefix"]
    assert ("a b/", "a%20", "f/") == (found["Prefix"], found["Marker"], found["Delimiter"])
    assert (
        "a%20b/"
        == _parse("ListObjectsV2", _page(listing.V2, [], encoding_type="url", prefix="a%20b/"))[
            "Prefix"
        ]
    )


@pytest.mark.parametrize("kind", [listing.V1, listing.VERSIONS])
def test_a_marker_that_xml_cannot_represent_is_rejected(kind):
    """The next page would miss keys."""
    with raises_s3_error("InvalidRequest"):
        _page(kind, ["a\x01", "b"], max_keys=1)

    assert b"a%01" in _page(kind, ["a\x01", "b"], max_keys=1, encoding_type="url")
    assert b"<Key>a\xef\xbf\xbd</Key>" in _page(kind, ["a\x01", "b"])


def test_every_object_is_its_latest_version():
    found = _parse("ListObjectVersions", _page(listing.VERSIONS, "ab", max_keys=1))

    (version,) = found["Versions"]
    assert ("a", "null", True) == (version["Key"], version["VersionId"], version["IsLatest"])
    assert ("a", "null") == (found["NextKeyMarker"], found["NextVersionIdMarker"])


def test_list_multipart_uploads_has_key_id_and_date():
    query = listing.parse_uploads(a_request("GET", "/out?uploads&max-uploads=1"))
    uploads = [
        an_upload("a&b", "1", algorithm="CRC32", checksum_type="COMPOSITE"),
        an_upload("c", "2"),
    ]
    body = xml_responses.list_multipart_uploads("out", query, listing.uploads_page(uploads, query))

    found = _parse("ListMultipartUploads", body)

    (upload,) = found["Uploads"]
    assert ("a&b", "1", "CRC32") == (upload["Key"], upload["UploadId"], upload["ChecksumAlgorithm"])
    assert ("a&b", "1", True) == (
        found["NextKeyMarker"],
        found["NextUploadIdMarker"],
        found["IsTruncated"],
    )


def test_list_parts_has_number_size_etag_and_checksum():
    query = listing.parse_parts(a_request("GET", "/out/k?uploadId=1&max-parts=1"))
    parts = [a_part(1, 5, checksum=CRC), a_part(2, 5)]
    page = listing.parts_page(parts, query)
    upload = an_upload(algorithm="CRC32")

    found = _parse("ListParts", xml_responses.list_parts("out", upload, query, page))

    (part,) = found["Parts"]
    assert (1, 5, "AAAAAA==") == (part["PartNumber"], part["Size"], part["ChecksumCRC32"])
    assert (1, True) == (found["NextPartNumberMarker"], found["IsTruncated"])


@pytest.mark.parametrize(
    ("operation", "body", "expected"),
    [
        (
            "CreateMultipartUpload",
            xml_responses.create_multipart_upload("out", "k&", "id"),
            {"Bucket": "out", "Key": "k&", "UploadId": "id"},
        ),
        (
            "CompleteMultipartUpload",
            xml_responses.complete_multipart_upload(
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
            xml_responses.get_object_tagging({"a": "<1>"}),
            {"TagSet": [{"Key": "a", "Value": "<1>"}]},
        ),
        (
            "DeleteObjects",
            xml_responses.delete_objects(
                [("a", None, None), ("b", "null", None), ("c", "1", S3Error("NoSuchVersion"))],
                quiet=False,
            ),
            {
                "Deleted": [{"Key": "a"}, {"Key": "b", "VersionId": "null"}],
                "Errors": [
                    {
                        "Key": "c",
                        "VersionId": "1",
                        "Code": "NoSuchVersion",
                        "Message": "The specified version does not exist.",
                    }
                ],
            },
        ),
        ("DeleteObjects", xml_responses.delete_objects([("a", None, None)], quiet=True), {}),
    ],
    ids=[
        "CreateMultipartUpload",
        "CompleteMultipartUpload",
        "GetObjectTagging",
        "DeleteObjects",
        "quiet DeleteObjects",
    ],
)
def test_other_responses_have_their_elements(operation, body, expected):
    found = _parse(operation, body)
    found.pop("ResponseMetadata")

    assert expected == found


@pytest.mark.parametrize("operation", ["CopyObject", "UploadPartCopy"])
def test_copy_results_have_etag_date_and_checksum(operation):
    make = (
        xml_responses.copy_object if operation == "CopyObject" else xml_responses.upload_part_copy
    )

    found = _parse(operation, make(etag="abc", modified=1500, checksum=CRC))

    result = found.get("CopyObjectResult") or found["CopyPartResult"]
    assert ('"abc"', "AAAAAA==") == (result["ETag"], result["ChecksumCRC32"])


def test_an_error_has_code_message_fields_resource_and_ids():
    fault = S3Error("NoSuchKey", Key=SPECIAL)
    body = xml_responses.error(fault, resource="/out/k\x01", request_id="R", host_id="H")

    found = _parse("GetObject", body, status=404)

    assert {
        "Code": "NoSuchKey",
        "Message": "The specified key does not exist.",
        "Key": SPECIAL,
        "Resource": "/out/k\ufffd",
    } == found["Error"]
    written = parse_xml(body, "Error")
    assert ("R", "H") == (written.get("RequestId"), written.get("HostId"))


def test_get_object_attributes_has_the_requested_attributes():
    """The parts of a composite checksum are listed in pages; its value has no number of parts."""
    composite = Checksum("CRC32", "AAAAAA==-2", "COMPOSITE")
    entry = an_object(checksum=composite, parts=(Part(1, 5, checksum=CRC), Part(4, 5)))
    headers = {
        "x-amz-object-attributes": "ETag,Checksum,ObjectParts, StorageClass,ObjectSize",
        "x-amz-max-parts": "1",
    }

    found = _parse("GetObjectAttributes", attributes(a_request("GET", "/out/k", headers), entry))

    assert (entry.etag, 10, "STANDARD") == (
        found["ETag"],
        found["ObjectSize"],
        found["StorageClass"],
    )
    assert {"ChecksumCRC32": "AAAAAA==", "ChecksumType": "COMPOSITE"} == found["Checksum"]
    parts = found["ObjectParts"]
    assert (2, True, 1) == (
        parts["TotalPartsCount"],
        parts["IsTruncated"],
        parts["NextPartNumberMarker"],
    )
    assert [{"PartNumber": 1, "Size": 5, "ChecksumCRC32": "AAAAAA=="}] == parts["Parts"]


def test_get_object_attributes_counts_the_parts_of_a_full_object_checksum():
    """They are not listed, as by S3."""
    entry = an_object(checksum=CRC, parts=(Part(1, 5), Part(4, 5)))
    headers = {"x-amz-object-attributes": "ObjectParts"}

    found = _parse("GetObjectAttributes", attributes(a_request("GET", "/out/k", headers), entry))

    assert {"TotalPartsCount": 2} == found["ObjectParts"]


@pytest.mark.parametrize("name", ["x-amz-max-parts", "x-amz-part-number-marker"])
def test_the_paging_of_attributes_requires_numbers(name):
    headers = {"x-amz-object-attributes": "ObjectParts", name: "x"}
    with raises_s3_error("InvalidArgument"):
        attributes(a_request("GET", "/out/k", headers), an_object())


@pytest.mark.parametrize("value", ["", "Owner", "ETag,Owner", ","])
def test_unknown_attributes_are_rejected(value):
    with pytest.raises(S3Error):
        attributes(a_request("GET", "/out/k", {"x-amz-object-attributes": value}), an_object())
