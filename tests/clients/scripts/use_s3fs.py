"""s3fs, and fsspec by URL as in pandas and dask."""

import fsspec
import s3fs
from checks import BIG, COPIES, INPUT, NAMES, ODD, OUT, content, refused, same

s3 = s3fs.S3FileSystem()
same([INPUT, OUT], sorted(s3.ls("")), "ls of buckets")
same([f"{INPUT}/{n}" for n in NAMES], sorted(s3.find(INPUT)), "find")
same(4 + 1, len(s3.ls(INPUT)), "ls of the top level")
same(5, len(s3.glob(f"{INPUT}/many/12/*.txt")), "glob")
for name in ("small.txt", "empty.bin", "big.bin", *(n for n in NAMES if n.startswith("odd"))):
    same(content(name), s3.cat(f"{INPUT}/{name}"), f"cat {name}")
    same(len(content(name)), s3.size(f"{INPUT}/{name}"), f"size of {name}")
same(BIG[1000:3000], s3.cat_file(f"{INPUT}/big.bin", start=1000, end=3000), "range")
with s3.open(f"{INPUT}/big.bin", "rb", block_size=2**20) as file:
    file.seek(9_000_000)
    same(BIG[9_000_000:], file.read(), "seek and read")
with fsspec.open(f"s3://{INPUT}/small.txt", "rb") as file:
    same(b"small\n", file.read(), "fsspec.open")

for key, source in COPIES.items():
    with s3.open(f"{OUT}/{key}", "wb", block_size=5 * 2**20) as file:
        file.write(content(source))
    same(content(source), s3.cat(f"{OUT}/{key}"), f"write {key}")
s3.pipe(f"{OUT}/one/big", BIG)
same(BIG, s3.cat(f"{OUT}/one/big"), "pipe")
with s3.open(f"{OUT}/one/more", "wb") as file:
    file.write(b"a" * 6_000_000)
with s3.open(f"{OUT}/one/more", "ab") as file:
    file.write(b"b")
same(b"a" * 6_000_000 + b"b", s3.cat(f"{OUT}/one/more"), "append")
s3.copy(f"{OUT}/kept/{ODD}", f"{OUT}/two/{ODD}")
s3.mv(f"{OUT}/two/{ODD}", f"{OUT}/three/{ODD}")
same(False, s3.exists(f"{OUT}/two/{ODD}"), "moved away")
same(content(COPIES[f"kept/{ODD}"]), s3.cat(f"{OUT}/three/{ODD}"), "mv")
s3.cp_file(f"{INPUT}/big.bin", f"{OUT}/two/big")
s3.copy(f"{OUT}/two", f"{OUT}/four", recursive=True)
s3.rm(f"{OUT}/two", recursive=True)
same(BIG, s3.cat(f"{OUT}/four/big"), "copy of a folder")
s3.setxattr(f"{OUT}/one/big", colour="blue")
same("blue", s3.getxattr(f"{OUT}/one/big", "colour"), "metadata by copy onto itself")
s3.put_tags(f"{OUT}/one/big", {"a": "b"})
same({"a": "b"}, s3.get_tags(f"{OUT}/one/big"), "tags")
s3.touch(f"{OUT}/one/touched")
refused("write to an input", OSError, lambda: s3.pipe(f"{INPUT}/x", b""))
refused("read of a missing key", FileNotFoundError, lambda: s3.cat(f"{OUT}/no"))
refused(
    "exclusive creation", FileExistsError, lambda: s3.pipe(f"{OUT}/one/big", b"", mode="create")
)

s3.pipe({f"{OUT}/bulk/{number}": b"x" for number in range(1_005)})
s3.invalidate_cache()
for folder in ("bulk", "one", "three", "four"):
    s3.rm(f"{OUT}/{folder}", recursive=True)
s3.invalidate_cache()
same([f"{OUT}/{key}" for key in sorted(COPIES)], sorted(s3.find(OUT)), "the contents of out")
