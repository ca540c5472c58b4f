"""obstore: the object_store crate with the job's environment as its only configuration."""

from datetime import timedelta

import obstore
from checks import BIG, COPIES, INPUT, NAMES, ODD, OUT, content, refused, same
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store

source, out = S3Store(INPUT), S3Store(OUT)
listed = [meta["path"] for chunk in source.list() for meta in chunk]
same(NAMES, sorted(listed), "all keys")
top = source.list_with_delimiter()
same(["many", "odd names"], [str(p) for p in top["common_prefixes"]], "common prefixes")
after = [m["path"] for chunk in source.list(offset="many/12") for m in chunk]
same([n for n in NAMES if n > "many/12"], sorted(after), "list after a key")
for name in ("small.txt", "empty.bin", "big.bin", *(n for n in NAMES if n.startswith("odd"))):
    got = source.get(name)
    same(content(name), bytes(got.bytes()), f"get {name}")
    same(len(content(name)), source.head(name)["size"], f"head {name}")
same(BIG[1000:3000], bytes(source.get_range("big.bin", start=1000, length=2000)), "range")
ranges = source.get_ranges("big.bin", starts=[0, 9_000_000], ends=[10, 9_000_100])
same([BIG[:10], BIG[9_000_000:9_000_100]], [bytes(r) for r in ranges], "ranges")
same(BIG[-7:], bytes(source.get("big.bin", options={"range": {"suffix": 7}}).bytes()), "suffix")

for key, name in COPIES.items():
    out.put(key, content(name), attributes={"Content-Type": "text/x", "from": "obstore"})
    got = out.get(key)
    same(content(name), bytes(got.bytes()), f"put {key}")
    same("obstore", got.attributes["from"], f"metadata of {key}")
with obstore.open_writer(out, "one/written", buffer_size=5 * 2**20) as file:
    for start in range(0, len(BIG), 1_000_000):
        file.write(BIG[start : start + 1_000_000])
same(BIG, bytes(out.get("one/written").bytes()), "written in parts")
file = obstore.open_reader(out, "one/written")
file.seek(9_000_000)
same(BIG[9_000_000:], bytes(file.read()), "seek and read")
out.copy(f"kept/{ODD}", f"two/{ODD}")
out.rename(f"two/{ODD}", f"three/{ODD}")
same(content(COPIES[f"kept/{ODD}"]), bytes(out.get(f"three/{ODD}").bytes()), "rename")
refused("read of a missing key", FileNotFoundError, lambda: out.get(f"two/{ODD}"))
refused("second creation", AlreadyExistsError, lambda: out.put("one/written", b"", mode="create"))
first = {name: tag for name, tag in out.put("one/counted", b"1").items() if tag}
out.put("one/counted", b"2", mode=first)
refused("stale update", PreconditionError, lambda: out.put("one/counted", b"3", mode=first))
refused("write to an input", (BaseError, PermissionError), lambda: source.put("x", b""))
link = obstore.sign(out, "GET", "one/written", timedelta(hours=1))
same(True, "X-Amz-Signature" in link, "presigned link")

for number in range(1_005):
    out.put(f"bulk/{number}", b"x")
gone = [m["path"] for chunk in out.list() for m in chunk if not m["path"].startswith("kept/")]
same(1_008, len(gone), "objects to delete")
out.delete(gone)
same(
    sorted(COPIES), sorted(m["path"] for chunk in out.list() for m in chunk), "the contents of out"
)
