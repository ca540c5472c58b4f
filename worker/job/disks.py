"""Full disks: which one a failed command has filled, by its role in the run."""

import contextlib
import os
from pathlib import Path

from worker.gateway.messages import GatewayPlan
from worker.store.repository import Store

ALMOST_FULL = 1 << 20
"""Bytes; a disk with less free space counts as full."""


def find_full_disk(gateway: GatewayPlan, store: Store, scratch: Path, root: Path) -> str | None:
    """Return a message that names a full disk and the remedy; None if no disk is full.

    *gateway* has the files in which the gateway reports a full disk, *root* is the folder of the
    file inputs.
    """
    scratch_is_full = (
        f"the disk of the scratch directory {scratch.parent} is full: free space, or "
        "choose another directory with --scratch"
    )
    store_is_full = f"the disk of the store {store.url} is full: free space"
    if gateway.scratch_full.exists():
        return scratch_is_full
    if gateway.store_full.exists():
        return store_is_full
    blobs = store.backend.path("blobs/x")
    folders = [(scratch, scratch_is_full), (root, f"the disk of {root} is full")]
    if blobs is not None:
        folders += [(folder, store_is_full) for folder in blobs.parents if folder.exists()][:1]
    for folder, message in folders:
        with contextlib.suppress(OSError):
            found = os.statvfs(folder)
            # File systems that allocate inodes on demand report a total of 0.
            no_inodes = found.f_files > 0 and found.f_favail == 0
            if no_inodes or found.f_bavail * found.f_frsize < ALMOST_FULL:
                return message
    return None
