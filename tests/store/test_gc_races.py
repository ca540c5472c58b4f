"""Gc beside a writer: every interleaving of their steps."""

import itertools
import time

import attrs
import pytest
from builders import a_commit, an_id
from store.failing import WRITES, FailingBackend

from worker.model import BranchName, CommitName, InputRecord, Repo
from worker.store.blobs import Stage
from worker.store.gc import gc
from worker.store.publish import Draft, publish
from worker.store.repository import Store, open_store
from worker.store.trees import apply
from worker.store.verify import verify

OUT = BranchName(Repo("default", "out"))
FILES = {"a": b"1", "b": b"2"}
JOB = "a" * 32


class Aged:
    """A backend in memory on which everything that is there at first is older than the grace."""

    def __init__(self, backend):
        self._backend = backend
        self._old = {listed.name for listed in backend.list_from("")}

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def list_from(self, prefix, after=""):
        for listed in self._backend.list_from(prefix, after):
            modified = 0.0 if listed.name in self._old else time.time()
            yield attrs.evolve(listed, modified=modified)

    def put(self, name, data):
        """Store anew, which makes the object young."""
        self._backend.put(name, data)
        self._old.discard(name)


def write(store, tmp_path) -> None:
    """Remove a file of the input and publish the rest as a job's output, from no new bytes."""
    lab = store.resolve("lab")
    stage = Stage(store.backend, f"job-{an_id()}", writer="w", scratch=tmp_path)
    tree = apply(store.tree(lab), [("a", None)])
    publish(
        store,
        stage,
        tree,
        Draft(
            name=CommitName(OUT.repo, JOB),
            branch=OUT,
            inputs=(InputRecord("lab", lab.name, "master", s3=True),),
            started=1.0,
            finished=2.0,
        ),
    )


def killed_before_the_commit(verb, name, request):
    """End the writer where the commit would be published."""
    if verb == "put_new":
        raise KeyboardInterrupt(name)
    return request()


class Recorder:
    """A backend that remembers the writes it carries out, to be played on another."""

    def __init__(self, backend):
        self._backend = backend
        self.writes = []

    def __getattr__(self, verb):
        found = getattr(self._backend, verb)
        if verb not in WRITES:
            return found

        def written(*arguments):
            self.writes.append((verb, arguments))
            return found(*arguments)

        return written


def copy_of(backend):
    """Return a backend in memory that holds the same objects."""
    copy = open_store(f"memory://{an_id()}").backend
    for listed in backend.list_from(""):
        copy.put(listed.name, backend.get(listed.name))
    return copy


@pytest.fixture
def template(tmp_path):
    """A store with the garbage of a writer that was killed before its commit."""
    backend = open_store(f"memory://{an_id()}").backend
    a_commit(Store(backend), FILES, repo="lab")
    with pytest.raises(KeyboardInterrupt):
        write(Store(FailingBackend(backend, killed_before_the_commit)), tmp_path)
    return backend


def test_the_scene_has_garbage(template):
    """The killed writer left a segment, a root and a marker; gc removes them."""
    found = gc(Store(Aged(copy_of(template))))

    assert (2, 1) == (found.trees, found.leftovers)


def test_gc_beside_a_writer_of_the_same(template, tmp_path):
    """The same job runs again while gc removes what its first run left.

    Between whichever requests of gc the writes of the job come, the commit is whole and so is its
    provenance. The writes do not depend on gc, so they are recorded once and played back.
    """
    recorder = Recorder(copy_of(template))
    write(Store(recorder), tmp_path)
    assert ["put", "put", "sync", "put", "put_new", "put_new", "put"] == [
        verb for verb, _ in recorder.writes
    ]
    # What others can tell apart: the tree, the marker, the commit with its slot.
    steps = [recorder.writes[:2], recorder.writes[2:4], recorder.writes[4:]]
    requests = itertools.count()
    gc(Store(FailingBackend(Aged(copy_of(template)), lambda *each: (next(requests), each[2]())[1])))
    places = range(next(requests) + 1)

    for chosen in itertools.combinations_with_replacement(places, len(steps)):
        backend = Aged(copy_of(template))
        todo = list(zip(chosen, steps, strict=True))
        position = itertools.count()

        def play(until, backend=backend, todo=todo):
            while todo and todo[0][0] <= until:
                for verb, arguments in todo.pop(0)[1]:
                    getattr(backend, verb)(*arguments)

        def fault(_verb, _name, request, play=play, position=position):
            play(next(position))
            return request()

        gc(Store(FailingBackend(backend, fault)))
        play(len(places))
        store = Store(backend)
        assert () == verify(store).defects, chosen
        assert [CommitName(OUT.repo, JOB)] == list(store.made_from(store.resolve("lab").name))
    assert len(places) > 15
