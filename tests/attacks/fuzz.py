"""Fuzzer of a gateway in its own processes: mutated requests over raw sockets."""

import argparse
import hashlib
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

sys.path[:0] = [str(Path(__file__).parents[level]) for level in (1, 2)]

# ruff: noqa: E402 - as a command, it has to say first where its neighbours are
from attacks.mutations import MUTATIONS, Draft, mutate_bytes, valid_requests
from attacks.running_gateway import RunningGateway, serving
from attacks.signing import Signer
from attacks.wire import Reply, TimedOut, Wire, send_request

from worker.errors import UploadMissing
from worker.gateway.messages import KeyPair

KEYS = KeyPair("AKIAJOB", "secret")
SLOW = 20.0
"""Seconds after which an answer counts as missing, on a machine that is busy."""
GROWTH = 256 << 20
"""Bytes by which the processes together may grow."""
ALLOWED = {501}
"""Statuses of 500 and more that are answers."""
KEPT = 300
"""Objects that are left in the bucket before it is emptied again."""


class InvalidResponse(AssertionError):
    """A response that violates the protocol."""


class Fuzzer:
    """A client whose requests are determined by its seed."""

    def __init__(self, gateway: RunningGateway, seed: int, *, signer: Signer | None) -> None:
        self.gateway = gateway
        self.pick = random.Random(seed)
        self.signer = signer
        self.outcomes: Counter[str] = Counter()
        self.findings: list[tuple[str, bytes]] = []
        self._turn = 0
        self._upload = self._new_upload()

    def _new_upload(self) -> str:
        target = "/out/big?uploads"
        headers = self.signer.headers("POST", target) if self.signer else {}
        return send_request(self.gateway.port, "POST", target, headers).field("UploadId")

    def round(self) -> None:
        """Send a mutated request and check the responses."""
        self._turn += 1
        if self._turn % 500 == 0:
            self._reset()
        sent = b"".join(self._sent() for _ in range(self.pick.choice([1, 1, 1, 2, 4])))
        mark = f"canary-{self.pick.randrange(1 << 60)}"
        canary = self._signed(Draft("GET", f"/out/{mark}", {})).raw()
        try:
            self._exchange(sent + canary, mark)
        except (AssertionError, ValueError, SyntaxError) as error:
            self.findings.append((f"{type(error).__name__}: {error}", sent))
            print("FOUND", *self.findings[-1], flush=True)
            self.outcomes["findings"] += 1

    def _sent(self) -> bytes:
        draft = self.pick.choice(valid_requests(self._upload))
        late = self.pick.random() < 0.5
        if not late:
            self._signed(draft)
        for _ in range(self.pick.choice([0, 1, 1, 2, 3])):
            self.pick.choice(MUTATIONS)(self.pick, draft)
        if late:
            self._signed(draft)
        raw = draft.raw()
        return mutate_bytes(self.pick, raw) if self.pick.random() < 0.2 else raw

    def _signed(self, draft: Draft) -> Draft:
        if self.signer is not None:
            payload = draft.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
            # A request that cannot be signed is sent unsigned.
            with suppress(UnicodeError, KeyError):
                given = {name: value for name, value in draft.headers.items() if name != "host"}
                draft.headers = self.signer.headers(
                    draft.method, draft.target, given, payload=payload
                )
        return draft

    def _exchange(self, sent: bytes, mark: str) -> None:
        with Wire(self.gateway.port, deadline=SLOW) as wire:
            if self.pick.random() < 0.3:
                cuts = sorted(self.pick.randrange(len(sent)) for _ in range(3))
                for start, stop in zip([0, *cuts], [*cuts, len(sent)], strict=True):
                    wire.send(sent[start:stop])
            else:
                wire.send(sent)
            if self.pick.random() < 0.05:
                self.outcomes["dropped"] += 1
                return
            with suppress(OSError):
                wire.half_close()
            self._check(wire.rest(), mark)

    def _check(self, received: bytes, mark: str) -> None:
        """Check that the received bytes are responses, and each of them."""
        replies = list(replies_in(received))
        seen = set()
        for number, reply in enumerate(replies):
            self.outcomes[f"{reply.status} {reply.code}".strip()] += 1
            if reply.status >= 500 and reply.status not in ALLOWED:
                raise InvalidResponse(f"{reply.status} {reply.body[:300]!r}")
            if "x-amz-request-id" not in reply.headers:
                if not is_page(reply):
                    raise InvalidResponse(f"an answer without an id: {reply}")
                continue
            own = reply.headers["x-amz-request-id"]
            if own in seen:
                raise InvalidResponse(f"an id twice: {own}")
            seen.add(own)
            if reply.field("RequestId") not in ("", own):
                raise InvalidResponse(f"ids that do not agree: {reply}")
            of_canary = reply.field("Key").startswith("canary-")
            if of_canary and (reply.field("Key"), number + 1) != (mark, len(replies)):
                raise InvalidResponse(f"an answer out of its turn: {reply}")
        if not replies:
            self.outcomes["nothing"] += 1

    def _reset(self) -> None:
        """Empty the bucket, and create an upload."""
        index = self.gateway.index
        entries = list(index.entries())
        for entry in entries[KEPT:] + entries[: KEPT // 2]:
            index.remove(entry.key, epoch=index.epoch())
        for upload in list(index.uploads())[20:]:
            # Another client may have aborted or completed it meanwhile.
            with suppress(UploadMissing):
                index.abort_upload(upload.key, upload.id, epoch=index.epoch())
        self._upload = self._new_upload()


def replies_in(received: bytes) -> list[Reply]:
    """Return the responses in received bytes; raises InvalidResponse for anything else."""
    replies = []
    while received:
        head, blank, rest = received.partition(b"\r\n\r\n")
        if not blank or not head.startswith(b"HTTP/1.1 "):
            raise InvalidResponse(f"no answer begins with {received[:200]!r}")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        exact = dict(line.split(": ", 1) for line in lines if ": " in line)
        headers.update({name.lower(): value for name, value in exact.items()})
        number = int(status[9:12])
        if number < 200:
            received = rest
            continue
        size = int(headers.get("content-length", 0))
        # A response to HEAD has a Content-Length but no body.
        absent = number in (204, 304) or rest.startswith(b"HTTP/1.1 ") or not rest
        body = b"" if absent else rest[:size]
        if len(body) < size and not absent:
            raise InvalidResponse(f"a body of {len(body)} of {size} bytes")
        replies.append(Reply(number, headers, body))
        received = rest[len(body) :]
    return replies


def is_page(reply: Reply) -> bool:
    """Whether a response is an admin page, which has no ids."""
    return reply.headers.get("content-type", "").startswith("text/")


class Monitor:
    """Monitor of the processes, their memory, their log, and the stored objects."""

    def __init__(self, gateway: RunningGateway, log: Path) -> None:
        self.gateway = gateway
        self.log = log
        self.pids = {each.pid for each in gateway.children()}
        self.first = self.most = gateway.rss()

    def check(self) -> list[str]:
        """Return the findings."""
        wrong = []
        if {each.pid for each in self.gateway.children()} != self.pids:
            wrong.append("a process of the gateway is gone")
            return wrong
        self.most = max(self.most, self.gateway.rss())
        if self.most - self.first > GROWTH:
            wrong.append(f"memory grew by {(self.most - self.first) >> 20} MiB")
        started = time.monotonic()
        send_request(self.gateway.port, "GET", "/-/healthz")
        if time.monotonic() - started > SLOW / 2:
            wrong.append("a simple answer takes long")
        return wrong

    def objects(self) -> list[str]:
        """Return the objects whose bytes do not match their ETags."""
        wrong = []
        for entry in self.gateway.index.entries():
            digest = hashlib.md5()
            for extent in entry.extents:
                blob = Path(self.gateway.plan.store) / "blobs" / extent.blob
                data = blob.read_bytes()[extent.offset : extent.offset + extent.length]
                digest.update(data)
            if "-" not in entry.etag and digest.hexdigest() != entry.etag:
                wrong.append(f"{entry.key!r} has not the bytes of its ETag")
        return wrong

    def connections(self) -> list[str]:
        """Return the connections that remain after every client has disconnected."""
        end = time.monotonic() + SLOW
        while left := [
            each
            for child in self.gateway.children()
            for each in child.net_connections("tcp")
            if each.status != psutil.CONN_LISTEN
        ]:
            if time.monotonic() > end:
                return [f"{len(left)} connections are left, of clients that have gone"]
            time.sleep(0.1)
        return []

    def tracebacks(self) -> list[str]:
        """Return the tracebacks on standard error."""
        return [self.log.read_text()[:5000]] if self.log.stat().st_size else []


def fuzz(*, seconds: float, seed: int, clients: int, report: float = 30.0) -> list[str]:
    """Fuzz a gateway without and one with authentication, by *clients* each; return findings."""
    found: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = folder / "stderr"
        families = []
        for name, auth in (("open", None), ("signed_gateway", KEYS)):
            with _redirected_errors(log):
                families.append(stack.enter_context(serving(folder / name, keys=auth)))
        watches = [Monitor(each, log) for each in families]
        fuzzers = [
            Fuzzer(
                each,
                seed * 1000 + number,
                signer=Signer(KEYS.access, KEYS.secret) if each.plan.keys else None,
            )
            for number in range(clients)
            for each in families
        ]
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=_client, args=(each, end)) for each in fuzzers]
        for thread in threads:
            thread.start()
        reported = time.monotonic()
        while any(each.is_alive() for each in threads):
            threads[0].join(1.0)
            try:
                found += [wrong for watch in watches for wrong in watch.check()]
            except (TimedOut, OSError) as error:
                found.append(f"no answer to a simple question: {error}")
            if time.monotonic() - reported > report:
                reported = time.monotonic()
                _say(fuzzers, watches)
        _say(fuzzers, watches)
        for watch in watches:
            found += watch.objects() + watch.connections()
        found += watches[0].tracebacks()
        for wrong in found:
            print("FOUND", wrong, flush=True)
        for each in fuzzers:
            found += [f"{reason}\n    {sent!r}" for reason, sent in each.findings]
    return found


def _client(fuzzer: Fuzzer, end: float) -> None:
    while time.monotonic() < end and len(fuzzer.findings) < 20:
        fuzzer.round()


class _redirected_errors:
    """Redirect the standard error of processes started in the block to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._kept = os.dup(2)
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 2)
        os.close(file)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._kept, 2)
        os.close(self._kept)


def _say(fuzzers: list[Fuzzer], watches: list[Monitor]) -> None:
    total: Counter[str] = sum((each.outcomes for each in fuzzers), Counter())
    rounds = sum(each._turn for each in fuzzers)
    memory = ", ".join(f"{w.first >> 20} MiB, at most {w.most >> 20}" for w in watches)
    print(f"{rounds} connections; memory {memory}; {total['findings']} findings", flush=True)
    print("   ", ", ".join(f"{what}: {n}" for what, n in total.most_common(60)), flush=True)


def main() -> int:
    """Run with the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--clients", type=int, default=3)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    found = fuzz(seconds=arguments.minutes * 60, seed=arguments.seed, clients=arguments.clients)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
