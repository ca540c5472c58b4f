import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.spec.pipeline import User
from worker.supervisor.users import Identity, UserUnavailable, resolve_user

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users")


def test_a_worker_without_root_that_has_the_identity_already_keeps_it(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)

    assert resolve_user(User(uid=1000, gid=1000)) is None


@as_root
@pytest.mark.parametrize(
    ("user", "expected"),
    [
        pytest.param(User(uid=61234), Identity(61234, 61234, (61234,), home="/"), id="uid"),
        pytest.param(User(uid=61234, gid=5), Identity(61234, 5, (5,), home="/"), id="uid and gid"),
        pytest.param(User(name="root"), Identity(0, 0, (0,), "root", "/root"), id="name"),
    ],
)
def test_a_user_has_its_own_groups_only_and_a_uid_needs_no_entry_in_passwd(user, expected):
    assert expected == resolve_user(user)


def test_a_name_that_passwd_does_not_have_is_rejected():
    with pytest.raises(
        UserUnavailable, match=r"transform.user 'no-such-user': passwd has no such user; give a uid"
    ):
        resolve_user(User(name="no-such-user"))


def test_a_worker_without_root_rejects_another_user(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(
        UserUnavailable, match="only root can change users; the worker runs as uid 1000"
    ):
        resolve_user(User(uid=61234))


def test_the_shim_imports_nothing_after_the_change_of_user():
    """The new user may not be able to read Python's library; `os.execvpe` imports a module."""
    code = """if True:
        import sys
        sys.path.append(sys.argv[1])
        import os
        import worker.supervisor.shim
        before = set(sys.modules)
        try:
            os.execvpe("no-such-program", ["no-such-program"], {"PATH": "/nowhere"})
        except FileNotFoundError:
            print(*set(sys.modules) - before)
        """
    root = Path(__file__).parents[2]

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, root], capture_output=True, text=True, check=True
    )

    assert "" == done.stdout.strip()
