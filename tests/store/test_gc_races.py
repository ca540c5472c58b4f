"""Gc and a concurrent writer: every interleaving of their steps."""

import itertools
import time

import attrs
import pytest
from builders import a_commit, an_id
from store.failing import WRITES, FailingBackend

from worker.model import BranchName, CommitName, InputRecord, Repo
from worker.store.blobs import Stage
from worker.store.gc import gc
from worker.store.opening import open_store
from worker.store.publish import Draft, publish
from worker.store.repository import Store
from worker.store.trees import apply
from worker.store.verify import verify

OUT = BranchName(Repo("default", "out"))
FILES = {"a": b"1", "b": b"2"}
JOB = "a" * 32


class Aged:
    """A backend in memory whose initial objects are older than the grace period."""

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
        """Store the object, which makes it young."""
        self._backend.put(name, data)
        self._old.discard(name)


def write(store, tmp_path) -> None:
    """Publish the input without one of its files as the output of a job; write no payload."""
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
    """Stop the writer at the commit point."""
    if verb == "put_new":
        raise KeyboardInterrupt(name)
    return request()


class Recorder:
    """A backend that records its writes, so that they can be replayed on another one."""

    def __init__(self, backend):
        self._backend = backend
        self.writes = []

    def __getattr__(self, verb):
        found = getattr(self._backend, verb)
        if verb not in WRITES:
            return found

        def record(*arguments):
            self.writes.append((verb, arguments))
            return found(*arguments)

        return record


def copy_of(backend):
    """Return a backend in memory with the same objects."""
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


def test_a_killed_writer_leaves_a_segment_a_root_and_a_marker(template):
    found = gc(Store(Aged(copy_of(template))))

    assert (2, 1) == (found.trees, found.leftovers)


def test_gc_removes_nothing_that_a_concurrent_writer_needs(template, tmp_path):
    """The same job runs again while gc removes what its killed run left.

    Wherever its writes come between the requests of gc, the commit and its provenance are complete.
    The writes do not depend on gc, so they are recorded once and replayed.
    """
    recorder = Recorder(copy_of(template))
    write(Store(recorder), tmp_path)
    assert ["put", "put", "sync", "put", "put_new", "put_new", "put"] == [
        verb for verb, _ in recorder.writes
    ]
    # The steps that other processes can distinguish: tree, marker, commit and slot.
    steps = [recorder.writes[:2], recorder.writes[2:4], recorder.writes[4:]]
    requests = itertools.count()
    gc(Store(FailingBackend(Aged(copy_of(template)), lambda *each: (next(requests), each[2]())[1])))
    places = range(next(requests) + 1)

    for chosen in itertools.combinations_with_replacement(places, len(steps)):
        backend = Aged(copy_of(template))
        todo = list(zip(chosen, steps, strict=True))
        position = itertools.count()

        def replay(until, backend=backend, todo=todo):
            while todo and todo[0][0] <= until:
                for verb, arguments in todo.pop(0)[1]:
                    getattr(backend, verb)(*arguments)

        def fault(_verb, _name, request, replay=replay, position=position):
            replay(next(position))
            return request()

        gc(Store(FailingBackend(backend, fault)))
        replay(len(places))
        store = Store(backend)
        assert () == verify(store).defects, chosen
        assert [CommitName(OUT.repo, JOB)] == list(store.made_from(store.resolve("lab").name))
    assert len(places) > 15
