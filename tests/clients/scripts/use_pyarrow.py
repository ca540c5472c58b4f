"""PyArrow: its S3 file system (the AWS SDK for C++), and a dataset on top of it."""

import os

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from checks import BIG, COPIES, INPUT, NAMES, ODD, OUT, content, refused, same
from pyarrow import fs

# The constructor reads no endpoint from the environment; of a URL, PyArrow does.
s3 = fs.S3FileSystem(endpoint_override=os.environ["S3_ENDPOINT"])
by_url, _ = fs.FileSystem.from_uri(f"s3://{OUT}")
found = s3.get_file_info(fs.FileSelector(INPUT, recursive=True))
same([f"{INPUT}/{n}" for n in NAMES], sorted(i.path for i in found if i.is_file), "all files")
same(5, len(s3.get_file_info(fs.FileSelector(INPUT))), "top level")
for name in ("small.txt", "empty.bin", "big.bin", *(n for n in NAMES if n.startswith("odd"))):
    with s3.open_input_stream(f"{INPUT}/{name}") as file:
        same(content(name), file.read(), f"read {name}")
with s3.open_input_file(f"{INPUT}/big.bin") as file:
    same(BIG[1000:3000], file.read_at(2000, 1000), "range")

for key, source in COPIES.items():
    with s3.open_output_stream(f"{OUT}/{key}", metadata={"Content-Type": "text/x"}) as file:
        file.write(content(source))
    with s3.open_input_stream(f"{OUT}/{key}") as file:
        same(content(source), file.read(), f"write {key}")
s3.copy_file(f"{OUT}/kept/{ODD}", f"{OUT}/two/{ODD}")
s3.move(f"{OUT}/two/{ODD}", f"{OUT}/three/{ODD}")
same(fs.FileType.NotFound, s3.get_file_info(f"{OUT}/two/{ODD}").type, "moved away")
with s3.open_input_stream(f"{OUT}/three/{ODD}") as file:
    same(content(COPIES[f"kept/{ODD}"]), file.read(), "move")
s3.create_dir(f"{OUT}/folder/below")
same(fs.FileType.Directory, s3.get_file_info(f"{OUT}/folder/below").type, "create_dir")
refused("read of a missing key", FileNotFoundError, lambda: s3.open_input_stream(f"{OUT}/no"))


def write_to_input():
    with s3.open_output_stream(f"{INPUT}/x") as file:
        file.write(b"x")


refused("write to an input", OSError, write_to_input)

table = pa.table(
    {"site": ["a b", "c+d", "é"] * 400_000, "value": pa.array(range(1_200_000), pa.int64())}
)
ds.write_dataset(
    table,
    f"{OUT}/table",
    filesystem=s3,
    format="parquet",
    partitioning=["site"],
    partitioning_flavor="hive",
    max_rows_per_file=200_000,
    max_rows_per_group=200_000,
)
back = ds.dataset(f"{OUT}/table", filesystem=s3, format="parquet", partitioning="hive")
same(1_200_000, back.count_rows(), "rows of the dataset")
some = back.to_table(filter=(ds.field("site") == "c+d") & (ds.field("value") < 100))
same(list(range(1, 100, 3)), sorted(some["value"].to_pylist()), "filtered rows")
pq.write_table(table, f"{OUT}/one.parquet", filesystem=s3)
same(table.num_rows, pq.read_table(f"{OUT}/one.parquet", filesystem=s3).num_rows, "one file")
same(table.num_rows, pq.read_table(f"s3://{OUT}/one.parquet").num_rows, "one file by URL")
same(table.num_rows, ds.dataset(f"s3://{OUT}/one.parquet").count_rows(), "a dataset by URL")
with by_url.open_input_stream(f"{INPUT}/small.txt") as file:
    same(content("small.txt"), file.read(), "read by URL")

for number in range(1_005):
    with s3.open_output_stream(f"{OUT}/bulk/{number}") as file:
        file.write(b"x")
for folder in ("bulk", "three", "folder"):
    s3.delete_dir(f"{OUT}/{folder}")
left = s3.get_file_info(fs.FileSelector(OUT, recursive=True))
kept = sorted(i.path for i in left if i.is_file and i.path.startswith(f"{OUT}/kept"))
same([f"{OUT}/{key}" for key in sorted(COPIES)], kept, "the contents of out")
same([], [i.path for i in left if i.path.startswith((f"{OUT}/bulk", f"{OUT}/three"))], "deleted")
