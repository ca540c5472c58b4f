"""smart_open: files by URL."""

from checks import BIG, COPIES, INPUT, NAMES, OUT, content, refused, same
from smart_open import open as open_url
from smart_open.s3 import iter_bucket

for name in ("small.txt", "empty.bin", "big.bin", *(n for n in NAMES if n.startswith("odd"))):
    with open_url(f"s3://{INPUT}/{name}", "rb") as file:
        same(content(name), file.read(), f"read {name}")
with open_url(f"s3://{INPUT}/big.bin", "rb") as file:
    file.seek(9_000_000)
    same(BIG[9_000_000:], file.read(), "seek and read")
    file.seek(-7, 2)
    same(BIG[-7:], file.read(), "seek from the end")
with open_url(f"s3://{INPUT}/small.txt", encoding="utf-8") as file:
    same(["small\n"], list(file), "lines")

for key, source in COPIES.items():
    parts = {"min_part_size": 5 * 2**20}
    with open_url(f"s3://{OUT}/{key}", "wb", transport_params=parts) as file:
        file.write(content(source))
    with open_url(f"s3://{OUT}/{key}", "rb") as file:
        same(content(source), file.read(), f"write {key}")
with open_url(
    f"s3://{OUT}/one/put.txt", "wb", transport_params={"multipart_upload": False}
) as file:
    file.write(b"put")
with open_url(f"s3://{OUT}/one/lines.txt.gz", "wt", encoding="utf-8") as file:
    file.writelines(f"{n}\n" for n in range(1000))
with open_url(f"s3://{OUT}/one/lines.txt.gz", "rt", encoding="utf-8") as file:
    same([f"{n}\n" for n in range(1000)], list(file), "compressed lines")
try:
    with open_url(f"s3://{OUT}/one/broken", "wb") as file:
        file.write(b"half")
        raise InterruptedError
except InterruptedError:
    pass
refused("an upload broken off", OSError, lambda: open_url(f"s3://{OUT}/one/broken", "rb"))
got = dict(iter_bucket(INPUT, prefix="many/12/", workers=1))
same({n: content(n) for n in NAMES if n.startswith("many/12/")}, got, "iter_bucket")
