"""Fuzzer of the store: every operation on a small store, of which something has been changed.

A round writes the store, changes bytes, fields, files or folders of it, and runs operations through
the interfaces that commands and gateways use. Each one must succeed or raise an error that names
what is damaged; the checks are those of `Case` and `Fuzzer.round`.
"""

import argparse
import json
import os
import random
import resource
import signal
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import attrs
import trio

sys.path[:0] = [str(Path(__file__).parents[level]) for level in (1, 2)]

# ruff: noqa: E402 - as a command, it has to say first where its neighbours are
from attacks.hostile_stores import (
    BYTES,
    COMMANDS,
    IN_MEMORY,
    WRONG,
    Absent,
    Hostile,
    changed,
    paths,
    problem,
)
from store.store_image import (
    BRANCHES,
    SOUND,
    Image,
    Json,
    Link,
    contents,
    remove,
    sound_image,
)

from worker.buckets.bucket import InputBucket
from worker.buckets.index import Index
from worker.buckets.output import OutputBucket
from worker.cli.browse import listed
from worker.cli.history import commit_json
from worker.errors import DataLost, Invalid, Misconfigured, NotFound, WorkerError
from worker.gateway.application import S3Application
from worker.gateway.counters import Counters
from worker.gateway.http import RequestHead
from worker.job.plan import make_plan
from worker.model import Commit, Ref, parse_ref
from worker.s3.xml_requests import parse_xml
from worker.spec.parse import parse as parse_job
from worker.store import gc as garbage
from worker.store import verify as verification
from worker.store.backends.base import Damaged
from worker.store.blobs import BlobReader, Stage
from worker.store.checkin import put_directory
from worker.store.checkout import get_directory
from worker.store.opening import open_store
from worker.store.repository import Store
from worker.store.tar import write_tar

STEP_LIMIT = 20
"""Seconds after which an operation is interrupted: it may be endless."""
GROWTH = 700 << 20
"""Bytes by which memory may grow: some of the largest objects that a store may have."""
UNREAD = 1
"""A time of access in nanoseconds that no access sets."""
MESSAGE_LIMIT = 30_000
"""Characters of an error message, which may contain two keys of 1,024 characters as escapes."""
NEW = b"content of a new file"
REFS = (*BRANCHES, "labresults@master^")
VERIFIED = 1 << 16
"""The largest object that a gateway verifies."""


class Wrong(AssertionError):
    """An operation did what it must not do."""


class Endless(BaseException):
    """An operation was interrupted, as it takes too long; no code of the program catches this."""


@attrs.define
class Mutation:
    """A change of the store, as it is printed."""

    what: str
    kind: str
    """``field``, ``bytes`` or ``path``."""
    name: str
    """The object, or the folder with a slash at its end."""


@attrs.define
class Case:
    """A store in a folder, and what is known of it."""

    root: Path
    contents: Mapping[str, Mapping[str, bytes]]
    """What each commit had before the store was changed."""
    pick: random.Random
    mutations: list[Mutation] = attrs.field(factory=list)
    raised: dict[str, Exception] = attrs.field(factory=dict)
    """By operation: the error with which it ended."""
    verified: str | None = None
    """What ``verify`` has found, if it was run."""

    @property
    def place(self) -> Path:
        """The folder of the store."""
        return self.root / "store"

    @property
    def outside(self) -> Path:
        """A sound copy of the store, to which links lead."""
        return self.root.parent / "outside"

    def open(self) -> Store:
        """Open the store as a new process does, with nothing in memory."""
        return open_store(self.place)

    def has_strict_content(self) -> bool:
        """Whether what is read is what was stored, or an error: no commit was forged."""
        return all(
            each.kind == "path"
            or each.what.startswith("nothing")
            or (each.kind == "bytes" and each.name.startswith(("blobs/", "segments/", "trees/")))
            for each in self.mutations
        )

    def check_keys(self, commit: Commit, keys: list[str]) -> None:
        """Check the keys that were listed of a commit."""
        known = self.contents.get(str(commit.name))
        if keys != sorted(set(keys)):
            raise Wrong(f"the keys of {commit.name} are not sorted and unique: {keys}")
        if self.has_strict_content() and known is not None and keys != sorted(known):
            raise Wrong(f"{commit.name} has the keys {keys}, expected {sorted(known)}")

    def check_content(self, commit: Commit, key: str, data: bytes) -> None:
        """Check the content that was read of a key."""
        known = self.contents.get(str(commit.name), {})
        if self.has_strict_content() and key in known and known[key] != data:
            raise Wrong(f"{commit.name}:{key} was read as {data[:100]!r}")

    def commits(self, store: Store) -> Iterator[Commit]:
        """Yield the head of a branch, or a commit of it."""
        yield store.resolve(self.pick.choice(REFS))


