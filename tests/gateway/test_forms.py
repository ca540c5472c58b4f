"""Form uploads over HTTP: boto3's presigned posts, curl, and forms as browsers send them."""

import hashlib
import hmac
import json
import shutil
import subprocess
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import attrs
import pytest
import requests
import trio
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from s3.protocol_builders import a_request, raises_s3_error
from trio.to_thread import run_sync as in_thread

from worker.gateway import forms

KEYS = ("AKIAJOB", "secret")
CONTENT = b"something body"
TAG = f'"{hashlib.md5(CONTENT).hexdigest()}"'


async def post(url: str, fields: dict[str, Any], content: Any = CONTENT, **options: Any) -> Any:
    """Submit a form to *url* and return the response, without following a redirect."""
    name = options.pop("filename", "my-file")
    return await in_thread(
        lambda: requests.post(
            url,
            data=fields,
            files={"file": (name, content)},
            allow_redirects=False,
            timeout=60,
            **options,
        )
    )


def error(reply: requests.Response) -> dict[str, str | None]:
    """Return the elements of an error document, without the ids."""
    found = {each.tag: each.text for each in ElementTree.fromstring(reply.content)}
    return {name: found[name] for name in found.keys() - {"RequestId", "HostId", "Resource"}}


async def head(gateway: Any, key: str, keys: tuple[str, str] = KEYS) -> dict[str, Any]:
    """Return HeadObject of a key of ``out``."""
    client = gateway.client(keys=keys)
    return await in_thread(lambda: client.head_object(Bucket="out", Key=key))


async def test_a_form_counts_as_an_object_that_was_written(gateway):
    """Also with a redirect as the response."""
    await post(f"{gateway.url}/out", {"key": "a"})
    await post(f"{gateway.url}/out", {"key": "b", "success_action_redirect": "http://localhost/"})

    out = gateway.statistics().buckets["out"]
    assert (2, 2 * len(CONTENT)) == (out.objects_written, out.bytes_written)


async def test_a_form_without_authentication_stores_its_file(gateway):
    """204 without a body, with the headers of PutObject and the URL of the object."""
    reply = await post(f"{gateway.url}/out", {"key": "a b/ü"})

    assert (204, b"", TAG) == (reply.status_code, reply.content, reply.headers["etag"])
    assert f"{gateway.url}/out/a%20b%2F%C3%BC" == reply.headers["location"]
    assert "FULL_OBJECT" == reply.headers["x-amz-checksum-type"]
    assert "x-amz-checksum-crc64nvme" in reply.headers
    assert "content-type" not in reply.headers
    assert len(CONTENT) == (await head(gateway, "a b/ü"))["ContentLength"]


async def test_presigned_posts_of_boto3_are_accepted(locked):
    """Of both versions of signatures."""
    for version in ("s3v4", "s3"):
        client = locked.client(keys=KEYS, signature_version=version)
        made = client.generate_presigned_post("out", f"{version}/${{filename}}")

        reply = await post(made["url"], made["fields"])

        assert 204 == reply.status_code, reply.text
        assert TAG == (await head(locked, f"{version}/my-file"))["ETag"]


async def test_a_status_of_201_has_a_document(gateway):
    reply = await post(
        f"{gateway.url}/out", {"key": "d/${filename}", "success_action_status": "201"}
    )
    root = ElementTree.fromstring(reply.content)

    assert (201, "application/xml") == (reply.status_code, reply.headers["content-type"])
    assert "PostResponse" == root.tag
    location = f"{gateway.url}/out/d%2Fmy-file"
    assert [("Location", location), ("Bucket", "out"), ("Key", "d/my-file"), ("ETag", TAG)] == [
        (each.tag, each.text) for each in root
    ]
    assert (location, TAG) == (reply.headers["location"], reply.headers["etag"])


@pytest.mark.parametrize(
    ("sent", "status"), [("200", 200), ("204", 204), ("404", 204), ("", 204), ("303", 204)]
)
async def test_every_other_status_has_an_empty_response(gateway, sent, status):
    reply = await post(f"{gateway.url}/out", {"key": "k", "success_action_status": sent})

    assert (status, b"", TAG) == (reply.status_code, reply.content, reply.headers["etag"])


async def test_the_browser_is_redirected_with_bucket_key_and_etag(gateway):
    reply = await post(
        f"{gateway.url}/out",
        {"key": "d/k", "success_action_redirect": "http://a.test/?x=1", "redirect": "http://b/"},
    )

    expected = f"http://a.test/?x=1&bucket=out&key=d%2Fk&etag=%22{TAG[1:-1]}%22"
    assert (303, expected, b"") == (reply.status_code, reply.headers["location"], reply.content)


