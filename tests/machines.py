"""A machine of a test's own: a mount namespace whose root is a copy-on-write view of this one's.

Tests of literal paths such as ``/pfs`` change and inspect it, and no other process of this machine
takes part. It needs root, overlayfs, and the tools of util-linux.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

REPO = Path(__file__).parents[1]
TOOLS = ("unshare", "nsenter", "setpriv", "mount", "pivot_root", "chroot")
SCRIPT = """
set -e
machine=$1 shared=$2
shift 2
mount --make-rprivate /
mount -t tmpfs machine "$machine"
mkdir "$machine/upper" "$machine/work" "$machine/root"
mount -t overlay machine -o "lowerdir=/,upperdir=$machine/upper,workdir=$machine/work" \
    "$machine/root"
root=$machine/root
for each in "$@"; do
    if test ! -e "$root$each"; then
        mkdir -p "$root$each"
        mount --rbind "$each" "$root$each"
    fi
    while test "$each" != /; do
        chmod o+x "$root$each" 2>&-
        each=$(dirname "$each")
    done
done
for each in /proc /sys /dev "$shared"; do
    mount --rbind "$each" "$root$each"
done
cd "$root"
mkdir -p .old
pivot_root . .old
umount -l .old
rmdir .old
rm -rf /pfs
mkdir -p /mnt
mount --rbind / /mnt
echo ready
exec sleep infinity
"""
WITHOUT_ADMIN = ("--bounding-set=-sys_admin", "--inh-caps=-sys_admin")


@attrs.frozen
class Machine:
    """A running machine. Its processes are those of this one, in another mount namespace."""

    _holder: int

    def command(self, *argv: str, uid: int = 0, forbidden: bool = False) -> list[str]:
        """Return the command line that runs *argv* there as *uid*.

        With *forbidden*, it gets no mount namespace: root has no CAP_SYS_ADMIN, and another user
        is in a chroot, in which the kernel permits no user namespace.
        """
        enter = ["nsenter", f"--mount=/proc/{self._holder}/ns/mnt"]
        if uid:
            user = f"{uid}:{uid}"
            chroot = ["chroot", f"--userspec={user}", "--groups=", "/mnt"]
            become = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all"]
            return [*enter, *(chroot if forbidden else ["setpriv", *become]), *argv]
        return [*enter, *(["setpriv", *WITHOUT_ADMIN] if forbidden else ()), *argv]

    def run(self, script: str) -> str:
        """Run a shell script as root and return its output."""
        command = self.command("sh", "-ec", script)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def left_over(self, *paths: str) -> list[str]:
        """Return which of *paths* exist, and what is below those that are folders."""
        script = 'for each in "$@"; do test ! -e "$each" || find "$each" || true; done'
        command = self.command("sh", "-ec", script, "sh", *paths)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.splitlines()


@contextmanager
def a_machine(folder: Path, shared: Path) -> Iterator[Machine]:
    """Start a machine on the new *folder*; *shared* is the same folder there as here."""
    if os.geteuid() != 0 or not all(map(shutil.which, TOOLS)):
        pytest.skip(f"needs root and {', '.join(TOOLS)}")
    folder.mkdir()
    needed = [str(shared), str(REPO), sys.prefix, sys.base_prefix]
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", folder, shared, *needed],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        if holder.stdout.readline() != "ready\n":
            holder.kill()
            pytest.skip(f"needs overlayfs on /: {holder.communicate()[1].strip()}")
        yield Machine(holder.pid)
    finally:
        holder.kill()
        holder.communicate()
