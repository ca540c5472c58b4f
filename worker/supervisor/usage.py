"""Resource usage of a command's process tree."""

import attrs


@attrs.frozen
class Usage:
    """What the command's whole process tree used, all tries together."""

    cpu_seconds: float = 0.0
    peak_memory: int = 0
    """Bytes: the most that the tree was seen to hold at once."""
    read_bytes: int = 0
    """Bytes that were read from disks."""
    written_bytes: int = 0
    """Bytes that were written to disks."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            peak_memory=max(self.peak_memory, other.peak_memory),
            read_bytes=self.read_bytes + other.read_bytes,
            written_bytes=self.written_bytes + other.written_bytes,
        )
