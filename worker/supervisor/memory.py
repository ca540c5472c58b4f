"""Whether the kernel killed somebody for memory, as the cgroup that we are in tells."""

from contextlib import suppress
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")


def memory_kills() -> int:
    """Return how many processes of our cgroup were ever killed for memory; 0 if nobody counts."""
    return sum(_count(path) for path in _counters())


def _counters() -> list[Path]:
    """Return the files that count, for either version of cgroups."""
    found = []
    with suppress(OSError):
        for line in MEMBERSHIP.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if "memory" in controllers.split(","):
                # In a container the path may be that of the host, and the mount is our group.
                base = MOUNT / "memory"
                places = [base / group.lstrip("/"), base]
                name = "memory.oom_control"
            elif not controllers:
                places = [MOUNT / group.lstrip("/"), MOUNT]
                name = "memory.events"
            else:
                continue
            found += [place / name for place in places if (place / name).exists()][:1]
    return found


def _count(path: Path) -> int:
    with suppress(OSError):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0
