"""Polars: scan frames from buckets and sink them to buckets by URL, without options."""

import polars as pl
from checks import OUT, same

frame = pl.DataFrame({"site": ["a b", "c+d", "é"] * 300_000, "value": range(900_000)})
for kind, write, scan in (
    ("parquet", pl.DataFrame.write_parquet, pl.scan_parquet),
    ("csv", pl.DataFrame.write_csv, pl.scan_csv),
    ("ipc", pl.DataFrame.write_ipc, pl.scan_ipc),
    ("ndjson", pl.DataFrame.write_ndjson, pl.scan_ndjson),
):
    where = f"s3://{OUT}/tables/naïve a+b {kind}.{kind}"
    write(frame, where)
    back = scan(where).filter(pl.col("site") == "c+d").select(pl.col("value").sum()).collect()
    same(frame.filter(pl.col("site") == "c+d")["value"].sum(), back.item(), f"{kind}: filtered sum")
    same(frame.height, scan(where).select(pl.len()).collect().item(), f"{kind}: rows")
frame.lazy().sink_parquet(f"s3://{OUT}/sunk.parquet")
same(True, pl.read_parquet(f"s3://{OUT}/sunk.parquet").equals(frame), "sink and read")
frame.head(0).write_parquet(f"s3://{OUT}/empty.parquet")
same(0, pl.read_parquet(f"s3://{OUT}/empty.parquet").height, "a frame with no row")
for number in range(40):
    frame.slice(number * 10, 10).write_parquet(f"s3://{OUT}/many/part-{number:02}.parquet")
many = pl.scan_parquet(f"s3://{OUT}/many/*.parquet").collect()
same(True, many.sort("value").equals(frame.head(400)), "glob over many files")
lines = pl.read_csv("s3://labresults/many/12/*.txt", has_header=False)
same(5, lines.height, "glob over the input")
