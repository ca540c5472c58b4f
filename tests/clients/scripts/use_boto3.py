"""boto3: the client, the transfer manager and the resource."""

import io
import os

import boto3
import botocore.awsrequest
import botocore.config
import botocore.exceptions
import botocore.httpsession
import urllib3
from checks import BIG, COPIES, INPUT, NAMES, ODD, OUT, content, refused, same

# S3 does not need it, but libraries on top of boto3 read it from the session, and some fail.
same("us-east-1", boto3.session.Session().region_name, "the region of the session")
s3 = boto3.client("s3")
same([INPUT, OUT], [b["Name"] for b in s3.list_buckets()["Buckets"]], "list_buckets")

for operation in ("list_objects_v2", "list_objects"):
    pages = list(s3.get_paginator(operation).paginate(Bucket=INPUT))
    keys = [entry["Key"] for page in pages for entry in page["Contents"]]
    same(NAMES, keys, f"{operation}: all keys over {len(pages)} pages")
folders = s3.list_objects_v2(Bucket=INPUT, Delimiter="/")["CommonPrefixes"]
same(["many/", "odd names/"], [f["Prefix"] for f in folders], "top-level folders")

for name in ("small.txt", "empty.bin", "big.bin", *(n for n in NAMES if n.startswith("odd"))):
    got = s3.get_object(Bucket=INPUT, Key=name)
    same(content(name), got["Body"].read(), f"get {name}")
    same(len(content(name)), s3.head_object(Bucket=INPUT, Key=name)["ContentLength"], "head")
for text, want in (
    ("bytes=100-299", BIG[100:300]),
    ("bytes=-7", BIG[-7:]),
    ("bytes=9000000-", BIG[9_000_000:]),
):
    answer = s3.get_object(Bucket=INPUT, Key="big.bin", Range=text)
    same(want, answer["Body"].read(), f"range {text}")
    same(206, answer["ResponseMetadata"]["HTTPStatusCode"], f"status of range {text}")
buffer = io.BytesIO()
s3.download_fileobj(INPUT, "big.bin", buffer)
same(BIG, buffer.getvalue(), "download_fileobj")

for key, source in COPIES.items():
    s3.upload_fileobj(
        io.BytesIO(content(source)), OUT, key, ExtraArgs={"Metadata": {"from": "boto3"}}
    )
    got = s3.get_object(Bucket=OUT, Key=key)
    same(content(source), got["Body"].read(), f"get {key} after upload")
    same({"from": "boto3"}, got["Metadata"], f"metadata of {key}")
s3.put_object(
    Bucket=OUT, Key="one/put.txt", Body=b"put", ContentType="text/plain", CacheControl="no-cache"
)
head = s3.head_object(Bucket=OUT, Key="one/put.txt")
same(("text/plain", "no-cache"), (head["ContentType"], head["CacheControl"]), "headers")

upload = s3.create_multipart_upload(Bucket=OUT, Key="one/parts.bin")["UploadId"]
where = {"Bucket": OUT, "Key": "one/parts.bin", "UploadId": upload}
parts = []
for number, piece in enumerate((BIG[: 5 * 2**20], BIG[5 * 2**20 :]), 1):
    done = s3.upload_part(**where, PartNumber=number, Body=piece)
    parts.append({"PartNumber": number, "ETag": done["ETag"]})
same(2, len(s3.list_parts(**where)["Parts"]), "parts listed")
s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
same(BIG, s3.get_object(Bucket=OUT, Key="one/parts.bin")["Body"].read(), "own multipart upload")
gone = s3.create_multipart_upload(Bucket=OUT, Key="one/aborted")["UploadId"]
s3.abort_multipart_upload(Bucket=OUT, Key="one/aborted", UploadId=gone)
same([], s3.list_multipart_uploads(Bucket=OUT).get("Uploads", []), "uploads after abort")

s3.copy_object(Bucket=OUT, Key=f"two/{ODD}", CopySource={"Bucket": OUT, "Key": f"kept/{ODD}"})
same("boto3", s3.head_object(Bucket=OUT, Key=f"two/{ODD}")["Metadata"]["from"], "metadata copied")
s3.copy({"Bucket": INPUT, "Key": "big.bin"}, OUT, "two/big.bin")
same(
    BIG, s3.get_object(Bucket=OUT, Key="two/big.bin")["Body"].read(), "copy in parts from an input"
)
s3.put_object_tagging(
    Bucket=OUT, Key="one/put.txt", Tagging={"TagSet": [{"Key": "a", "Value": "b c"}]}
)
tags = s3.get_object_tagging(Bucket=OUT, Key="one/put.txt")["TagSet"]
same([{"Key": "a", "Value": "b c"}], tags, "tags")
link = s3.generate_presigned_url("get_object", Params={"Bucket": OUT, "Key": f"kept/{ODD}"})
session = botocore.httpsession.URLLib3Session(verify=os.environ.get("AWS_CA_BUNDLE") or True)
request = botocore.awsrequest.AWSRequest("GET", link).prepare()
same(content(COPIES[f"kept/{ODD}"]), session.send(request).content, "presigned link")

for version in ("s3v4", "s3"):
    signer = boto3.client("s3", config=botocore.config.Config(signature_version=version))
    form = signer.generate_presigned_post(
        OUT,
        "one/${filename}",
        Fields={"success_action_status": "201"},
        Conditions=[{"success_action_status": "201"}, ["content-length-range", 1, len(BIG)]],
    )
    for sent, status in ((BIG, 201), (BIG + b"x", 400)):
        fields = [*form["fields"].items(), ("file", ("form.bin", sent))]
        body, kind = urllib3.encode_multipart_formdata(fields)
        request = botocore.awsrequest.AWSRequest("POST", form["url"], {"Content-Type": kind}, body)
        got = session.send(request.prepare()).status_code
        same(status, got, f"presigned post of {len(sent)} bytes with {version}")
    same(BIG, s3.get_object(Bucket=OUT, Key="one/form.bin")["Body"].read(), "presigned post")
    s3.delete_object(Bucket=OUT, Key="one/form.bin")

Error = botocore.exceptions.ClientError
refused("write to an input", Error, lambda: s3.put_object(Bucket=INPUT, Key="x", Body=b""))
refused(
    "read of a missing key", s3.exceptions.NoSuchKey, lambda: s3.get_object(Bucket=OUT, Key="no")
)
refused("a condition", Error, lambda: s3.get_object(Bucket=OUT, Key="one/put.txt", IfMatch='"x"'))

for number in range(1_005):
    s3.put_object(Bucket=OUT, Key=f"bulk/{number}", Body=b"x")
boto3.resource("s3").Bucket(OUT).objects.filter(Prefix="bulk/").delete()
s3.delete_objects(
    Bucket=OUT,
    Delete={
        "Objects": [
            {"Key": k} for k in ("one/put.txt", "one/parts.bin", f"two/{ODD}", "two/big.bin")
        ]
    },
)
left = s3.list_objects_v2(Bucket=OUT)["Contents"]
same(sorted(COPIES), [entry["Key"] for entry in left], "the contents of out")
