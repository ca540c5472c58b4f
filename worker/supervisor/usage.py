"""Resource usage of a command's process tree."""

import attrs


@attrs.frozen
class Usage:
    """Resources that a whole process tree used; the sum of several is that of all attempts."""

    cpu_seconds: float = 0.0
    peak_memory: int = 0
    """Bytes: the maximum of all samples of the tree's resident memory."""
    read_bytes: int = 0
    """Bytes read from disks."""
    written_bytes: int = 0
    """Bytes written to disks."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            peak_memory=max(self.peak_memory, other.peak_memory),
            read_bytes=self.read_bytes + other.read_bytes,
            written_bytes=self.written_bytes + other.written_bytes,
        )
