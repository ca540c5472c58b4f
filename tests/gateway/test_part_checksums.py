"""Multipart uploads without a checksum algorithm, whose parts or sources have checksums."""

from trio.to_thread import run_sync as in_thread

from worker.s3.checksums import checksum_of

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