def ls(case: Case) -> None:
    """List a branch and a folder of it."""
    store = case.open()
    for commit in case.commits(store):
        tree = store.tree(commit)
        ref = Ref(commit.name.repo, commit.name.id)
        entries = list(listed(tree, ref, recursive=True))
        case.check_keys(commit, [entry.key for entry in entries])
        shallow = [entry.key for entry in listed(tree, ref, recursive=False)]
        if shallow != sorted(set(shallow)) or len(shallow) > len(entries):
            raise Wrong(f"{commit.name} is listed as {shallow}")


def log(case: Case) -> None:
    """Follow the log of a branch, and the parents of its head."""
    store = case.open()
    branch = parse_ref(case.pick.choice(BRANCHES)).branch
    for commit in [*store.log(branch), *store.log(store.resolve(str(branch)).name)]:
        commit_json(commit)
        list(store.made_from(commit.name))


def cat(case: Case) -> None:
    """Read every file of a commit by its key."""
    store = case.open()
    reader = BlobReader(store.backend)
    for commit in case.commits(store):
        tree = store.tree(commit)
        for key in case.contents.get(str(commit.name), ("a", "z")):
            entry = tree.entry(key)
            if entry is None:
                if case.has_strict_content():
                    raise Wrong(f"{commit.name} has no {key}")
            elif entry.size < 1 << 20:
                case.check_content(commit, key, b"".join(reader.verified(entry.extents)))


def get(case: Case) -> None:
    """Write the files of a commit to a folder."""
    target = case.root / "target"
    store = case.open()
    for commit in case.commits(store):
        unwritten = get_directory(store, commit, target)
        lost = {each.key for each in unwritten}
        if case.has_strict_content():
            for key, data in case.contents.get(str(commit.name), {}).items():
                if key not in lost and not key.endswith("/"):
                    case.check_content(commit, key, (target / key).read_bytes())
                    if data != (target / key).read_bytes():
                        raise Wrong(f"{key} was written with other content")


def tar(case: Case) -> None:
    """Write the files of a commit to an archive."""
    store = case.open()
    file = BytesIO()
    for commit in case.commits(store):
        write_tar(store, commit, file)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            for member in archive:
                if member.isfile() and (content := archive.extractfile(member)) is not None:
                    case.check_content(commit, member.name, content.read())


def put(case: Case) -> None:
    """Commit a folder to a branch; what is committed can be read."""
    store = case.open()
    source = case.root / "source"
    source.mkdir()
    for name in ("a", "new file", "zz"):
        (source / name).write_bytes(NEW + name.encode())
    branch = parse_ref(case.pick.choice(BRANCHES[:3])).branch
    commit = put_directory(
        store, branch, source, keep=case.pick.random() < 0.7, scratch=case.root / "scratch"
    )
    opened = case.open()
    head = opened.resolve(str(branch))
    if head.name != commit.name:
        raise Wrong(f"{commit.name} was committed, and the head is {head.name}")
    tree, reader = opened.tree(head), BlobReader(opened.backend)
    for name in ("a", "new file", "zz"):
        entry = tree.entry(name)
        if entry is None or b"".join(reader.verified(entry.extents)) != NEW + name.encode():
            raise Wrong(f"{name} was committed, and cannot be read")


