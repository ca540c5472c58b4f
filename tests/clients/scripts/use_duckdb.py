"""DuckDB: copy tables to buckets and query them by URL, without a secret."""

import os
from pathlib import Path

import duckdb
import duckdb_extension_httpfs
from checks import INPUT, OUT, refused, same

extension = next(Path(duckdb_extension_httpfs.__file__).parent.rglob("*.duckdb_extension"))
db = duckdb.connect()
db.load_extension(str(extension))
if trusted := os.environ.get("AWS_CA_BUNDLE"):
    db.execute(f"SET ca_cert_file = '{trusted}'")


def one(query: str) -> object:
    """Return the single value of a query."""
    return db.execute(query).fetchone()[0]


same(1205, one(f"SELECT count(*) FROM glob('s3://{INPUT}/many/**/*.txt')"), "glob over the input")
same(5, one(f"SELECT count(*) FROM read_csv('s3://{INPUT}/many/12/*.txt', header=false)"), "read")
same(b"small\n", one(f"SELECT content FROM read_blob('s3://{INPUT}/small.txt')"), "read_blob")
db.execute(
    "CREATE TABLE t AS SELECT i AS id, ['a b', 'c+é'][1 + i % 2] AS site FROM range(900000) r(i)"
)
for kind in ("parquet", "csv", "json"):
    where = f"s3://{OUT}/tables/naïve a+b.{kind}"
    db.execute(f"COPY t TO '{where}' (FORMAT {kind})")
    same(900_000, one(f"SELECT count(*) FROM '{where}'"), f"rows of {kind}")
    same(450_000, one(f"SELECT count(*) FROM '{where}' WHERE site = 'c+é'"), f"filtered {kind}")
db.execute(f"COPY t TO 's3://{OUT}/parts' (FORMAT parquet, PARTITION_BY site)")
query = f"SELECT sum(id) FROM read_parquet('s3://{OUT}/parts/**/*.parquet', hive_partitioning=true)"
same(899_999 * 450_000, one(query), "partitions")
refused(
    "write to an input",
    duckdb.Error,
    lambda: db.execute(f"COPY t TO 's3://{INPUT}/x.parquet'"),
)
refused("a missing key", duckdb.Error, lambda: one(f"SELECT * FROM 's3://{OUT}/no.parquet'"))
