"""Random sequences of operations on a gateway and on a model have the same results."""

from email.header import decode_header, make_header
from typing import ClassVar
from urllib.parse import quote, unquote_plus, urlencode
from xml.sax.saxutils import escape

import attrs
import pytest
from attacks.cases import completion, content_md5, tag_set
from attacks.model import ModelObject, listed
from attacks.running_gateway import FILES, RunningGateway
from attacks.wire import Reply, Wire, request
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

ODD = "ab/.%+ &<\"'\n\x01\x1füÀ\ud7ff\ue000\uffff𝄞-~?#=;:@*\\"
# Few and short keys, so that operations meet on one key, and characters whose escaping or order
# is often wrong.
KEYS = st.one_of(
    st.sampled_from(
        ["a", "b", "a/", "a/b", "a//b", "/", "a/..", "ü", "\ue000", "𝄞", "a\x01", "a b"]
    ),
    st.text("ab/", min_size=1, max_size=3),
    st.text(ODD, min_size=1, max_size=3),
).filter(lambda key: ".." not in key or key == "a/..")
PREFIXES = st.one_of(st.just(""), KEYS)
DELIMITERS = st.sampled_from(["", "/", "/", "a", "ab", "ü", "//", "\x01"])
DATA = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"x" * 70_000, b"y" * 300_000]))
METADATA = st.dictionaries(
    st.sampled_from(["a", "b-c", "d_e"]),
    st.text("xyz ,=;\"'äé", max_size=8).map(str.strip),
    max_size=2,
)
TAGS = st.dictionaries(
    st.text("kü+ ", min_size=1, max_size=3), st.text("v=/:", max_size=3), max_size=2
)
PAGE = st.integers(min_value=1, max_value=6)
SEEN = st.integers(min_value=0, max_value=9)