def command(case: Case) -> None:
    """Run a command line in this process."""
    name = case.pick.choice([*COMMANDS])
    done = Hostile(case.root).command(name)
    if (found := problem(done)) is not None:
        raise Wrong(f"worker {name}: {found}")


def verify(case: Case) -> None:
    """Verify the store."""
    case.verified = ""
    found = verification.verify(case.open())
    case.verified = "\n".join(f"{defect.name}: {defect.found}" for defect in found.defects)


def gc(case: Case, *, collect: Callable[..., object] = garbage.gc) -> None:
    """Remove garbage, as if all objects were old; *collect* must keep all that is in use."""
    before = case.open()
    needed = set()
    # A file in the place of a folder is what is left of it: its commits are no longer there.
    is_lost = any(each.what.endswith("/: empty") for each in case.mutations)
    if len(case.mutations) == 1 and case.has_strict_content() and not is_lost:
        needed |= set(_files(case.outside))
    needed |= _reached(before)
    present = needed & set(_files(case.place))
    try:
        collect(case.open(), grace=0.0, now=time.time() + 1000)
    finally:
        if lost := present - set(_files(case.place)):
            raise Wrong(f"gc has removed {sorted(lost)}")


def _files(place: Path) -> list[str]:
    """Return the names of all trees, segments and blobs in a store."""
    return [
        os.path.relpath(os.path.join(folder, name), place)
        for top in ("blobs", "segments", "trees")
        for folder, _, names in os.walk(place / top)
        for name in names
    ]


def _reached(store: Store) -> set[str]:
    """Return the names of the objects of all commits that can be read."""
    found = set()
    for repo in store.repos(lambda _: None):
        with suppress(WorkerError):
            for name in store.commits(repo, lambda _: None):
                with suppress(WorkerError):
                    commit = store.commit(name)
                    tree = store.tree(commit)
                    found.add(f"trees/{commit.root}")
                    found.update(f"segments/{row.address.hex()}" for row in tree.rows)
                    for entry in tree.entries():
                        found.update(f"blobs/{extent.blob}" for extent in entry.extents)
    return found


def plan(case: Case) -> None:
    """Resolve the inputs of a job, and enumerate its datums."""
    repo, _, branch = case.pick.choice(BRANCHES).partition("@")
    glob = case.pick.choice(["/", "/*", "/b/*", "/**"])
    job = {
        "pipeline": {"name": "copy"},
        "input": {"pfs": {"repo": repo, "branch": branch, "name": "in", "glob": glob}},
        "transform": {"cmd": ["true"]},
    }
    made = make_plan(case.open(), parse_job(json.dumps(job)), job="f" * 32)
    list(made.datums())


class WatchedApplication(S3Application):
    """An application of a gateway that keeps the last error."""

    last: Exception | None = None

    def report(self, error: Exception) -> None:
        """Keep *error*, which ended a valid request."""
        self.last = error


def gateway(case: Case, *, ref: str = "") -> None:
    """Serve a commit: list it, read, copy and describe its objects."""
    store = case.open()
    commit = store.resolve(ref) if ref else next(case.commits(store))
    tree, reader = store.tree(commit), BlobReader(store.backend)
    scratch = case.root / "scratch"
    scratch.mkdir(exist_ok=True)
    Index.create(scratch / "index").close()
    index = Index(scratch / "index")
    stage = Stage(store.backend, "fuzz", writer="w", scratch=scratch)
    buckets = [InputBucket("in", reader, tree), OutputBucket(reader, index=index, stage=stage)]
    served = WatchedApplication(buckets, job="j", counters=Counters(("in", "out"), 1))
    try:
        trio.run(_requests, case, commit, served)
    finally:
        index.close()
        reader.close()


