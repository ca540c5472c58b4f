"""The user that a command runs as: ``transform.user`` resolved against passwd."""

import os
import pwd

from worker.errors import Invalid
from worker.spec.pipeline import User
from worker.supervisor.tree import Identity


class UserInvalid(Invalid):
    """The command cannot run as this user on this machine."""

    def __init__(self, user: User, reason: str) -> None:
        super().__init__(f"transform.user {str(user)!r}: {reason}")
        self.user = user


def resolve_user(user: User) -> Identity | None:
    """Return the identity of *user* with that user's groups only; None to keep the agent's own.

    A uid without an entry in passwd is valid; without a gid its group is that of passwd, or the
    group of the same number. Raises UserInvalid.
    """
    identity = _by_name(user) if user.name is not None else _by_number(user)
    if os.geteuid() != 0 and (identity.uid, identity.gid) != (os.geteuid(), os.getegid()):
        raise UserInvalid(
            user, f"only root can change users; the worker runs as uid {os.geteuid()}"
        )
    return None if os.geteuid() != 0 else identity


def _by_name(user: User) -> Identity:
    assert user.name is not None
    try:
        return _from_passwd(pwd.getpwnam(user.name))
    except KeyError:
        raise UserInvalid(
            user, "no such user in passwd; a uid is accepted without an entry"
        ) from None


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
