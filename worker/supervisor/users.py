"""The user that a command runs as: ``transform.user`` resolved by this machine's passwd."""

import os
import pwd

import attrs

from worker.errors import Invalid
from worker.spec.pipeline import User


@attrs.frozen
class Identity:
    """User and groups of a process."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    """The supplementary groups."""
    name: str = ""
    home: str = ""


class UserUnavailable(Invalid):
    """The command cannot run as this user on this machine."""

    def __init__(self, user: User, reason: str) -> None:
        super().__init__(f"transform.user {str(user)!r}: {reason}")
        self.user = user


def resolve_user(user: User) -> Identity | None:
    """Return the identity of *user* with its own groups only; None if the worker has it already.

    A uid needs no entry in passwd. Without a gid, its group is that of its passwd entry, or else
    the group with the same number. Raises UserUnavailable for an unknown name, and for any other
    user if the worker does not run as root.
    """
    identity = _from_name(user) if user.name is not None else _from_uid(user)
    if os.geteuid() != 0 and (identity.uid, identity.gid) != (os.geteuid(), os.getegid()):
        raise UserUnavailable(
            user, f"only root can change users; the worker runs as uid {os.geteuid()}"
        )
    return None if os.geteuid() != 0 else identity


def _from_name(user: User) -> Identity:
    assert user.name is not None
    try:
        return _from_passwd(pwd.getpwnam(user.name))
    except KeyError:
        raise UserUnavailable(
            user, "passwd has no such user; give a uid, which needs no entry"
        ) from None


def _from_uid(user: User) -> Identity:
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
