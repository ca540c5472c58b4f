"""Whom the command runs as: ``transform.user`` against this machine's users and our own rights."""

import os
import pwd

from worker.errors import Invalid
from worker.spec.pipeline import User
from worker.supervisor.tree import Identity


class UserWrong(Invalid):
    """The command cannot be run as this user here."""

    def __init__(self, user: User, reason: str) -> None:
        super().__init__(f"transform.user {str(user)!r}: {reason}")
        self.user = user


def resolve_user(user: User | None) -> Identity | None:
    """Return whom to become, with that user's groups and nobody else's; None to stay as we are.

    A uid needs no entry in passwd; without a gid its group is the one that passwd says, or the
    group of the same number.
    """
    if user is None:
        return None
    identity = _by_name(user) if user.name is not None else _by_number(user)
    if os.geteuid() != 0 and (identity.uid, identity.gid) != (os.geteuid(), os.getegid()):
        raise UserWrong(user, f"only root can change users; the worker runs as uid {os.geteuid()}")
    return None if os.geteuid() != 0 else identity


def _by_name(user: User) -> Identity:
    assert user.name is not None
    try:
        found = pwd.getpwnam(user.name)
    except KeyError:
        raise UserWrong(
            user, "there is no such user in passwd; a uid would need no entry"
        ) from None
    return _from_passwd(found)


def _by_number(user: User) -> Identity:
    assert user.uid is not None
    try:
        found = _from_passwd(pwd.getpwuid(user.uid))
    except KeyError:
        found = Identity(user.uid, user.uid, (user.uid,), home="/")
    if user.gid is None or user.gid == found.gid:
        return found
    return Identity(user.uid, user.gid, (user.gid,), found.name, found.home)


def _from_passwd(found: pwd.struct_passwd) -> Identity:
    groups = tuple(os.getgrouplist(found.pw_name, found.pw_gid))
    return Identity(found.pw_uid, found.pw_gid, groups, found.pw_name, found.pw_dir)
