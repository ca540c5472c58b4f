"""XML response bodies, parsed by botocore."""

from datetime import UTC, datetime

import pytest
from s3.protocol_builders import a_part, a_request, an_object, an_upload, parsed, raises_s3_error

from worker.model import Checksum, Part
from worker.s3 import upload_listing, xml_responses
from worker.s3.attributes import attributes
from worker.s3.error_codes import S3Error
from worker.s3.xml_requests import parse_xml

CRC = Checksum("CRC32", "AAAAAA==")
SPECIAL = "a b&<é>+%\"'"


def test_list_multipart_uploads_has_key_id_and_date():
    query = upload_listing.parse_uploads(a_request("GET", "/out?uploads&max-uploads=1"))
    uploads = [
        an_upload("a&b", "1", initiated=1500, algorithm="CRC32", checksum_type="COMPOSITE"),
        an_upload("c", "2"),
    ]
    body = xml_responses.list_multipart_uploads(
        "out", query, upload_listing.uploads_page(uploads, query)
    )

    found = parsed("ListMultipartUploads", body)

    (upload,) = found["Uploads"]
    assert ("a&b", "1", "CRC32") == (upload["Key"], upload["UploadId"], upload["ChecksumAlgorithm"])
    assert datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC) == upload["Initiated"]
    assert ("a&b", "1", True) == (
        found["NextKeyMarker"],
        found["NextUploadIdMarker"],
        found["IsTruncated"],
    )


def _names(body, root):
    return [child.name for child in parse_xml(body, root).children]


def test_list_multipart_uploads_has_the_elements_of_s3():
    """Prefix, Delimiter and EncodingType only with a value, the markers always."""

    def names(query, *uploads):
        found = upload_listing.parse_uploads(a_request("GET", f"/out?uploads{query}"))
        page = upload_listing.uploads_page(uploads, found)
        body = xml_responses.list_multipart_uploads("out", found, page)
        return _names(body, "ListMultipartUploadsResult")

    always = ["Bucket", "KeyMarker", "UploadIdMarker", "NextKeyMarker", "NextUploadIdMarker"]

    assert [*always, "MaxUploads", "IsTruncated"] == names("&prefix=")
    assert [*always, "MaxUploads", "IsTruncated", "Upload"] == names("", an_upload())
    assert [*always, "Delimiter", "Prefix", "EncodingType", "MaxUploads", "IsTruncated"] == names(
        "&prefix=a&delimiter=/&encoding-type=url"
    )


def test_list_parts_has_the_elements_of_s3():
    """A checksum only if the upload was created with an algorithm."""
    query = upload_listing.parse_parts(a_request("GET", "/out/k?uploadId=1"))
    head = ["Bucket", "Key", "UploadId", "PartNumberMarker", "NextPartNumberMarker", "MaxParts"]
    always = [*head, "IsTruncated", "Initiator", "Owner", "StorageClass"]

    def names(upload, *parts):
        page = upload_listing.parts_page(parts, query)
        return _names(xml_responses.list_parts("out", upload, query, page), "ListPartsResult")

    assert always == names(an_upload())
    assert [*always, "ChecksumAlgorithm", "ChecksumType", "Part"] == names(
        an_upload(algorithm="CRC32", checksum_type="COMPOSITE"), a_part(1, 5, checksum=CRC)
    )


def test_list_parts_has_number_size_etag_and_checksum():
    query = upload_listing.parse_parts(a_request("GET", "/out/k?uploadId=1&max-parts=1"))
    parts = [a_part(1, 5, checksum=CRC), a_part(2, 5)]
    page = upload_listing.parts_page(parts, query)
    upload = an_upload(algorithm="CRC32")

    found = parsed("ListParts", xml_responses.list_parts("out", upload, query, page))

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
    found = parsed(operation, body)
    found.pop("ResponseMetadata")

    assert expected == found


@pytest.mark.parametrize("operation", ["CopyObject", "UploadPartCopy"])
def test_copy_results_have_etag_date_and_checksum(operation):
    make = (
        xml_responses.copy_object if operation == "CopyObject" else xml_responses.upload_part_copy
    )

    found = parsed(operation, make(etag="abc", modified=1500, checksum=CRC))

    result = found.get("CopyObjectResult") or found["CopyPartResult"]
    assert ('"abc"', "AAAAAA==") == (result["ETag"], result["ChecksumCRC32"])
    assert datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC) == result["LastModified"]


