import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.spec.pipeline import User
from worker.supervisor.tree import Identity
from worker.supervisor.users import UserWrong, resolve_user

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def test_nobody_in_particular_is_who_we_are():
    """Without a user the command runs as the agent."""
    assert resolve_user(None) is None


@as_root
@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (User(uid=61234), Identity(61234, 61234, (61234,), home="/")),
        (User(uid=61234, gid=5), Identity(61234, 5, (5,), home="/")),
        (User(name="root"), Identity(0, 0, (0,), "root", "/root")),
    ],
    ids=["uid", "uid and gid", "name"],
)
def test_a_user_has_its_own_groups_and_no_others(user, expected):
    """A uid needs no entry in passwd."""
    assert expected == resolve_user(user)


def test_a_name_must_be_in_passwd():
    """And the message says what else would do."""
    with pytest.raises(UserWrong, match=r"transform.user 'nobody-here': there is no such user"):
        resolve_user(User(name="nobody-here"))


def test_only_root_can_become_somebody_else(monkeypatch):
    """Said before anything is run."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(UserWrong, match="only root can change users; the worker runs as uid 1000"):
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