async def _requests(case: Case, commit: Commit, served: WatchedApplication) -> None:
    keys = [*case.contents.get(str(commit.name), ()), "missing"]
    raised = None
    for method, target, headers in [
        ("GET", "/in?list-type=2", {}),
        ("GET", "/in?delimiter=/&encoding-type=url&max-keys=3", {}),
        ("GET", "/in?versions", {}),
        *((case.pick.choice(["GET", "GET", "HEAD"]), f"/in/{quote(key)}", _headers(case.pick))
          for key in keys),
        ("GET", "/in/a?attributes", {"x-amz-object-attributes": "Checksum,ObjectParts,ObjectSize"}),
        ("GET", "/in/a?tagging", {}),
        ("GET", "/in/a?partNumber=2", {"x-amz-checksum-mode": "ENABLED"}),
        ("PUT", "/out/copy", {"x-amz-copy-source": "/in/a"}),
        ("PUT", "/out/copy2", {"x-amz-copy-source": "/in/a", "x-amz-checksum-algorithm": "SHA256"}),
        ("GET", "/out?list-type=2", {}),
    ]:  # fmt: skip
        try:
            await _request(case, commit, served, method, target, headers)
        except WorkerError as error:
            raised = error
    if raised is not None:
        raise raised


def _headers(pick: random.Random) -> dict[str, str]:
    return pick.choice(
        [{}, {}, {"x-amz-checksum-mode": "ENABLED"}, {"range": "bytes=1-2"}, {"if-match": "x"}]
    )


async def _request(
    case: Case,
    commit: Commit,
    served: WatchedApplication,
    method: str,
    target: str,
    headers: dict[str, str],
) -> None:
    path, _, query = target.partition("?")
    lines = [(b"host", b"localhost"), *((n.encode(), v.encode()) for n, v in headers.items())]
    served.last = None
    body: Any = _NoBody()
    response = await served.respond(
        RequestHead(method, path.encode(), query.encode(), lines, "http"), body
    )
    if served.last is not None:
        raise served.last
    for name, value in response.headers:
        if set(name + value) & set(b"\r\n\0") or not name:
            raise Wrong(f"{method} {target}: the header {name!r}: {value!r}")
    data = response.body
    if not isinstance(data, bytes):
        pieces = []
        async for piece in data:
            pieces.append(piece)
            if sum(map(len, pieces)) > 1 << 24:
                break
        data = b"".join(pieces)
    if response.status >= 500:
        raise Wrong(f"{method} {target}: {response.status} {data[:300]!r}")
    if (b"content-type", b"application/xml") in response.headers and data:
        parse_xml(data, data.decode().partition("?>\n<")[2].partition(">")[0].partition(" ")[0])
    is_read = method == "GET" and path.startswith("/in/") and not query and response.status == 200
    if is_read and len(data) <= VERIFIED:
        case.check_content(commit, unquote(path.removeprefix("/in/")), data)


class _NoBody:
    async def read(self) -> bytes:
        return b""


Operation = Callable[[Case], None]
OPERATIONS: Mapping[str, Operation] = {
    "ls": ls, "log": log, "cat": cat, "get": get, "tar": tar, "plan": plan, "gateway": gateway,
    "command": command, "put": put, "gc": gc, "verify": verify,
}  # fmt: skip
WRITES = ("put", "gc", "command")
VERIFY = "verify"
"""The operation that is part of every round."""

FILES = ("missing", "empty", "folder", "pipe", "loop", "dangling", "device", "copy", "socket")
LARGE = "sparse"
"""What is read up to its limit, which takes a while."""


