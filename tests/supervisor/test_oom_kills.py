import pytest

from worker.supervisor import cgroup as module


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MEMBERSHIP", str(tmp_path / "cgroup"))
    monkeypatch.setattr(module, "HIERARCHY", str(tmp_path / "fs"))
    return tmp_path


@pytest.mark.parametrize(
    ("membership", "file", "content"),
    [
        ("0::/pod/a\n", "pod/a/memory.events", "low 0\noom 4\noom_kill 3\n"),
        ("0::/host/path\n", "memory.events", "oom_kill 3\n"),
        ("4:memory:/job\n0::/\n", "memory/job/memory.oom_control", "under_oom 0\noom_kill 3\n"),
        ("3:cpu,memory:/host\n", "memory/memory.oom_control", "oom_kill 3\n"),
    ],
    ids=["version 2", "version 2 in a container", "version 1", "version 1 in a container"],
)
def test_kills_are_counted_in_either_version(cgroup, membership, file, content):
    """Wherever the cgroup shows its counter."""
    (cgroup / "cgroup").write_text(membership)
    path = cgroup / "fs" / file
    path.parent.mkdir(parents=True)
    path.write_text(content)

    assert 3 == module.own_oom_kills()


@pytest.mark.usefixtures("cgroup")
def test_without_a_counter_nobody_was_killed():
    """Another system has no cgroup."""
    assert 0 == module.own_oom_kills()