async def test_the_metadata_of_a_form_is_stored(gateway):
    fields = {
        "key": "k",
        "Content-Type": "text/x",
        "Cache-Control": "no-cache",
        "Expires": "Wed, 21 Oct 2026 07:28:00 GMT",
        "x-amz-meta-Colour": "blå",
        "tagging": "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>",
        "acl": "private",
        "x-amz-checksum-algorithm": "SHA256",
        "x-amz-checksum-sha256": b64encode(hashlib.sha256(CONTENT).digest()).decode(),
    }

    reply = await post(f"{gateway.url}/out", fields)
    found = await head(gateway, "k")
    tags = await in_thread(
        lambda: gateway.client().get_object_tagging(Bucket="out", Key="k")["TagSet"]
    )

    assert fields["x-amz-checksum-sha256"] == reply.headers["x-amz-checksum-sha256"]
    assert ("text/x", "no-cache") == (found["ContentType"], found["CacheControl"])
    assert fields["Expires"] == found["ExpiresString"]
    assert {"colour": "=?UTF-8?Q?bl=C3=A5?="} == found["Metadata"]
    assert [{"Key": "a", "Value": "1"}] == tags


async def test_only_fields_describe_the_object(gateway):
    """Headers of the request do not: a policy says nothing about them. Nor the part of the file."""
    await post(
        f"{gateway.url}/out",
        {"key": "k"},
        headers={"x-amz-meta-a": "1", "cache-control": "no-cache"},
    )
    found = await head(gateway, "k")

    assert ({}, "binary/octet-stream") == (found["Metadata"], found["ContentType"])
    assert "CacheControl" not in found


async def test_both_address_styles_accept_forms(gateway):
    for url, host, expected in (
        (f"{gateway.url}/out/", "localhost", "http://localhost/out/k"),
        (f"{gateway.url}/", "out.localhost", "http://out.localhost/k"),
    ):
        reply = await post(url, {"key": "k"}, headers={"host": host})
        assert (204, expected) == (reply.status_code, reply.headers["location"])


