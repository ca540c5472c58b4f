"""TensorFlow's S3 file system, of tensorflow-io: files and records."""

import os

import tensorflow as tf
import tensorflow_io  # noqa: F401 - registers the file system
from checks import BIG, COPIES, INPUT, OUT, content, same

same(b"small\n", tf.io.gfile.GFile(f"s3://{INPUT}/small.txt", "rb").read(), "read")
same(BIG, tf.io.gfile.GFile(f"s3://{INPUT}/big.bin", "rb").read(), "read of a large file")
same(5, len(tf.io.gfile.glob(f"s3://{INPUT}/many/12/*.txt")), "glob")
same(len(content("big.bin")), tf.io.gfile.stat(f"s3://{INPUT}/big.bin").length, "stat")
for key, source in COPIES.items():
    with tf.io.gfile.GFile(f"s3://{OUT}/{key}", "wb") as file:
        file.write(content(source))
    same(content(source), tf.io.gfile.GFile(f"s3://{OUT}/{key}", "rb").read(), f"write {key}")
with tf.io.TFRecordWriter(f"s3://{OUT}/records/a") as writer:
    for number in range(1000):
        writer.write(b"%d" % number)
records = list(tf.data.TFRecordDataset(f"s3://{OUT}/records/a").as_numpy_iterator())
same([b"%d" % number for number in range(1000)], records, "records")
tf.io.gfile.rename(f"s3://{OUT}/records/a", f"s3://{OUT}/records/b")
same(False, tf.io.gfile.exists(f"s3://{OUT}/records/a"), "renamed away")
same(True, tf.io.gfile.exists(f"s3://{OUT}/records/b"), "rename")
tf.io.gfile.remove(f"s3://{OUT}/records/b")
# Its S3 library always aborts when the interpreter shuts down.
os._exit(0)
