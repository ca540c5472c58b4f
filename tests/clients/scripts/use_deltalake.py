"""delta-rs: write, append to, change and read a Delta table in ``out``."""

import os

import pyarrow as pa
from checks import OUT, refused, same
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

where = f"s3://{OUT}/tables/results"
refused("open of a table that is not there", TableNotFoundError, lambda: DeltaTable(where))


def rows(first, last):
    return pa.table(
        {
            "id": pa.array(range(first, last), pa.int64()),
            "site": ["a b", "c+é"] * ((last - first) // 2),
        }
    )


write_deltalake(where, rows(0, 1000), partition_by=["site"])
write_deltalake(where, rows(1000, 500_000), mode="append")
table = DeltaTable(where)
same(1, table.version(), "version after an append")
same(500_000, table.to_pyarrow_table().num_rows, "rows")
table.delete("id < 500")
table.merge(
    rows(499_000, 500_100), predicate="t.id = s.id", source_alias="s", target_alias="t"
).when_matched_update_all().when_not_matched_insert_all().execute()
same(
    list(range(500, 500_100)),
    sorted(DeltaTable(where).to_pyarrow_table()["id"].to_pylist()),
    "merge",
)
stale = DeltaTable(where)
write_deltalake(where, rows(0, 10), mode="overwrite")
same(10, DeltaTable(where).to_pyarrow_table().num_rows, "overwrite")
same(500_000, DeltaTable(where, version=1).to_pyarrow_table().num_rows, "an earlier version")
refused("a commit in conflict", DeltaError, lambda: stale.delete("id > 0"))
for number in range(12):
    write_deltalake(where, rows(number * 10, number * 10 + 10), mode="append")
table = DeltaTable(where)
table.create_checkpoint()
table.optimize.compact()
gone = table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
same(True, len(gone) > 0, "files vacuumed")
same(130, DeltaTable(where).to_pyarrow_table().num_rows, "rows after vacuum")
# On a busy machine the threads of the library sometimes abort when the interpreter shuts down.
os._exit(0)
