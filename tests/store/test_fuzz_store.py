"""A short run of the store fuzzer, and faults that it detects; ``fuzz_store.py`` runs longer."""

import tempfile
from pathlib import Path

import pytest
from attacks.hostile_stores import IN_MEMORY
from store.fuzz_store import OPERATIONS, Case, Fuzzer, gc
from store.store_image import remove, sound_image

from worker.errors import WorkerError
from worker.store import gc as garbage
from worker.store.backends.base import Damaged

ROUNDS = 100


@pytest.fixture(scope="module")
def image():
    return sound_image()


@pytest.fixture
def root():
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Path(folder)


@pytest.mark.parametrize("seed", range(2))
def test_every_operation_on_a_changed_store_succeeds_or_names_the_damage(image, root, seed):
    fuzzer = Fuzzer(seed, root, image=image)
    for _ in range(ROUNDS):
        fuzzer.round()

    assert [] == fuzzer.findings
    for name in OPERATIONS:
        assert fuzzer.outcomes[f"{name}: success"]
    assert fuzzer.outcomes["cat: Damaged"]


def raise_an_error_of_python(case: Case) -> None:
    case.open().resolve("labresults@master")
    raise KeyError("name")


def report_the_request(case: Case) -> None:
    case.open().backend.get("../x")


def report_at_length(_: Case) -> None:
    raise Damaged("trees/1", "x" * 100_000)


def read_without_a_digest(case: Case) -> None:
    store = case.open()
    for commit in case.commits(store):
        for entry in store.tree(commit).entries():
            data = b"".join(store.backend.get(f"blobs/{e.blob}") for e in entry.extents)
            case.check_content(commit, entry.key, data)


def read_through_links(case: Case) -> None:
    for path in sorted(case.place.rglob("*")):
        if path.is_file():
            path.read_bytes()


def list_less_than_there_is(case: Case) -> None:
    store = case.open()
    for commit in case.commits(store):
        case.check_keys(commit, [entry.key for entry in store.tree(commit).entries()][:-1])


def report_what_verify_does_not_find(_: Case) -> None:
    raise Damaged("trees/unknown", "it is damaged")


def collect_what_damaged_commits_reach(case: Case) -> None:
    def collect(store, **options):
        # As if a commit that cannot be read reached nothing.
        for commit in sorted((case.place / "repos/default/labresults/commits").glob("*")):
            try:
                store.tree(store.resolve(f"labresults@{commit.name}"))
            except WorkerError:
                remove(commit)
                remove(case.place / "repos/default/labresults/branches")
        garbage.gc(store, **options)

    gc(case, collect=collect)


FAULTS = [
    raise_an_error_of_python,
    report_the_request,
    report_at_length,
    read_without_a_digest,
    read_through_links,
    list_less_than_there_is,
    report_what_verify_does_not_find,
    collect_what_damaged_commits_reach,
]


def find_nothing(case: Case) -> None:
    case.verified = ""


FAULTY = [{"fault": fault} for fault in FAULTS] + [{"verify": find_nothing}]


@pytest.mark.parametrize(
    "operations", FAULTY, ids=[fault.__name__ for each in FAULTY for fault in each.values()]
)
def test_a_fault_of_an_operation_is_found(image, root, operations):
    fuzzer = Fuzzer(1, root, image=image, operations=operations)
    while not fuzzer.findings and fuzzer.rounds < 3 * ROUNDS:
        fuzzer.round()

    assert fuzzer.findings
    assert "seed 1, round" in fuzzer.findings[0]
