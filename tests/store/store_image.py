"""A small store as documents, which can be changed and are written under addresses that are right.

The documents are those of a store that the program has made, decoded. Random salts and tokens have
fixed values in them, so that every run writes the same bytes.
"""

import copy
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import msgspec
import zstandard
from builders import an_entry

from worker.model import BranchName, Checksum, Commit, CommitName, Entry, InputRecord, Part, Repo
from worker.store.blobs import BlobReader, Stage
from worker.store.opening import open_store
from worker.store.repository import Store
from worker.store.segments import ends_segment
from worker.store.trees import apply

Json = Any

BRANCHES = ("source@master", "labresults@master", "labresults@dev", "other@master")
SOUND = "other"
"""A repo that no mutation damages, except for folders that all repos share."""


@attrs.frozen
class Link:
    """A reference to another document, in the place of its address."""

    label: str


@attrs.define
class Image:
    """The objects of a store by labels, such as ``segment 3``; references come before referrers."""

    raw: dict[str, bytes]
    """Objects without fields, by name."""
    documents: dict[str, Json]
    """Segments and roots by label; commits and slots of branches by name."""

    def copy(self) -> "Image":
        """Return an independent copy."""
        return Image(dict(self.raw), copy.deepcopy(self.documents))

    def write(self, place: Path) -> dict[str, str]:
        """Write a store to the folder *place*; return the name of the object of each label.

        Raises ValueError if a document has a value that its format cannot encode.
        """
        names: dict[str, str] = {}
        for label, document in self.documents.items():
            data = encode(label, document, names)
            is_addressed = label.startswith(("segment ", "tree "))
            folder = label.partition(" ")[0] + "s/"
            names[label] = folder + hashlib.sha256(data).hexdigest() if is_addressed else label
            _write(place / names[label], data)
        for name, data in self.raw.items():
            names[name] = name
            _write(place / name, data)
        return names


def encode(label: str, document: Json, names: dict[str, str]) -> bytes:
    """Return the bytes of a document, with the addresses of its links; raises ValueError."""
    try:
        if label.startswith("segment "):
            return _compressed(document)
        if label.startswith("tree "):
            return _compressed(_resolved(document, bytes.fromhex, names))
        resolved = _resolved(document, str, names)
        return json.dumps(resolved, indent=2, default=_text).encode() + b"\n"
    except (OverflowError, TypeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"{label} cannot be encoded: {error}") from error


def _resolved(value: Json, form: Any, names: dict[str, str]) -> Json:
    if isinstance(value, Link):
        return form(names[value.label].rpartition("/")[2])
    if isinstance(value, dict):
        return {key: _resolved(each, form, names) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(each, form, names) for each in value]
    return value


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    raise TypeError(type(value))


def _compressed(document: Json) -> bytes:
    return zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(document))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def boundaries() -> Iterator[str]:
    """Yield keys after which a segment ends."""
    return (key for number in range(1 << 20) if ends_segment(key := f"k{number}"))


