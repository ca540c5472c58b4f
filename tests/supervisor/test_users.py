import os

import pytest

from worker.spec.pipeline import User
from worker.supervisor.tree import Identity
from worker.supervisor.users import UserInvalid, resolve_user

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


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
    with pytest.raises(UserInvalid, match=r"transform.user 'nobody-here': no such user in passwd"):
        resolve_user(User(name="nobody-here"))


def test_only_root_can_become_somebody_else(monkeypatch):
    """Said before anything is run."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(
        UserInvalid, match="only root can change users; the worker runs as uid 1000"
    ):
        resolve_user(User(uid=61234))
