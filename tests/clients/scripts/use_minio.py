"""MinIO's SDK for Python; its constructor takes the endpoint from the job's environment."""

import io
import os
import ssl
import urllib.request
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import urllib3
from checks import BIG, COPIES, INPUT, NAMES, ODD, OUT, content, refused, same
from minio import Minio
from minio.commonconfig import ComposeSource, CopySource
from minio.datatypes import PostPolicy
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

endpoint = urlsplit(os.environ["S3_ENDPOINT"])
s3 = Minio(
    endpoint.netloc,
    access_key=os.environ["AWS_ACCESS_KEY_ID"],
    secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    secure=endpoint.scheme == "https",
)
same([INPUT, OUT], [bucket.name for bucket in s3.list_buckets()], "list_buckets")
same(True, s3.bucket_exists(OUT), "bucket_exists")
same(False, s3.bucket_exists("elsewhere"), "bucket_exists of another")
same(NAMES, [o.object_name for o in s3.list_objects(INPUT, recursive=True)], "all keys")
same(NAMES, [o.object_name for o in s3.list_objects(INPUT, recursive=True, use_api_v1=True)], "V1")
top = [o.object_name for o in s3.list_objects(INPUT)]
same(["big.bin", "empty.bin", "many/", "odd names/", "small.txt"], sorted(top), "top level")


def read(bucket, key, **how):
    answer = s3.get_object(bucket, key, **how)
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


for name in ("small.txt", "empty.bin", "big.bin", *(n for n in NAMES if n.startswith("odd"))):
    same(content(name), read(INPUT, name), f"get {name}")
same(BIG[1000:3000], read(INPUT, "big.bin", offset=1000, length=2000), "range")

for key, source in COPIES.items():
    data = content(source)
    s3.put_object(OUT, key, io.BytesIO(data), len(data), metadata={"from": "minio"})
    same(data, read(OUT, key), f"get {key}")
    same("minio", s3.stat_object(OUT, key).metadata["x-amz-meta-from"], f"metadata of {key}")
# A stream of unknown length is uploaded in parts.
s3.put_object(OUT, "one/stream", io.BytesIO(BIG), -1, part_size=5 * 2**20)
same(BIG, read(OUT, "one/stream"), "stream of unknown length")
s3.copy_object(OUT, f"two/{ODD}", CopySource(OUT, f"kept/{ODD}"))
same(content(COPIES[f"kept/{ODD}"]), read(OUT, f"two/{ODD}"), "copy")
s3.copy_object(OUT, "two/big", CopySource(INPUT, "big.bin"))
s3.compose_object(
    OUT, "two/twice", [ComposeSource(INPUT, "big.bin"), ComposeSource(OUT, "one/stream")]
)
same(BIG + BIG, read(OUT, "two/twice"), "compose")
link = s3.presigned_get_object(OUT, f"kept/{ODD}", expires=timedelta(hours=1))
trust = ssl.create_default_context()
with urllib.request.urlopen(link, context=trust) as answer:
    same(content(COPIES[f"kept/{ODD}"]), answer.read(), "presigned link")
policy = PostPolicy(OUT, datetime.now(UTC) + timedelta(hours=1))
policy.add_starts_with_condition("key", "forms/")
policy.add_content_length_range_condition(1, len(BIG))
form = {"key": "forms/${filename}", **s3.presigned_post_policy(policy)}
body, kind = urllib3.encode_multipart_formdata([*form.items(), ("file", ("big.bin", BIG))])
post = urllib.request.Request(f"{endpoint.geturl()}/{OUT}", body, {"Content-Type": kind})
with urllib.request.urlopen(post, context=trust) as answer:
    same(204, answer.status, "presigned post")
same(BIG, read(OUT, "forms/big.bin"), "presigned post")
s3.remove_object(OUT, "forms/big.bin")
refused("write to an input", S3Error, lambda: s3.put_object(INPUT, "x", io.BytesIO(b""), 0))
refused("read of a missing key", S3Error, lambda: read(OUT, "no"))

for number in range(1_005):
    s3.put_object(OUT, f"bulk/{number}", io.BytesIO(b"x"), 1)
gone = [
    o.object_name
    for o in s3.list_objects(OUT, recursive=True)
    if not o.object_name.startswith("kept/")
]
same(1_009, len(gone), "objects to delete")
same([], list(s3.remove_objects(OUT, [DeleteObject(key) for key in gone])), "bulk delete")
same(
    sorted(COPIES),
    [o.object_name for o in s3.list_objects(OUT, recursive=True)],
    "the contents of out",
)
