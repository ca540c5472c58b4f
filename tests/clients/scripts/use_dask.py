"""Dask: data frames in buckets by URL, without storage options."""

import dask.dataframe as dd
import pandas
from checks import INPUT, OUT, same

if __name__ == "__main__":
    plain = pandas.DataFrame({"site": ["a b", "c+é"] * 5000, "value": range(10_000)})
    frame = dd.from_pandas(plain, npartitions=4)
    frame.to_parquet(f"s3://{OUT}/frames/naïve a+b")
    back = dd.read_parquet(f"s3://{OUT}/frames/naïve a+b")
    same(4, back.npartitions, "partitions")
    same(plain["value"].sum(), back["value"].sum().compute(), "sum of a column")
    same(5000, len(back[back["site"] == "c+é"]), "filtered rows")
    frame.to_csv(f"s3://{OUT}/csv/part-*.csv", index=False)
    same(10_000, len(dd.read_csv(f"s3://{OUT}/csv/part-*.csv")), "rows of CSV files")
    lines = dd.read_csv(f"s3://{INPUT}/many/12/*.txt", header=None, names=["name"])
    same(5, len(lines), "glob over the input")