class Fuzzer:
    """A sequence of changed stores, determined by its seed."""

    def __init__(
        self,
        seed: int,
        root: Path,
        *,
        operations: Mapping[str, Operation] = OPERATIONS,
        image: Image | None = None,
    ) -> None:
        """Write stores below *root*."""
        self.seed = seed
        self.pick = random.Random(seed)
        self.root = root
        self.operations = operations
        self.image = image or sound_image()
        self.outcomes: Counter[str] = Counter()
        self.findings: list[str] = []
        self.rounds = 0
        self._outside = root / "outside"
        self.image.write(self._outside)
        self.contents = contents(open_store(self._outside))
        _fingerprint(self._outside)  # sets the times of access
        self._fingerprint = _fingerprint(self._outside)
        self._peak = _peak()

    def round(self) -> None:
        """Change a store, run operations on it, and check what they do."""
        self.rounds += 1
        case = self._case()
        others = [name for name in self.operations if name != VERIFY]
        self._attempt(case, VERIFY, self.operations.get(VERIFY, verify))
        # One that writes follows the other, which needs the store as it was changed.
        for name in sorted(
            self.pick.sample(others, k=min(2, len(others))), key=WRITES.__contains__
        ):
            self._attempt(case, name, self.operations[name])
        if (found := _fingerprint(self._outside)) != self._fingerprint:
            self._fingerprint = found
            self._found(case, "outside", Wrong("what a link leads to was read or changed"))
        self._check_verified(case)
        if (peak := _peak()) - self._peak > GROWTH:
            self._found(case, "memory", Wrong(f"it grew by {(peak - self._peak) >> 20} MiB"))
            self._peak = peak

    def _case(self) -> Case:
        case = Case(self.root / "case", self.contents, self.pick)
        remove(case.root)
        (case.root / "folder").mkdir(parents=True)
        (case.root / "folder" / "new").write_bytes(b"new")
        image = self.image.copy()
        for _ in range(self.pick.choice([0, 1, 1, 1, 2, 3])):
            mutation = self._change_field(image)
            if mutation is not None:
                case.mutations.append(mutation)
        try:
            labels = image.write(case.place)
        except ValueError:
            remove(case.place)
            case.mutations.clear()
            labels = self.image.copy().write(case.place)
        fields = bool(case.mutations)
        for _ in range(self.pick.choice([0, 0, 0, 1] if fields else [1, 1, 1, 2, 3])):
            case.mutations.append(self._change_file(case, labels))
        for path in case.place.rglob("*"):
            if not path.is_symlink():
                os.utime(path, (1, 1))
        return case

    # --- mutations ----------------------------------------------------------------------------

    def _change_field(self, image: Image) -> Mutation | None:
        if self.pick.random() < 0.5:
            return None
        label = self.pick.choice([each for each in image.documents if f"/{SOUND}/" not in each])
        document = image.documents[label]
        at = self.pick.choice([*paths(document)][1:])
        found = document
        for step in at:
            found = found[step]
        new = self._other_value(image, found)
        image.documents[label] = changed(document, at, new)
        shown = "absent" if new is Absent else repr(new)[:200]
        return Mutation(f"{label}: {'/'.join(map(str, at))}: {shown}", "field", label)

    def _other_value(self, image: Image, found: Json) -> Json:
        """Return a wrong value: any, one that is near, or that of another object."""
        pick = self.pick
        if isinstance(found, Link):
            labels = [each for each in image.documents if each.startswith(("segment ", "tree "))]
            kind = found.label.partition(" ")[0]
            same = [each for each in labels if each.startswith(kind)]
            return Link(pick.choice(same if found.label in same else labels))
        near: list[Json] = [Absent]
        if isinstance(found, bool):
            near.append(not found)
        elif isinstance(found, int | float):
            near += [found + 1, found - 1, -found, found * 2, 0, 1 << 48, 1 << 60]
        elif isinstance(found, str):
            texts = [each for document in image.documents.values() for each in _texts(document)]
            near += [pick.choice(texts), found + "x", found[:-1], found * 300, "\U0010ffff" * 300]
            near += ["..", "../a", "/", "a//b", "\0", found.upper(), f"{found}/", ""]
        elif isinstance(found, bytes):
            near += [found[:-1], found[::-1], bytes(len(found))]
        elif isinstance(found, list):
            near += [found[::-1], found[:-1], found + found[-1:], found[1:] + found[:1], found * 3]
        elif isinstance(found, dict):
            near += [{**found, "set-cookie": "x"}, {name: name for name in found}, {}]
        return pick.choice(near) if pick.random() < 0.7 else pick.choice(WRONG)

    def _change_file(self, case: Case, labels: dict[str, str]) -> Mutation:
        names = [name for name in labels.values() if f"/{SOUND}/" not in name]
        if self.pick.random() < 0.15:
            return self._change_folder(case, names)
        name = self.pick.choice(names)
        path = case.place / name
        is_inside = os.path.realpath(path) == os.path.join(os.path.realpath(case.place), name)
        if not is_inside or not path.is_file() or path.stat().st_size > 1 << 20:
            return Mutation("nothing, as it is damaged", "path", name)
        if self.pick.random() < 0.5:
            data = path.read_bytes()
            what, new = self._other_bytes(data)
            path.write_bytes(new)
            # What follows the runs of a blob belongs to no file.
            is_same = new == data or (name.startswith("blobs/") and new.startswith(data))
            return Mutation("nothing" if is_same else f"{name}: {what}", "bytes", name)
        what = self.pick.choice(FILES) if self.pick.random() < 0.98 else LARGE
        _replace(path, what, case.outside / name)
        return Mutation(f"{name}: {what}", "path", name)

    def _other_bytes(self, data: bytes) -> tuple[str, bytes]:
        pick = self.pick
        if pick.random() < 0.2:
            what = pick.choice([each for each in BYTES if each != "bomb"])
            return what, BYTES[what](data)
        at = pick.randrange(len(data) + 1)
        to = min(len(data), at + pick.randint(0, 8))
        middle = pick.choice([b"", data[at:to] * 2, pick.randbytes(3), b"\0", b"\xff"])
        return f"{data[at:to]!r} at {at} becomes {middle!r}", data[:at] + middle + data[to:]

    def _change_folder(self, case: Case, names: list[str]) -> Mutation:
        parts = self.pick.choice(names).split("/")
        name = "/".join(parts[: self.pick.randint(1, len(parts) - 1)])
        path = case.place / name
        is_inside = os.path.realpath(path) == os.path.join(os.path.realpath(case.place), name)
        if not is_inside or not path.is_dir():
            return Mutation("nothing, as it is damaged", "path", name + "/")
        what = self.pick.choice(["empty", "pipe", "loop", "dangling", "copy", "foreign names"])
        if what == "foreign names":
            for foreign in (
                b"..a",
                b"a b",
                b"\xff",
                b"a\nb",
                b"A" * 200,
                b"X",
                b"new.tmp",
                b".new-1",
            ):
                with suppress(OSError), open(os.path.join(os.fsencode(path), foreign), "wb"):
                    pass
        else:
            remove(path)
            _replace(path, what, case.outside / name)
        return Mutation(f"{name}/: {what}", "path", name + "/")

    # --- checks -------------------------------------------------------------------------------

    def _attempt(self, case: Case, name: str, operation: Operation) -> None:
        """Run an operation; a finding is an error that is not one of the program's own."""
        for scratch in ("target", "source", "scratch"):
            remove(case.root / scratch)
        try:
            with _limited(STEP_LIMIT):
                operation(case)
            self.outcomes[f"{name}: success"] += 1
            return
        except (Damaged, NotFound, WorkerError) as error:
            self.outcomes[f"{name}: {type(error).__name__}"] += 1
            case.raised[name] = error
            if name == VERIFY and isinstance(error, DataLost):
                self._found(case, name, error)
            is_of_request = isinstance(error, Invalid) and not isinstance(error, Misconfigured)
            if is_of_request or len(str(error)) > MESSAGE_LIMIT:
                self._found(case, name, error)
        except Endless:
            self._found(case, name, Wrong(f"it has not ended after {STEP_LIMIT} s"))
        except Exception as error:
            self._found(case, name, error)

    def _check_verified(self, case: Case) -> None:
        """Check that verify finds a defect if an operation did, and names what it named."""
        if case.verified is None or "verify" in case.raised:
            return
        for name, error in case.raised.items():
            if isinstance(error, DataLost) and name not in ("put", "command"):
                named = getattr(error, "name", str(error)).rpartition("/")[2]
                if named not in case.verified:
                    self._found(case, f"verify after {name}", error)
        if len(case.mutations) == 1 and self._must_be_named(case.mutations[0]):
            named = case.mutations[0].name.rstrip("/").rpartition("/")[2]
            if named not in case.verified:
                self._found(case, "verify", Wrong(f"it does not name {named}: {case.verified!r}"))

    def _must_be_named(self, mutation: Mutation) -> bool:
        """Whether a change of a file is one that verify detects."""
        if mutation.kind == "field" or mutation.what.startswith("nothing"):
            return False
        if mutation.kind == "bytes":
            return mutation.name.startswith(("blobs/", "segments/", "trees/"))
        if "foreign names" in mutation.what or "/made/" in mutation.name:
            return False
        if mutation.name.endswith("/"):
            return mutation.what.endswith((": pipe", ": loop", ": dangling", ": copy"))
        # Without its newest entry, the log of a branch ends at the entry before.
        return "/heads/" not in mutation.name and "/branches/" not in mutation.name

    def _found(self, case: Case, name: str, error: Exception) -> None:
        self.outcomes["findings"] += 1
        place = ""
        if error.__traceback__ is not None:
            last = error.__traceback__
            while last.tb_next is not None:
                last = last.tb_next
            place = f" ({Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno})"
        changes = "; ".join(mutation.what for mutation in case.mutations)
        self.findings.append(
            f"seed {self.seed}, round {self.rounds}, {name}: {type(error).__name__}{place}: "
            f"{str(error)[:600]}\n    {changes}"
        )


