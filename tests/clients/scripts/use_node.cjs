// The AWS SDK for JavaScript 3, and lib-storage for uploads in parts.
const fs = require("node:fs");
const path = require("node:path");
const { Readable } = require("node:stream");
const s3sdk = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");

const expected = process.env.EXPECTED;
const [IN, OUT] = ["labresults", "out"];
const ODD = "naïve a+b & 100% 東京.txt";
const left = {
  "kept/small.txt": "small.txt",
  "kept/empty.bin": "empty.bin",
  "kept/big.bin": "big.bin",
  [`kept/${ODD}`]: `odd names/${ODD}`,
};
const names = fs
  .readdirSync(expected, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => path.relative(expected, path.join(entry.parentPath ?? entry.path, entry.name)))
  .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
const content = (name) => fs.readFileSync(path.join(expected, name));

function same(want, got, what) {
  const equal = Buffer.isBuffer(want)
    ? want.equals(Buffer.from(got))
    : JSON.stringify(want) === JSON.stringify(got);
  if (!equal) throw new Error(`${what}: expected ${String(want).slice(0, 200)}, got ${String(got).slice(0, 200)}`);
}

async function refused(what, name, call) {
  try {
    await call();
  } catch (error) {
    same(name, error.name, what);
    return;
  }
  throw new Error(`${what}: expected a refusal, and it was done`);
}

async function main() {
  const s3 = new s3sdk.S3Client({});
  const send = (name, input) => s3.send(new s3sdk[`${name}Command`](input));
  const read = async (Bucket, Key, more = {}) =>
    Buffer.from(await (await send("GetObject", { Bucket, Key, ...more })).Body.transformToByteArray());
  const upload = (Key, Body, more = {}) =>
    new Upload({ client: s3, params: { Bucket: OUT, Key, Body, ...more }, partSize: 5 * 2 ** 20 }).done();
  const list = async (Bucket, Prefix) => {
    const keys = [];
    for await (const page of s3sdk.paginateListObjectsV2({ client: s3 }, { Bucket, Prefix }))
      keys.push(...(page.Contents ?? []).map((entry) => entry.Key));
    return keys;
  };

  same([IN, OUT], (await send("ListBuckets", {})).Buckets.map((b) => b.Name), "ListBuckets");
  same(names, await list(IN), "all keys");
  for (const name of ["small.txt", "empty.bin", "big.bin", ...names.filter((n) => n.startsWith("odd"))])
    same(content(name), await read(IN, name), `get ${name}`);
  const big = content("big.bin");
  same(big.subarray(1000, 3000), await read(IN, "big.bin", { Range: "bytes=1000-2999" }), "range");

  for (const [key, source] of Object.entries(left)) {
    await send("PutObject", { Bucket: OUT, Key: key, Body: content(source), Metadata: { from: "node" } });
    same(content(source), await read(OUT, key), `put ${key}`);
    same("node", (await send("HeadObject", { Bucket: OUT, Key: key })).Metadata.from, "metadata");
  }
  const file = path.join(expected, "big.bin");
  await send("PutObject", { Bucket: OUT, Key: "one/stream", Body: fs.createReadStream(file), ContentLength: big.length });
  same(big, await read(OUT, "one/stream"), "put of a stream");
  await upload("one/parts", big);
  await upload("one/stream parts", Readable.from([big.subarray(0, 7e6), big.subarray(7e6)]));
  await upload("one/little", Buffer.from("x"));
  await upload("one/nothing", Buffer.from(""));
  for (const key of ["one/parts", "one/stream parts"]) same(big, await read(OUT, key), `upload of ${key}`);
  for (const algorithm of ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]) {
    try {
      await send("PutObject", { Bucket: OUT, Key: `one/${algorithm}`, Body: big, ChecksumAlgorithm: algorithm });
    } catch (error) {
      if (/dependency|install/i.test(String(error))) continue; // requires a package that is not installed
      throw error;
    }
    await upload(`one/parts ${algorithm}`, big, { ChecksumAlgorithm: algorithm });
    same(big, await read(OUT, `one/parts ${algorithm}`, { ChecksumMode: "ENABLED" }), algorithm);
  }
  const source = encodeURIComponent(`${OUT}/kept/${ODD}`);
  await send("CopyObject", { Bucket: OUT, Key: `two/${ODD}`, CopySource: source });
  same(content(left[`kept/${ODD}`]), await read(OUT, `two/${ODD}`), "copy");
  await refused("a missing key", "NoSuchKey", () => read(OUT, "no"));
  await refused("a write to an input", "AccessDenied", () => send("PutObject", { Bucket: IN, Key: "x", Body: "" }));
  await refused("a second creation", "PreconditionFailed", () =>
    send("PutObject", { Bucket: OUT, Key: "one/parts", Body: "", IfNoneMatch: "*" }));

  for (let start = 0; start < 1005; start += 67)
    await Promise.all(
      Array.from({ length: 67 }, (_, i) => send("PutObject", { Bucket: OUT, Key: `bulk/${start + i}`, Body: "x" })),
    );
  const gone = (await list(OUT)).filter((key) => !key.startsWith("kept/"));
  for (let start = 0; start < gone.length; start += 1000)
    await send("DeleteObjects", {
      Bucket: OUT,
      Delete: { Objects: gone.slice(start, start + 1000).map((Key) => ({ Key })) },
    });
  same(Object.keys(left).sort(), (await list(OUT)).sort(), "the contents of out");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
