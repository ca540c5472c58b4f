"""Each operation with each invalid part has a specified error."""

from collections.abc import Iterator

import attrs
import pytest
from attacks.cases import CONTENT, PART, PART_ETAG, SMALL_ETAG, completion
from attacks.cases_change import COPIES, DELETES, REST
from attacks.cases_put import FRAMED, PUTS
from attacks.cases_read import LISTINGS, READS
from attacks.cases_upload import MULTIPART
from attacks.running_gateway import RunningGateway
from attacks.wire import Wire, request, send_request
from builders import checksum_of

CASES = [*PUTS, *FRAMED, *READS, *LISTINGS, *COPIES, *DELETES, *REST, *MULTIPART]


@attrs.frozen
class Content:
    """The content of ``out`` while the cases run."""

    gateway: RunningGateway
    uploads: dict[str, str]

    def visible(self) -> object:
        """Return everything that a client can read of ``out``."""
        index = self.gateway.index
        return (
            list(index.entries()),
            [(each, index.parts(each.key, each.id)) for each in index.uploads()],
        )


@pytest.fixture(scope="module")
def content(gateway: RunningGateway) -> Iterator[Content]:
    """Objects of every kind, and uploads in progress."""
    port = gateway.port

    def create_upload(key: str, *parts: bytes, algorithm: str = "") -> str:
        headers = {"x-amz-checksum-algorithm": algorithm} if algorithm else {}
        upload = send_request(port, "POST", f"/out/{key}?uploads", headers).field("UploadId")
        for number, part in enumerate(parts, start=1):
            target = f"/out/{key}?partNumber={number}&uploadId={upload}"
            name = f"x-amz-checksum-{algorithm.lower()}"
            sums = {name: checksum_of(algorithm, [part]).value} if algorithm else {}
            assert 200 == send_request(port, "PUT", target, sums, part).status
        return upload

    assert 200 == send_request(port, "PUT", "/out/there", {"x-amz-meta-a": "1"}, CONTENT).status
    assert 200 == send_request(port, "PUT", "/out/empty", {}, b"").status
    parts = create_upload("parts", PART, b"small")
    listed = completion((1, PART_ETAG), (2, SMALL_ETAG))
    assert 200 == send_request(port, "POST", f"/out/parts?uploadId={parts}", {}, listed).status
    uploads = {
        "upload": create_upload("big", PART, b"small", PART),
        "summed": create_upload("summed", b"small", algorithm="SHA256"),
        "over": create_upload("there", b"small"),
    }
    yield Content(gateway, uploads)
    for key, upload in zip(("big", "summed", "there"), uploads.values(), strict=True):
        assert 204 == send_request(port, "DELETE", f"/out/{key}?uploadId={upload}").status


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_has_status_code_and_fields_of_s3_and_changes_nothing(content, case):
    before = content.visible()

    with Wire(content.gateway.port) as wire:
        target = case.target.format(**content.uploads)
        wire.send(request(case.method, target, case.headers, case.body))
        reply = wire.reply(case.method)

    assert (case.status, case.code) == (reply.status, reply.code), reply.body
    assert case.fields == {name: reply.field(name) for name in case.fields}
    assert reply.field("RequestId") in ("", reply.headers["x-amz-request-id"])
    assert before == content.visible()
