"""Whatever is wrong with a request has a name: each operation by each thing that can be wrong.

Every case is sent to a real gateway byte by byte as it stands. The answer is the status and the
code of S3, and nothing that anyone could see has changed.
"""

from collections.abc import Iterator

import attrs
import pytest
from attacks.cases import CONTENT, PART, PART_ETAG, SMALL_ETAG, completion
from attacks.cases_change import COPIES, DELETES, REST
from attacks.cases_put import FRAMED, PUTS
from attacks.cases_read import LISTINGS, READS
from attacks.cases_upload import MULTIPART
from attacks.family import Family
from attacks.wire import Wire, ask, request

CASES = [*PUTS, *FRAMED, *READS, *LISTINGS, *COPIES, *DELETES, *REST, *MULTIPART]


@attrs.frozen
class Scene:
    """What is in ``out`` while the cases are tried."""

    family: Family
    uploads: dict[str, str]

    def visible(self) -> object:
        """Return all that anyone could see of ``out``."""
        index = self.family.index
        return (
            list(index.entries()),
            [(each, index.parts(each.key, each.id)) for each in index.uploads()],
        )


@pytest.fixture(scope="module")
def scene(family: Family) -> Iterator[Scene]:
    """Objects of every kind, and uploads that go on."""
    port = family.port

    def begun(key: str, *parts: bytes, **headers: str) -> str:
        upload = ask(port, "POST", f"/out/{key}?uploads", headers).field("UploadId")
        for number, part in enumerate(parts, start=1):
            target = f"/out/{key}?partNumber={number}&uploadId={upload}"
            assert 200 == ask(port, "PUT", target, {}, part).status
        return upload

    assert 200 == ask(port, "PUT", "/out/there", {"x-amz-meta-a": "1"}, CONTENT).status
    assert 200 == ask(port, "PUT", "/out/empty", {}, b"").status
    parts = begun("parts", PART, b"small")
    listed = completion((1, PART_ETAG), (2, SMALL_ETAG))
    assert 200 == ask(port, "POST", f"/out/parts?uploadId={parts}", {}, listed).status
    uploads = {
        "upload": begun("big", PART, b"small", PART),
        "summed": begun("summed", b"small", **{"x-amz-checksum-algorithm": "SHA256"}),
        "over": begun("there", b"small"),
    }
    yield Scene(family, uploads)
    for key, upload in zip(("big", "summed", "there"), uploads.values(), strict=True):
        assert 204 == ask(port, "DELETE", f"/out/{key}?uploadId={upload}").status


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_refused_by_name_and_changes_nothing(scene, case):
    """What is wrong gets the status, the code and the fields of S3, and nothing has changed."""
    before = scene.visible()

    with Wire(scene.family.port) as wire:
        target = case.target.format(**scene.uploads)
        wire.send(request(case.method, target, case.headers, case.body))
        reply = wire.reply(case.method)

    assert (case.status, case.code) == (reply.status, reply.code), reply.body
    assert case.fields == {name: reply.field(name) for name in case.fields}
    assert reply.field("RequestId") in ("", reply.headers["x-amz-request-id"])
    assert before == scene.visible()