class Buckets(RuleBasedStateMachine):
    """The bucket ``out`` and its model."""

    gateway: ClassVar[RunningGateway]

    def __init__(self) -> None:
        super().__init__()
        self.things: dict[str, ModelObject] = {}
        self.wire = Wire(self.gateway.port)

    def teardown(self) -> None:
        self.wire.socket.close()

    def send(self, method, key, query=(), headers=None, body=None, *, bucket="out") -> Reply:
        """Send a request on the one connection and return the response."""
        path = f"/{bucket}" if key is None else f"/{bucket}/{quote(key, safe='/~')}"
        target = f"{path}?{urlencode(list(query), quote_via=quote)}" if query else path
        self.wire.send(request(method, target, headers, body))
        reply = self.wire.reply(method)
        assert reply.status < 500, reply.body
        return reply

    @initialize(keys=st.lists(KEYS, max_size=12))
    def start_with_a_few_objects(self, keys):
        index = self.gateway.index
        for entry in list(index.entries()):
            assert 204 == self.send("DELETE", entry.key).status
        for upload in list(index.uploads()):
            assert 204 == self.send("DELETE", upload.key, [("uploadId", upload.id)]).status
        for key in keys:
            self.put(key=key, data=key.encode(), metadata={}, tags={}, fresh=False)

    def near(self, key, seen):
        """Return *key*, or more often one of an existing object."""
        there = sorted(self.things)
        return there[seen % len(there)] if there and seen < 8 else key

    # --- writes

    @rule(key=KEYS, data=DATA, metadata=METADATA, tags=TAGS, fresh=st.booleans())
    def put(self, key, data, metadata, tags, fresh):
        """PutObject, with and without conditions."""
        headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
        headers["content-type"] = "text/x"
        if tags:
            headers["x-amz-tagging"] = urlencode(tags)
        if fresh:
            headers["if-none-match"] = "*"
        thing = ModelObject((data,), metadata=metadata, content_type="text/x", tags=tags)

        reply = self.send("PUT", key, headers=headers, body=data)

        if fresh and key in self.things:
            assert "PreconditionFailed" == reply.code
        else:
            assert (200, thing.etag) == (reply.status, reply.headers["etag"])
            self.things[key] = thing

    @rule(seen=SEEN, source=KEYS, key=KEYS, replace=st.booleans(), metadata=METADATA)
    def copy(self, seen, source, key, replace, metadata):
        """CopyObject, with and without REPLACE."""
        source = self.near(source, seen)
        headers = {"x-amz-copy-source": quote(f"out/{source}", safe="")}
        if replace:
            headers |= {f"x-amz-meta-{name}": value for name, value in metadata.items()}
            headers["x-amz-metadata-directive"] = "REPLACE"

        reply = self.send("PUT", key, headers=headers)

        if source not in self.things:
            assert "NoSuchKey" == reply.code
        elif source == key and not replace:
            assert "InvalidRequest" == reply.code
        else:
            thing = self.things[source]
            if replace:
                content_type = "binary/octet-stream"
                thing = attrs.evolve(thing, metadata=metadata, content_type=content_type)
            assert (200, thing.etag) == (reply.status, reply.field("ETag"))
            self.things[key] = attrs.evolve(thing, copied=True)

    @rule(key=KEYS, data=DATA, begin=st.sampled_from([0, 0, 0, 1, 2]), tags=TAGS)
    def upload_in_parts(self, key, data, begin, tags):
        """A multipart upload whose parts before the last are copied from an input."""
        headers = {"x-amz-tagging": urlencode(tags)} if tags else {}
        upload = self.send("POST", key, [("uploads", "")], headers).field("UploadId")
        etags = []
        for number in range(1, begin + 1):
            query = [("partNumber", str(number)), ("uploadId", upload)]
            source = {"x-amz-copy-source": "labresults/part"}
            etags.append(self.send("PUT", key, query, source).field("ETag"))
        query = [("partNumber", str(begin + 1)), ("uploadId", upload)]
        etags.append(self.send("PUT", key, query, body=data).headers["etag"])
        thing = ModelObject((FILES["part"],) * begin + (data,), multipart=True, tags=tags)
        listing = self.send("GET", key, [("uploadId", upload)])
        assert etags == listing.fields("ETag")

        reply = self.send(
            "POST", key, [("uploadId", upload)], body=completion(*enumerate(etags, 1))
        )

        assert (200, thing.etag) == (reply.status, reply.field("ETag"))
        self.things[key] = thing

    @rule(seen=SEEN, key=KEYS)
    def delete(self, seen, key):
        """DeleteObject of a key that may not exist."""
        key = self.near(key, seen)
        assert 204 == self.send("DELETE", key).status
        self.things.pop(key, None)

    @rule(keys=st.lists(KEYS.filter(lambda key: not set(key) & set("\x01\x1f\uffff")), min_size=1))
    def delete_many(self, keys):
        """DeleteObjects; each key is in the response once."""
        rows = "".join(
            f"<Object><Key>{escape(key)}</Key></Object>".replace("\n", "&#10;") for key in keys
        )

        body = f"<Delete>{rows}</Delete>".encode()
        reply = self.send(
            "POST", None, [("delete", "")], {"content-md5": content_md5(body)}, body=body
        )

        assert [*dict.fromkeys(keys)] == reply.fields("Key")
        for key in keys:
            self.things.pop(key, None)

    @rule(seen=SEEN, key=KEYS, tags=TAGS, remove=st.booleans())
    def tag(self, seen, key, tags, remove):
        """PutObjectTagging and DeleteObjectTagging."""
        key = self.near(key, seen)
        reply = (
            self.send("DELETE", key, [("tagging", "")])
            if remove
            else self.send("PUT", key, [("tagging", "")], body=tag_set(*tags.items()))
        )

        if key in self.things:
            assert (204 if remove else 200) == reply.status
            self.things[key] = attrs.evolve(self.things[key], tags={} if remove else tags)
        else:
            assert "NoSuchKey" == reply.code

    # --- reads

    @rule(seen=SEEN, key=KEYS, head=st.booleans())
    def get(self, seen, key, head):
        """GetObject with all attributes."""
        key = self.near(key, seen)
        reply = self.send("HEAD" if head else "GET", key)

        thing = self.things.get(key)
        if thing is None:
            assert 404 == reply.status
            return
        assert (b"" if head else thing.data) == reply.body
        assert (str(len(thing.data)), thing.etag, thing.content_type) == (
            reply.headers["content-length"],
            reply.headers["etag"],
            reply.headers["content-type"],
        )
        assert thing.metadata == {
            name.removeprefix("x-amz-meta-"): str(make_header(decode_header(value)))
            for name, value in reply.headers.items()
            if name.startswith("x-amz-meta-")
        }
        assert len(thing.tags) == int(reply.headers.get("x-amz-tagging-count", 0))

    @rule(
        seen=SEEN,
        key=KEYS,
        first=st.integers(0, 50),
        length=st.integers(1, 50),
        suffix=st.booleans(),
    )
    def get_a_range(self, seen, key, first, length, suffix):
        """GetObject of a range."""
        key = self.near(key, seen)
        span = f"-{length}" if suffix else f"{first}-{first + length - 1}"

        reply = self.send("GET", key, headers={"range": f"bytes={span}"})

        thing = self.things.get(key)
        if thing is None:
            assert "NoSuchKey" == reply.code
            return
        expected = thing.data[-length:] if suffix else thing.data[first : first + length]
        if expected:
            assert (206, expected) == (reply.status, reply.body)
        else:
            assert "InvalidRange" == reply.code

    @rule(seen=SEEN, key=KEYS, number=st.integers(1, 3))
    def get_a_part(self, seen, key, number):
        """GetObject of a part."""
        key = self.near(key, seen)
        reply = self.send("GET", key, [("partNumber", str(number))])

        thing = self.things.get(key)
        if thing is None:
            assert "NoSuchKey" == reply.code
        elif number > len(thing.readable_parts):
            assert "InvalidPartNumber" == reply.code
        else:
            assert thing.readable_parts[number - 1] == reply.body

    @rule(seen=SEEN, key=KEYS)
    def get_tags(self, seen, key):
        """GetObjectTagging."""
        key = self.near(key, seen)
        reply = self.send("GET", key, [("tagging", "")])

        if key in self.things:
            found = dict(zip(reply.fields("Key"), reply.fields("Value"), strict=True))
            assert self.things[key].tags == found
        else:
            assert "NoSuchKey" == reply.code

    @rule(prefix=PREFIXES, delimiter=DELIMITERS, after=PREFIXES, page=PAGE)
    def list_v1(self, prefix, delimiter, after, page):
        """All pages of ListObjects."""
        expected = listed(self.things, prefix=prefix, delimiter=delimiter, after=after)
        found, marker, more = [], after, True
        while more:
            reply = self._page(prefix, delimiter, page, ("marker", marker))
            shown = self._shown(reply)
            found += shown
            more = self._is_truncated(reply, len(shown), page)
            # Without a delimiter there is no NextMarker; the next page starts after the last key.
            marker = (
                unquote_plus(reply.field("NextMarker"))
                if delimiter
                else (shown or [("", False)])[-1][0]
            )

        assert expected == found

    @rule(prefix=PREFIXES, delimiter=DELIMITERS, after=PREFIXES, page=PAGE)
    def list_v2(self, prefix, delimiter, after, page):
        """All pages of ListObjectsV2."""
        expected = listed(self.things, prefix=prefix, delimiter=delimiter, after=after)
        found, place, more = [], ("start-after", after), True
        while more:
            reply = self._page(prefix, delimiter, page, ("list-type", "2"), place)
            shown = self._shown(reply)
            assert len(shown) == int(reply.field("KeyCount"))
            found += shown
            more = self._is_truncated(reply, len(shown), page)
            place = ("continuation-token", reply.field("NextContinuationToken"))

        assert expected == found

    @rule(prefix=PREFIXES, delimiter=DELIMITERS, page=PAGE)
    def list_versions(self, prefix, delimiter, page):
        """All pages of ListObjectVersions."""
        expected = listed(self.things, prefix=prefix, delimiter=delimiter, after="")
        found, marker, more = [], "", True
        while more:
            reply = self._page(prefix, delimiter, page, ("versions", ""), ("key-marker", marker))
            shown = self._shown(reply)
            found += shown
            more = self._is_truncated(reply, len(shown), page)
            marker = unquote_plus(reply.field("NextKeyMarker"))

        assert expected == found

    def _page(self, prefix, delimiter, page, *more) -> Reply:
        query = [("prefix", prefix), ("max-keys", str(page)), ("encoding-type", "url"), *more]
        if delimiter:
            query.append(("delimiter", delimiter))
        reply = self.send("GET", None, query)
        assert 200 == reply.status, reply.body
        keys = [unquote_plus(key) for key in reply.fields("Key")]
        assert [self.things[key].etag for key in keys] == reply.fields("ETag")
        assert [len(self.things[key].data) for key in keys] == list(map(int, reply.fields("Size")))
        return reply

    def _shown(self, reply) -> list[tuple[str, bool]]:
        folded = [
            unquote_plus(each) for each in reply.fields("Prefix")[1:]
        ]  # the first is the query's
        names = [(unquote_plus(key), False) for key in reply.fields("Key")]
        names += [(prefix, True) for prefix in folded]
        return sorted(names, key=lambda each: each[0].encode())

    def _is_truncated(self, reply, shown, page) -> bool:
        assert shown <= page
        more = reply.field("IsTruncated") == "true"
        assert shown == page or not more
        return more


def run(gateway: RunningGateway, *, examples: int, steps: int) -> None:
    """Run *examples* sequences of up to *steps* operations."""
    Buckets.gateway = gateway
    run_state_machine_as_test(
        Buckets,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(300)
def test_a_bucket_behaves_like_its_model(gateway):
    run(gateway, examples=8, steps=40)
