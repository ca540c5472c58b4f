"""Checksums of parts, in all algorithms, and of objects made of them."""

import base64
from functools import partial
from io import BytesIO

import pytest
from boto3.s3.transfer import TransferConfig
from builders import checksum_of
from trio.to_thread import run_sync as in_thread

from worker.s3.checksums import ALGORITHMS, composite

DATA = b"0123456789" * 600_000


async def test_parts_with_crc32_complete_to_a_crc64nvme(gateway):
    """As boto3 sends them."""
    client = gateway.client()

    def use():
        upload = client.create_multipart_upload(Bucket="out", Key="k")["UploadId"]
        where = {"Bucket": "out", "Key": "k", "UploadId": upload}
        sent = [client.upload_part(**where, PartNumber=n, Body=DATA) for n in (1, 2)]
        parts = [{"PartNumber": n, "ETag": each["ETag"]} for n, each in enumerate(sent, 1)]
        client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        head = client.head_object(Bucket="out", Key="k", ChecksumMode="ENABLED")
        return [each["ChecksumCRC32"] for each in sent], head["ChecksumCRC64NVME"]

    part = checksum_of("CRC32", [DATA]).value

    assert ([part, part], checksum_of("CRC64NVME", [DATA, DATA]).value) == await in_thread(use)


async def test_a_copied_part_may_have_a_source_with_another_checksum(gateway):
    client = gateway.client()

    def use():
        client.put_object(Bucket="out", Key="source", Body=DATA, ChecksumAlgorithm="CRC32")
        upload = client.create_multipart_upload(Bucket="out", Key="k")["UploadId"]
        where = {"Bucket": "out", "Key": "k", "UploadId": upload}
        copied = client.upload_part_copy(**where, PartNumber=1, CopySource="out/source")
        part = {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}
        client.complete_multipart_upload(**where, MultipartUpload={"Parts": [part]})
        return client.get_object(Bucket="out", Key="k")["Body"].read()

    assert DATA == await in_thread(use)


async def test_a_copied_part_has_the_checksum_of_its_bytes(gateway):
    """The composite checksum of its source, which is the copy of a multipart object, is another."""
    client = gateway.client()
    algorithm = {"ChecksumAlgorithm": "SHA256"}

    def upload(key, put):
        where = {"Bucket": "out", "Key": key}
        where["UploadId"] = client.create_multipart_upload(**where, **algorithm)["UploadId"]
        sent = put(**where, PartNumber=1)
        sent = sent.get("CopyPartResult", sent)
        part = {"PartNumber": 1, **{name: sent[name] for name in ("ETag", "ChecksumSHA256")}}
        client.complete_multipart_upload(**where, MultipartUpload={"Parts": [part]})
        return part["ChecksumSHA256"]

    def use():
        upload("a", partial(client.upload_part, Body=DATA, **algorithm))
        client.copy_object(Bucket="out", Key="b", CopySource="out/a")
        part = upload("c", partial(client.upload_part_copy, CopySource="out/b"))
        return part, client.get_object(Bucket="out", Key="c")["Body"].read() == DATA

    assert (checksum_of("SHA256", [DATA]).value, True) == await in_thread(use)


async def test_a_part_has_no_checksum_if_neither_client_nor_upload_has_one(gateway):
    """The CRC64NVME of the object is that of S3's default."""
    client = gateway.client(request_checksum_calculation="when_required")

    def use():
        upload = client.create_multipart_upload(Bucket="out", Key="k")["UploadId"]
        where = {"Bucket": "out", "Key": "k", "UploadId": upload}
        sent = client.upload_part(**where, PartNumber=1, Body=DATA)
        parts = {"Parts": [{"PartNumber": 1, "ETag": sent["ETag"]}]}
        made = client.complete_multipart_upload(**where, MultipartUpload=parts)
        return [name for name in sent if name.startswith("Checksum")], made["ChecksumCRC64NVME"]

    assert ([], checksum_of("CRC64NVME", [DATA]).value) == await in_thread(use)