def _replace(path: Path, what: str, outside: Path) -> None:
    """Put another file in the place of *path*; links lead to *outside*."""
    remove(path)
    if what == "empty":
        path.write_bytes(b"")
    elif what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to(path.name)
    elif what == "dangling":
        path.symlink_to("nothing")
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "copy":
        path.symlink_to(outside)
    elif what == "socket":
        os.mknod(path, 0o140600)
    elif what == LARGE:
        with open(path, "wb") as file:
            file.truncate(1 << 43)


def _texts(value: Json) -> Iterator[str]:
    for at in paths(value):
        found = value
        for step in at:
            found = found[step]
        if isinstance(found, str):
            yield found


def _fingerprint(folder: Path) -> list[tuple[str, int, int, bool]]:
    """Return what is below *folder*, with its times of change, and whether it was read since.

    With relatime, which is usual, a file whose last access is old gets the time of the next one.
    """
    found = []
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        is_read = path.is_file() and status.st_atime_ns != UNREAD
        found.append((str(path), status.st_size, status.st_mtime_ns, is_read))
        os.utime(path, ns=(UNREAD, status.st_mtime_ns))
    return found


def _peak() -> int:
    """Return the largest memory that the process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raise Endless in the block after *seconds*."""

    def interrupt(*_: object) -> None:
        raise Endless

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def main() -> int:
    """Run with the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    end = time.monotonic() + arguments.seconds
    outcomes: Counter[str] = Counter()
    image, rounds, seed = sound_image(), 0, arguments.seed
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
            fuzzer = Fuzzer(seed, Path(folder), image=image)
            while time.monotonic() < end and fuzzer.rounds < 100:
                fuzzer.round()
        for finding in fuzzer.findings:
            print("FOUND", finding, flush=True)
        outcomes += fuzzer.outcomes
        rounds, seed = rounds + fuzzer.rounds, seed + 1
    print(f"{rounds} rounds, {outcomes['findings']} findings")
    for outcome, times in sorted(outcomes.items()):
        print(f"{times:7} {outcome}")
    return 1 if outcomes["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
