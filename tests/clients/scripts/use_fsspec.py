"""fsspec by URL, as pandas, dask and others open files: configured only by FSSPEC_S3_…."""

import fsspec
import pandas
from checks import INPUT, OUT, same

with fsspec.open(f"s3://{INPUT}/small.txt", "rb") as file:
    same(b"small\n", file.read(), "fsspec.open")
frame = pandas.DataFrame({"site": ["a b", "c+é"] * 1000, "value": range(2000)})
for where in (f"s3://{OUT}/frames/naïve a+b.csv", f"s3://{OUT}/frames/compressed.csv.gz"):
    frame.to_csv(where, index=False)
    same(True, pandas.read_csv(where).equals(frame), where)
fs, path = fsspec.url_to_fs(f"s3://{INPUT}/many")
same(1205, len(fs.find(path)), "find")
