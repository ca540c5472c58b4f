"""A store with lost or changed objects: readers get errors with their names, no wrong bytes."""

import pytest
from builders import a_commit, a_job

SMALL, LARGE = b"small", b"1" * 300_000
READ = "curl -s -o got -w '%{http_code}\\n' $S3_ENDPOINT/labresults/small; cat got"


def corrupt(store, folder):
    """Change the first byte of the first object below *folder*, and return its name."""
    name = next(listed.name for listed in store.backend.list_from(folder))
    data = store.backend.get(name)
    store.backend.put(name, bytes([data[0] ^ 1]) + data[1:])
    return name


@pytest.fixture
def damaged(site):
    """Return a function that commits two files and corrupts an object below a folder."""

    def damage(folder):
        a_commit(site.open(), {"small": SMALL, "sound": LARGE})
        return corrupt(site.open(), folder)

    return damage


COMMITS = "repos/default/labresults/commits/"


@pytest.mark.parametrize("folder", ["blobs/", "segments/", "trees/", COMMITS])
def test_verify_reports_each_damaged_object(site, damaged, folder):
    """Exit status 1."""
    name = damaged(folder)

    done = site.worker("verify")

    assert 1 == done.status
    assert name.rpartition("/")[2] in done.out


def test_get_does_not_write_a_damaged_file(site, damaged):
    """It writes the others; `cat` and a tar end with an error."""
    name = damaged("blobs/")

    got = site.worker("get", "labresults", "target")
    cat = site.worker("cat", "labresults:small")
    tar = site.worker("get", "labresults", "--tar", "got.tar")

    assert 1 == got.status
    assert got.err.startswith(f"worker: small: {name}: its bytes from 0 on are not those")
    assert ["sound"] == [path.name for path in (site.root / "target").iterdir()]
    assert (69, 69) == (cat.status, tar.status)
    assert name in cat.err
    assert name in tar.err


def test_the_gateway_does_not_serve_a_damaged_small_object(site, damaged):
    """The log names the object."""
    name = damaged("blobs/")

    done = site.worker("run", "--job", site.job(a_job(READ)))

    lines = [event["line"] for event in done.events if "line" in event]
    assert "500" in lines
    assert any("<Code>InternalError</Code>" in line for line in lines)
    failed = next(event for event in done.events if event["event"] == "gateway.failed")
    assert name in failed["reason"]
    assert "exception" not in failed


def test_a_lost_segment_is_not_a_404(site):
    """A client would take that for a missing object."""
    a_commit(site.open(), {"small": SMALL})
    lost = next(site.open().backend.list_from("segments/")).name
    site.open().backend.delete(lost)

    done = site.worker("run", "--job", site.job(a_job(READ)))

    assert "500" in [event.get("line") for event in done.events]
    assert 69 == site.worker("cat", "labresults:small").status