def sound_image() -> Image:
    """Return the documents of a sound store: four branches, provenance, trees of four segments."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "store"
        _build(open_store(place))
        return read_image(place)


def read_image(place: Path) -> Image:
    """Return the documents of the store in *place*."""
    raw: dict[str, bytes] = {}
    found: dict[str, Json] = {}
    labels: dict[str, str] = {}
    files = {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }
    # By the first key, or the keys of the segments: their addresses differ in every run.
    segments = sorted(
        (_decompressed(data), name) for name, data in files.items() if name.startswith("segments/")
    )
    for number, (document, name) in enumerate(sorted(segments, key=lambda each: repr(each[0][2:]))):
        document[1] = b"salt"
        labels[name.rpartition("/")[2]] = label = f"segment {number}"
        found[label] = document
    trees = []
    for name, data in files.items():
        if name.startswith("trees/"):
            root = _decompressed(data)
            root[1] = b"salt"
            for row in root[2]:
                row[1] = Link(labels[row[1].hex()])
            trees.append((root, name))
    for number, (document, name) in enumerate(sorted(trees, key=lambda each: repr(each[0]))):
        labels[name.rpartition("/")[2]] = label = f"tree {number}"
        found[label] = document
    for name, data in files.items():
        if "/commits/" in name or "/branches/" in name:
            document = json.loads(data)
            document["token"] = "0" * 16
            if "/commits/" in name:
                document["tree"]["root"] = Link(labels[document["tree"]["root"]])
            found[name] = document
        elif not name.startswith(("segments/", "trees/")):
            # The last part of the name of a marker is a token.
            fixed = f"{name.rpartition('/')[0]}/{'0' * 16}" if "/made/" in name else name
            raw[fixed] = data
    return Image(raw, found)


def _decompressed(data: bytes) -> Json:
    return msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(data))


def contents(store: Store) -> dict[str, dict[str, bytes]]:
    """Return the content of every file of every commit, by commit and key."""
    reader = BlobReader(store.backend)
    found = {
        str(name): {
            entry.key: b"".join(reader.verified(entry.extents))
            for entry in store.tree(store.commit(name)).entries()
        }
        for repo in store.repos()
        for name in store.commits(repo)
    }
    reader.close()
    return found


def _build(store: Store) -> None:
    first, second, third = (key for key, _ in zip(boundaries(), range(3), strict=False))
    files = {
        "a": b"alpha", "b/c": b"2" * 20, "b/d": b"3" * 30, "empty/": b"", first: b"first",
        second: b"second", "large": b"4" * 70_000, third: b"third", "z": b"last",
    }  # fmt: skip
    builder = _Builder(store)
    source = builder.commit("source", {"x": b"1", "y": b"22"})
    record = InputRecord("source", source.name, "master", s3=True)
    builder.commit("labresults", files)
    builder.commit("labresults", {"new": b"new"}, rich=True, inputs=(record,))
    builder.commit("labresults", {"b/c": b"changed"}, branch="dev")
    builder.commit(SOUND, {"sound": b"sound", first: b"sound, too", "z": b""})
    builder.commit(SOUND, {"z": b"more"})


@attrs.define
class _Builder:
    """Makes commits whose names do not depend on chance."""

    store: Store
    made: int = 0

    def commit(
        self,
        repo: str,
        files: dict[str, bytes],
        *,
        branch: str = "master",
        rich: bool = False,
        inputs: tuple[InputRecord, ...] = (),
    ) -> Commit:
        """Add *files* to a branch; with *rich*, the file ``a`` gets a value in every field."""
        self.made += 1
        store, target = self.store, BranchName(Repo("default", repo), branch)
        with tempfile.TemporaryDirectory() as scratch:
            stage = Stage(store.backend, f"stage{self.made}", writer="w", scratch=Path(scratch))
            changes = [
                (key, an_entry(key, data, (stage.append(data),) if data else ()))
                for key, data in files.items()
            ]
            if rich:
                changes.append(("a", rich_entry("a", stage)))
            stage.flush()
        head = store.head(target)
        parent = store.commit(head.commit) if head else None
        base = store.tree(parent) if parent else store.empty_tree()
        tree = apply(base, sorted(changes, key=lambda change: change[0]))
        commit = Commit(
            name=CommitName(target.repo, f"{self.made:032x}"),
            branch=branch,
            parent=parent.name.id if parent else None,
            started=float(self.made),
            finished=self.made + 0.5,
            root=tree.root,
            digest=tree.digest,
            files=tree.count,
            size=tree.size,
            inputs=inputs,
            job=JOB if rich else {},
        )
        store.add_commit(commit)
        store.advance(target, commit)
        return commit


JOB: Json = {
    "id": "j", "project": "default", "pipeline": "p", "state": "success", "command": ["sh"],
    "started": 1.0, "finished": 2.0, "warnings": ["w"],
    "spec": {"transform": {"cmd": ["sh"], "stdin": ["true"]}}, "image": "i", "image_digest": "d",
    "description": "d", "parent": "p", "times": {"run": 1.0},
    "usage": {"cpu_seconds": 1.0, "peak_memory": 1}, "datum_counts": {"total": 1, "failed": 1},
    "datums": [{"tries": 2}], "buckets": {"out": {"reads": 1}}, "reports": {"rows": 1},
}  # fmt: skip
"""The record of a job in which every field has a value."""


def rich_entry(key: str, stage: Stage) -> Entry:
    """Return an entry of ten bytes in two extents, in which every field has a value."""
    extents = (stage.append(b"1" * 8), stage.append(b"22"))
    return attrs.evolve(
        an_entry(key, b"1" * 8 + b"22", extents),
        etag="0" * 32 + "-2",
        headers={"content-type": "text/plain", "cache-control": "no-store"},
        metadata={"site": "Basel"},
        tags={"a": "1"},
        checksum=Checksum("CRC32", "AAAAAA==-2", "COMPOSITE"),
        parts=(
            Part(1, 8, Checksum("CRC32", "AAAAAA==", "FULL_OBJECT")),
            Part(2, 2, Checksum("CRC32", "AAAAAA==", "FULL_OBJECT")),
        ),
    )


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with its content."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
