"""Create the folder of lab results that the examples use: python labresults.py DIRECTORY

The files are deterministic: about 1,250 small ones in nested folders (more than one page of an S3
listing), names with spaces and non-ASCII characters, and a scan that S3 clients upload in parts.
"""

import hashlib
import sys
from pathlib import Path

SITES = ("Basel", "Genève", "São Paulo", "東京", "New York")
ASSAYS = ("glucose", "lipid panel", "crp", "ferritin", "tsh")
SAMPLES = 50
SCAN_SIZE = 9 * 1024 * 1024 + 12_345
"""Above 8 MiB, where the AWS CLI and boto3 start to use multipart uploads."""


def noise(name: str, size: int) -> bytes:
    """Return *size* pseudorandom bytes that depend on *name* only."""
    return hashlib.shake_256(name.encode()).digest(size)


def report(site: str, assay: str, sample: int) -> str:
    """Return the text of one result, derived from its name."""
    drawn = noise(f"{site}/{assay}/{sample}", 24)
    rows = [f"{day + 1},{40 + drawn[day] / 4:.2f}" for day in range(len(drawn))]
    return "\n".join([f"# {site}, {assay}, sample {sample:03}", "day,value", *rows, ""])


def make(directory: Path) -> int:
    """Write the folder and return its number of files."""
    count = 0
    for site in SITES:
        for assay in ASSAYS:
            folder = directory / "2024" / site / assay
            folder.mkdir(parents=True, exist_ok=True)
            for sample in range(SAMPLES):
                path = folder / f"sample {sample:03}.csv"
                path.write_text(report(site, assay, sample), encoding="utf-8", newline="\n")
                count += 1
    extras = {
        "README.txt": b"Results of five laboratories; made up.\n",
        "scans/Übersicht (full size).raw": noise("scan", SCAN_SIZE),
        "scans/empty.raw": b"",
        "odd names/a+b & c=d 100%.txt": b"plus, ampersand, equals and per cent\n",
        "odd names/naïve ~ 'quoted'.txt": b"tilde and quotes\n",
    }
    for name, data in extras.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return count + len(extras)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python labresults.py DIRECTORY")
    target = Path(sys.argv[1])
    print(f"{make(target)} files in {target}")