async def test_a_form_of_any_size_is_stored(gateway):
    """Across the bounds of the decoder, of packs and of batches."""
    for size in (0, 1, (16 << 10) + 1, (256 << 10) + 1, 5_000_003):
        content = bytes(range(256)) * (size // 256 + 1)
        content = content[:size]
        reply = await post(f"{gateway.url}/out", {"key": "k"}, content)
        found = await in_thread(lambda: gateway.client().get_object(Bucket="out", Key="k"))
        body = await in_thread(found["Body"].read)

        assert (204, content) == (reply.status_code, body)


@pytest.mark.parametrize(
    ("size", "code", "fields"),
    [
        (12, "EntityTooLarge", {"ProposedSize": "12", "MaxSizeAllowed": "10"}),
        (900_000, "EntityTooLarge", {"ProposedSize": "900000", "MaxSizeAllowed": "10"}),
        (1, "EntityTooSmall", {"ProposedSize": "1", "MinSizeAllowed": "5"}),
        (5, "", {}),
        (10, "", {}),
    ],
)
async def test_a_policy_limits_the_size_of_the_file(locked, size, code, fields):
    """Recorded from S3."""
    made = locked.client(keys=KEYS).generate_presigned_post(
        "out", "k", Conditions=[["content-length-range", 5, 10]]
    )

    reply = await post(made["url"], made["fields"], b"a" * size)

    if not code:
        assert 204 == reply.status_code
        return
    found = error(reply)
    found.pop("Message")
    assert {"Code": code, **fields} == found
    assert 400 == reply.status_code
    assert [] == [*locked.index.entries()]


def signed(gateway: Any, **options: Any) -> dict[str, str]:
    """Return the fields of a presigned post of the key ``k``."""
    client = gateway.client(keys=KEYS, signature_version="s3v4")
    fields: dict[str, str] = client.generate_presigned_post("out", "k", **options)["fields"]
    return fields


async def test_a_presigned_post_of_the_sdk_for_javascript_is_accepted(locked):
    """It has a field ``bucket``, capital names, and a condition for each field."""
    when = datetime.now(UTC)
    day, stamp = f"{when:%Y%m%d}", f"{when:%Y%m%dT%H%M%SZ}"
    fields = {
        "bucket": "out",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{KEYS[0]}/{day}/us-east-1/s3/aws4_request",
        "X-Amz-Date": stamp,
    }
    conditions = [*({name: value} for name, value in fields.items()), ["starts-with", "$key", "a"]]
    document = {"expiration": f"{when + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"}
    policy = b64encode(json.dumps({**document, "conditions": conditions}).encode()).decode()
    key = f"AWS4{KEYS[1]}".encode()
    for part in (day, "us-east-1", "s3", "aws4_request", policy):
        key = hmac.digest(key, part.encode(), "sha256")

    reply = await post(
        f"{locked.url}/out",
        {**fields, "key": "a/${filename}", "Policy": policy, "X-Amz-Signature": key.hex()},
    )

    assert 204 == reply.status_code, reply.text
    assert TAG == (await head(locked, "a/my-file"))["ETag"]


@pytest.mark.parametrize("size", [4, 3_000_000], ids=["small", "large"])
@pytest.mark.parametrize(
    ("fields", "tail", "code"),
    [
        pytest.param({"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, [], "BadDigest", id="digest"),
        pytest.param({}, [("file", ("b", b"x"))], "InvalidArgument", id="two files"),
        pytest.param({}, None, "MalformedPOSTRequest", id="no end"),
    ],
)
async def test_a_form_that_is_rejected_at_its_end_leaves_nothing(gateway, size, fields, tail, code):
    """Neither an object nor content in the store."""
    files = [("file", ("a", b"x" * size)), *(tail or ())]
    made = requests.Request(
        "POST", f"{gateway.url}/out", data={"key": "k", **fields}, files=files
    ).prepare()
    body = made.body
    assert isinstance(body, bytes)
    if tail is None:
        made.prepare_body(body[:-10], None)
    with requests.Session() as session:
        reply = await in_thread(session.send, made)

    assert (400, code) == (reply.status_code, error(reply)["Code"])
    assert gateway.index.get("k") is None
    blobs = (gateway.plan.scratch.parent / "store" / "blobs").rglob("job-1/*")
    assert [] == [each for each in blobs if each.stat().st_size]


async def test_a_failed_condition_is_denied(locked):
    fields = signed(locked) | {"key": "other"}

    reply = await post(f"{locked.url}/out", fields)

    message = 'Invalid according to Policy: Policy Condition failed: ["eq", "$key", "k"]'
    assert (403, {"Code": "AccessDenied", "Message": message}) == (reply.status_code, error(reply))


async def test_a_field_that_the_policy_does_not_name_is_denied(locked):
    reply = await post(f"{locked.url}/out", signed(locked) | {"Content-Type": "text/html"})

    assert (
        "Invalid according to Policy: Extra input fields: Content-Type" == (error(reply)["Message"])
    )


async def test_an_expired_policy_is_denied(locked):
    reply = await post(f"{locked.url}/out", signed(locked, ExpiresIn=-1))

    assert "Invalid according to Policy: Policy expired." == error(reply)["Message"]


async def test_a_changed_policy_does_not_match_its_signature(locked):
    fields = signed(locked)
    fields["policy"] = fields["policy"][:-2]

    found = error(await post(f"{locked.url}/out", fields))

    assert "SignatureDoesNotMatch" == found["Code"]
    assert (fields["policy"], fields["x-amz-signature"]) == (
        found["StringToSign"],
        found["SignatureProvided"],
    )


async def test_an_anonymous_form_is_denied_where_requests_are_signed(locked):
    """Also for a bucket that does not exist, whose error would name those that do."""
    for url in ("out", "labresults", "nowhere"):
        reply = await post(f"{locked.url}/{url}", {"key": "k"})

        assert (403, "AccessDenied") == (reply.status_code, error(reply)["Code"])
        assert "only signed requests" in (error(reply)["Message"] or "")
    assert [] == [*locked.index.entries()]


async def test_a_signature_in_the_query_does_not_authenticate_a_form(locked):
    """S3: "The HTML form declaration does not accept query string authentication parameters"."""
    client = locked.client(keys=KEYS, signature_version="s3v4")
    url = client.generate_presigned_url("list_objects_v2", {"Bucket": "out"}, HttpMethod="POST")

    reply = await post(url, {"key": "k"})

    assert (403, "AccessDenied") == (reply.status_code, error(reply)["Code"])


async def test_a_policy_is_checked_without_authentication(gateway):
    """Its signature is not, since there are no keys."""
    made = gateway.client().generate_presigned_post("out", "a/${filename}")

    accepted = await post(made["url"], made["fields"])
    denied = await post(made["url"], made["fields"] | {"key": "b/${filename}"})

    assert (204, 403) == (accepted.status_code, denied.status_code)


async def test_an_input_is_read_only(gateway):
    """With the same error as for PutObject."""

    def put() -> dict[str, str]:
        with pytest.raises(ClientError) as caught:
            gateway.client().put_object(Bucket="labresults", Key="k", Body=b"x")
        found: dict[str, str] = caught.value.response["Error"]
        return found

    reply = await post(f"{gateway.url}/labresults", {"key": "k"})
    expected = await in_thread(put)

    assert 403 == reply.status_code
    assert expected == expected | error(reply)


async def test_a_signed_form_for_an_input_is_denied(locked):
    made = locked.client(keys=KEYS).generate_presigned_post("labresults", "k")

    reply = await post(made["url"], made["fields"])

    assert (403, "AccessDenied") == (reply.status_code, error(reply)["Code"])
    assert "`labresults` is a read-only input; write to s3://out" == error(reply)["Message"]


async def test_conditions_protect_an_object(gateway):
    """In a header or in a field; the existing object stays."""
    await post(f"{gateway.url}/out", {"key": "k"})

    replies = [
        await post(f"{gateway.url}/out", {"key": "k"}, b"new", headers={"if-none-match": "*"}),
        await post(f"{gateway.url}/out", {"key": "k", "If-None-Match": "*"}, b"new"),
        await post(f"{gateway.url}/out", {"key": "k", "If-Match": '"0"'}, b"new"),
    ]

    assert [412] * 3 == [each.status_code for each in replies]
    assert TAG == (await head(gateway, "k"))["ETag"]


UNTIL_FILE = (
    b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
)
"""A form with the boundary ``b``, until the first byte of its file."""


async def test_a_condition_that_fails_is_reported_before_the_file_is_sent(gateway):
    """As for PutObject."""
    await post(f"{gateway.url}/out", {"key": "k"})
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(
            b"POST /out HTTP/1.1\r\nhost: localhost\r\nif-none-match: *\r\nconnection: close\r\n"
            b"content-type: multipart/form-data; boundary=b\r\n"
            b"content-length: 1000000\r\n\r\n" + UNTIL_FILE
        )
        answer = await stream.receive_some()

    assert b" 412 " in answer


async def test_a_condition_is_evaluated_again_after_the_file(gateway):
    """An object that was created while the file was received stays."""
    sent, rest = UNTIL_FILE + b"da", b"ta\r\n--b--\r\n"
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(
            b"POST /out HTTP/1.1\r\nhost: localhost\r\nif-none-match: *\r\nexpect: 100-continue\r\n"
            b"content-type: multipart/form-data; boundary=b\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(sent + rest), sent)
        )
        # Other requests of this process have been answered after this one has begun.
        await stream.receive_some()
        client = gateway.client()
        await in_thread(lambda: client.put_object(Bucket="out", Key="other", Body=CONTENT))
        await in_thread(lambda: client.put_object(Bucket="out", Key="k", Body=CONTENT))
        await stream.send_all(rest)
        answer = b"".join([data async for data in stream])

    assert b" 412 " in answer
    assert b"<Condition>If-None-Match</Condition>" in answer
    assert TAG == (await head(gateway, "k"))["ETag"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"x-amz-checksum-crc32": "AAAAAA=="}, "BadDigest"),
        ({"x-amz-checksum-sha256": "sailorjerry"}, "InvalidRequest"),
        ({"x-amz-checksum-algorithm": "SHA256"}, "InvalidRequest"),
        ({"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, "BadDigest"),
        ({"Content-MD5": "x"}, "InvalidDigest"),
    ],
)
async def test_digests_in_fields_are_those_of_the_file(gateway, fields, code):
    reply = await post(f"{gateway.url}/out", {"key": "k", **fields})

    assert (400, code) == (reply.status_code, error(reply)["Code"])
    assert [] == [*gateway.index.entries()]


async def test_digests_in_headers_are_those_of_the_body(gateway):
    for header, digest in (
        ("content-md5", lambda body: b64encode(hashlib.md5(body).digest()).decode()),
        ("x-amz-content-sha256", lambda body: hashlib.sha256(body).hexdigest()),
        ("x-amz-checksum-sha1", lambda body: b64encode(hashlib.sha1(body).digest()).decode()),
    ):
        made = requests.Request(
            "POST", f"{gateway.url}/out", data={"key": "k"}, files={"file": b"x" * 100_000}
        ).prepare()
        statuses = []
        for body in (made.body, b"other"):
            made.headers[header] = digest(body)
            with requests.Session() as session:
                reply = await in_thread(session.send, made)
            statuses.append(reply.status_code)

        assert [204, 400] == statuses, header


async def test_a_form_may_be_signed_in_a_header(locked):
    """As any other request, and then without a policy."""
    made = requests.Request(
        "POST", f"{locked.url}/out", data={"key": "k"}, files={"file": CONTENT}
    ).prepare()
    request = AWSRequest("POST", made.url, dict(made.headers), made.body)
    S3SigV4Auth(Credentials(*KEYS), "s3", "us-east-1").add_auth(request)

    reply = await in_thread(
        lambda: requests.post(
            f"{locked.url}/out", data=made.body, headers=dict(request.headers), timeout=60
        )
    )

    assert 204 == reply.status_code, reply.text
    assert TAG == (await head(locked, "k"))["ETag"]


async def test_a_page_of_another_host_cannot_write_without_authentication(gateway):
    replies = [
        await post(f"{gateway.url}/out", {"key": "k"}, headers={"origin": origin})
        for origin in ("https://example.com", "null", "http://localhost:3000")
    ]

    assert [403, 403, 204] == [each.status_code for each in replies]


async def test_a_policy_permits_pages_of_other_hosts(locked):
    reply = await post(
        f"{locked.url}/out", signed(locked), headers={"origin": "https://example.com"}
    )

    assert 204 == reply.status_code


async def test_another_content_type_is_a_failed_precondition(locked):
    """Recorded from S3, before a signature is missed."""
    reply = await in_thread(
        lambda: requests.post(
            f"{locked.url}/out", data=b"x", headers={"content-type": "text/html"}, timeout=60
        )
    )

    assert 412 == reply.status_code
    assert {
        "Code": "PreconditionFailed",
        "Message": "At least one of the pre-conditions you specified did not hold",
        "Condition": "Bucket POST must be of the enclosure-type multipart/form-data",
    } == error(reply)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_submits_a_form(gateway, tmp_path):
    """As in a script: ``curl -F``, which names the file and gives it a content type."""
    (tmp_path / "report.csv").write_bytes(CONTENT)
    command = [
        "curl", "--silent", "--show-error", "--write-out", "%{http_code}", "--max-time", "60",
        "-F", "key=reports/${filename}", "-F", "Content-Type=text/csv", "-F", "file=@report.csv",
        "-F", "submit=Upload", f"{gateway.url}/out",
    ]  # fmt: skip

    answered = await in_thread(
        lambda: subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    )
    found = await head(gateway, "reports/report.csv")

    assert (b"204", "text/csv", TAG) == (answered.stdout, found["ContentType"], found["ETag"])


@attrs.define
class Body:
    """The body of a request that was received in pieces."""

    pieces: list[bytes]

    async def read(self) -> bytes:
        """Return the next piece."""
        return self.pieces.pop(0) if self.pieces else b""


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\r\n--b!" * 90_000, id="content like boundaries"),
        pytest.param(b"\r\n--b\r\n\r\n" * 60_000, id="tiny parts"),
    ],
)
async def test_a_form_that_takes_long_to_decode_gives_way_to_other_tasks(nursery, content):
    """It arrives in one piece, and decoding each 64 KiB of it takes tens of milliseconds."""
    fields = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'
    start = fields % b"key" + b"k\r\n" + fields % b"file"
    sent = start + content + b"\r\n--b--"
    kind = {
        "Content-Type": "multipart/form-data; boundary=b",
        "Content-Length": str(len(sent)),
    }
    body = Body([sent])
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    nursery.start_soon(count)
    upload = await forms.receive_form(a_request("POST", "/out", kind), body, None, signed=False)
    async for _ in upload.content():
        pass

    assert turns >= len(content) // (8 << 10)


@pytest.mark.parametrize("tail", [b"\r\n--b--", b""])
async def test_a_form_without_a_length_is_limited_as_it_arrives(monkeypatch, tail):
    """Its file, and what follows it."""
    monkeypatch.setattr(forms, "MAX_UPLOAD", 100_000)
    kind = {"Content-Type": "multipart/form-data; boundary=b", "Transfer-Encoding": "chunked"}
    start = (
        b"--b\r\nContent-Disposition: form-data; name=key\r\n\r\nk\r\n"
        b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\n"
    )
    body = Body([start + tail, *[b"x" * 1000] * 1000])
    upload = await forms.receive_form(a_request("POST", "/out", kind), body, None, signed=False)

    with raises_s3_error("EntityTooLarge"):
        async for _ in upload.content():
            pass

    assert len(body.pieces) > 800


async def test_the_traffic_of_forms_is_counted(gateway):
    await post(f"{gateway.url}/out", {"key": "k"})
    await post(f"{gateway.url}/out", {})

    counted = gateway.statistics().buckets["out"]

    assert (len(CONTENT), 1, 1) == (
        counted.bytes_written,
        counted.objects_written,
        counted.refused,
    )