TIME = 1_700_000_000_534
UPLOADS_QUERY = upload_listing.parse_uploads(a_request("GET", "/out?uploads"))
PARTS_QUERY = upload_listing.parse_parts(a_request("GET", "/out/k?uploadId=1"))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        pytest.param(
            xml_responses.list_multipart_uploads(
                "out",
                UPLOADS_QUERY,
                upload_listing.uploads_page([an_upload(initiated=TIME)], UPLOADS_QUERY),
            ),
            "Initiated",
            id="ListMultipartUploads",
        ),
        pytest.param(
            xml_responses.list_parts(
                "out",
                an_upload(),
                PARTS_QUERY,
                upload_listing.parts_page([a_part(1, 5, modified=TIME)], PARTS_QUERY),
            ),
            "LastModified",
            id="ListParts",
        ),
        pytest.param(
            xml_responses.copy_object(etag="abc", modified=TIME, checksum=None),
            "LastModified",
            id="CopyObject",
        ),
        pytest.param(
            xml_responses.upload_part_copy(etag="abc", modified=TIME, checksum=None),
            "LastModified",
            id="UploadPartCopy",
        ),
    ],
)
def test_times_are_whole_seconds(body, name):
    """As in listings of objects."""
    assert f"<{name}>2023-11-14T22:13:20.000Z</{name}>".encode() in body


def test_an_error_has_code_message_fields_resource_and_ids():
    fault = S3Error("NoSuchKey", Key=SPECIAL)
    body = xml_responses.error(fault, resource="/out/k\x01", request_id="R", host_id="H")

    found = parsed("GetObject", body, status=404)

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

    found = parsed("GetObjectAttributes", attributes(a_request("GET", "/out/k", headers), entry))

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


def test_a_page_of_parts_begins_after_its_marker():
    """They are counted from 1, whatever their numbers in the upload are."""
    composite = Checksum("CRC32", "AAAAAA==-3", "COMPOSITE")
    entry = an_object(checksum=composite, parts=tuple(Part(n, 5, checksum=CRC) for n in (1, 4, 9)))
    headers = {"x-amz-object-attributes": "ObjectParts", "x-amz-part-number-marker": "1"}

    found = parsed("GetObjectAttributes", attributes(a_request("GET", "/out/k", headers), entry))

    parts = found["ObjectParts"]
    assert [2, 3] == [each["PartNumber"] for each in parts["Parts"]]
    assert (1, 3, False) == (
        parts["PartNumberMarker"],
        parts["NextPartNumberMarker"],
        parts["IsTruncated"],
    )


def test_get_object_attributes_counts_the_parts_of_a_full_object_checksum():
    """They are not listed, as by S3."""
    entry = an_object(checksum=CRC, parts=(Part(1, 5), Part(4, 5)))
    headers = {"x-amz-object-attributes": "ObjectParts"}

    found = parsed("GetObjectAttributes", attributes(a_request("GET", "/out/k", headers), entry))

    assert {"TotalPartsCount": 2} == found["ObjectParts"]


def test_the_marker_of_parts_must_be_a_number():
    headers = {"x-amz-object-attributes": "ObjectParts", "x-amz-part-number-marker": "x"}
    with raises_s3_error("InvalidArgument"):
        attributes(a_request("GET", "/out/k", headers), an_object())


@pytest.mark.parametrize("value", ["x", "-1", "", "1.5"])
def test_an_invalid_maximum_of_parts_is_ignored(value):
    """As by S3."""
    entry = an_object(
        checksum=Checksum("CRC32", "AAAAAA==-1", "COMPOSITE"), parts=(Part(1, 10, checksum=CRC),)
    )
    headers = {"x-amz-object-attributes": "ObjectParts", "x-amz-max-parts": value}

    found = parsed("GetObjectAttributes", attributes(a_request("GET", "/out/k", headers), entry))

    assert 1000 == found["ObjectParts"]["MaxParts"]


@pytest.mark.parametrize(
    ("value", "name"), [("", ""), ("ETag,Owner", "Owner"), (",ETag", ""), ("ETag, ,Checksum", "")]
)
def test_an_unknown_attribute_is_named(value, name):
    with raises_s3_error("InvalidArgument") as error:
        attributes(a_request("GET", "/out/k", {"x-amz-object-attributes": value}), an_object())

    expected = {"ArgumentName": "x-amz-object-attributes", "ArgumentValue": name}
    assert expected == error().fields


@pytest.mark.parametrize("headers", [{}, {"x-amz-object-attributes": ","}])
def test_missing_attributes_are_rejected(headers):
    with raises_s3_error("InvalidRequest"):
        attributes(a_request("GET", "/out/k", headers), an_object())


def test_empty_attributes_at_the_end_are_ignored():
    headers = {"x-amz-object-attributes": "ObjectSize,,"}

    found = parsed("GetObjectAttributes", attributes(a_request("GET", "/k", headers), an_object()))

    assert 10 == found["ObjectSize"]
