"""Symbolic links in ``/pfs/out``: what the command's user may read is committed."""

import json
import os

import pytest
from builders import a_commit, a_job
from scenarios.sites import Site, files_of

USER = 4001
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def site(public_path):
    """A site whose output folder the command of any user can write to."""
    site = Site(public_path, str(public_path / "store"))
    site.scratch.mkdir()
    (public_path / "public").write_text("public")
    (public_path / "closed").write_text("secret")
    (public_path / "closed").chmod(0o600)
    a_commit(site.open(), {"a": b"alpha"})
    return site


def run(site, *lines, user=None):
    node = {"pfs": {"repo": "labresults", "glob": "/"}}
    job = a_job('cd "$PFS_ROOT/out"', *lines, inputs=(node,), s3Out=False, datumTries=1)
    if user is not None:
        job["transform"]["user"] = str(user)
    done = site.worker("run", "--job", site.job(job), "--result", "r.json")
    return done, json.loads((site.root / "r.json").read_text())


USERS = [
    pytest.param(None, id="the worker's user"),
    pytest.param(USER, id="another user", marks=needs_root),
]


@pytest.mark.parametrize("user", USERS)
def test_links_are_committed_as_the_files_that_they_lead_to(site, user):
    done, result = run(
        site,
        f"ln -s {site.root}/public public",
        "ln -s public again",
        'ln -s "$PFS_ROOT/labresults/a" input',
        'ln -s "$PFS_ROOT/labresults" all',
        'd=$(mktemp -d); echo own > "$d/file"; chmod 700 "$d"; ln -s "$d/file" own',
        user=user,
    )

    assert 0 == done.status, result["reason"]
    assert 0 == site.worker("get", "copy", site.root / "got").status
    assert {
        "again": b"public",
        "all/a": b"alpha",
        "input": b"alpha",
        "own": b"own\n",
        "public": b"public",
    } == files_of(site.root / "got")


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    ("lines", "path", "reason"),
    [
        pytest.param(["ln -s /nosuch x"], "x", "leads to nothing", id="dangling"),
        pytest.param(["ln -s x x"], "x", "in a circle", id="circle"),
        pytest.param(["mkdir d", "ln -s ../d d/up"], "d/up", "a folder", id="folder"),
        pytest.param(["ln -s /dev/zero x"], "x", "a device", id="device"),
        pytest.param(["mkfifo $HOME/p$$; ln -s $HOME/p$$ x"], "x", "a pipe", id="pipe"),
        pytest.param(["ln -s /proc/self/environ x"], "x", "(proc)", id="environment"),
        pytest.param(["ln -s /proc/self/fd/0 x"], "x", "of the kernel", id="descriptor"),
        pytest.param(["ln -s /sys/kernel/notes x"], "x", "(sysfs)", id="kernel"),
        pytest.param(
            ['ln -s "$WORKER_SECRETS_ROOT/k" x'], "x", "link to a secret", id="secret of the job"
        ),
    ],
)
def test_a_link_to_anything_else_is_the_commands_failure(site, user, lines, path, reason):
    """Exit status 10, and the path of the link."""
    (site.root / "home").mkdir()
    (site.root / "home").chmod(0o777)
    (site.root / "secrets" / "db").mkdir(parents=True)
    (site.root / "secrets" / "db" / "k").write_text("secret")
    site.more.update({"HOME": str(site.root / "home"), "WORKER_SECRETS": f"{site.root}/secrets"})
    node = {"pfs": {"repo": "labresults", "glob": "/"}}
    job = a_job('cd "$PFS_ROOT/out"', *lines, inputs=(node,), s3Out=False, datumTries=1)
    job["transform"]["env"] = {"HOME": str(site.root / "home")}
    job["transform"]["secrets"] = [{"name": "db", "key": "k", "mountPath": "/"}]
    if user is not None:
        job["transform"]["user"] = str(user)
    done = site.worker("run", "--job", site.job(job), "--result", "r.json")
    result = json.loads((site.root / "r.json").read_text())

    assert (10, False) == (done.status, result["worth_a_retry"]), result["reason"]
    assert f"/pfs/out/{path}: " in result["reason"]
    assert reason in result["reason"]
    assert "copy" not in [each.name for each in site.open().repos()]
    assert [] == site.left_over()


@needs_root
@pytest.mark.parametrize("target", ["closed", "/etc/shadow"])
def test_a_command_of_another_user_cannot_have_a_file_read_by_root(site, target):
    """The worker runs as root, but opens what a link leads to as the user of the command."""
    path = os.path.realpath(site.root / target)
    if not os.path.exists(path) or os.stat(path).st_mode & 0o004:
        pytest.skip(f"{path} is not a file that is closed to others")
    done, result = run(site, f"ln -s {path} x", user=USER)

    assert 10 == done.status, result["reason"]
    assert f"/pfs/out/x: it is a symbolic link to {path}" in result["reason"]
    assert "the command's user may not read it" in result["reason"]