async def _raw(gateway, method, target, headers=None, body=b""):
    """Send a request, also with what the oldest boto3 does not know; return its response."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return (await gateway.send_request("\r\n".join(lines).encode(), body)).decode()


def _between(response, start, end):
    return response.partition(start)[2].partition(end)[0]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_an_object_has_the_checksum_that_its_client_sends(gateway, algorithm):
    """In a header; a wrong one is BadDigest and leaves nothing."""
    header = f"x-amz-checksum-{algorithm.lower()}"
    value, wrong = (checksum_of(algorithm, [data]).value for data in (b"data", b"other"))

    refused = await _raw(gateway, "PUT", "/out/k", {header: wrong}, b"data")
    absent = await _raw(gateway, "HEAD", "/out/k")
    put = await _raw(gateway, "PUT", "/out/k", {header: value}, b"data")
    head = await _raw(gateway, "HEAD", "/out/k", {"x-amz-checksum-mode": "ENABLED"})
    listed = await _raw(gateway, "GET", "/out?list-type=2")
    shown = await _raw(gateway, "GET", "/out/k?attributes", {"x-amz-object-attributes": "Checksum"})

    assert "<Code>BadDigest</Code>" in refused
    assert f"The {algorithm} you specified did not match the calculated checksum." in refused
    assert absent.startswith("HTTP/1.1 404")
    for response in (put, head):
        assert f"{header}: {value}\r\n" in response
        assert "x-amz-checksum-type: FULL_OBJECT\r\n" in response
    assert f"<ChecksumAlgorithm>{algorithm}</ChecksumAlgorithm>" in listed
    assert f"<Checksum{algorithm}>{value}</Checksum{algorithm}>" in shown


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - {"CRC64NVME"}))
async def test_an_upload_has_a_composite_checksum_in_each_algorithm(gateway, algorithm):
    """Of the checksum of its one part."""
    header = f"x-amz-checksum-{algorithm.lower()}"
    value = checksum_of(algorithm, [b"data"]).value
    whole = checksum_of(algorithm, [base64.b64decode(value)]).value + "-1"
    created = await _raw(gateway, "POST", "/out/k?uploads", {"x-amz-checksum-algorithm": algorithm})
    target = f"/out/k?uploadId={_between(created, '<UploadId>', '</UploadId>')}"

    sent = await _raw(gateway, "PUT", f"{target}&partNumber=1", {header: value}, b"data")
    parts = await _raw(gateway, "GET", target)
    etag = _between(sent, "etag: ", "\r\n")
    element = f"<Checksum{algorithm}>{value}</Checksum{algorithm}>"
    listed = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>{element}</Part>"
    document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
    made = await _raw(gateway, "POST", target, {header: whole}, document.encode())

    assert f"x-amz-checksum-algorithm: {algorithm}\r\n" in created
    assert "x-amz-checksum-type: COMPOSITE\r\n" in created
    assert f"{header}: {value}\r\n" in sent
    assert element in parts
    assert f"<Checksum{algorithm}>{whole}</Checksum{algorithm}>" in made
    assert "<ChecksumType>COMPOSITE</ChecksumType>" in made


async def test_boto3_transfers_parts_with_every_algorithm_that_it_computes(gateway):
    client = gateway.client()
    known = client.meta.service_model.shape_for("ChecksumAlgorithm").enum
    algorithms = [name for name in known if name in ALGORITHMS and name != "MD5"]
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)

    def use():
        for name in algorithms:
            extra = {"ChecksumAlgorithm": name}
            client.upload_fileobj(BytesIO(DATA), "out", name, ExtraArgs=extra, Config=config)
        heads = [
            client.head_object(Bucket="out", Key=name, ChecksumMode="ENABLED")
            for name in algorithms
        ]
        return [
            (name, head[f"Checksum{name}"], head["ChecksumType"])
            for name, head in zip(algorithms, heads, strict=True)
        ]

    pieces = [DATA[start : start + (5 << 20)] for start in range(0, len(DATA), 5 << 20)]

    def expected(name):
        if name == "CRC64NVME":
            return name, checksum_of(name, pieces).value, "FULL_OBJECT"
        values = (checksum_of(name, [piece]).value for piece in pieces)
        return name, composite(name, values).value, "COMPOSITE"

    assert [expected(name) for name in algorithms] == await in_thread(use)
