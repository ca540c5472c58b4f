import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.*;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;
import software.amazon.awssdk.transfer.s3.S3TransferManager;

/** The AWS SDK for Java 2: the client, the client that sends in parts, and the transfer manager. */
public class UseSdk {
    static final String IN = "labresults", OUT = "out", ODD = "naïve a+b & 100% 東京.txt";
    static final Path EXPECTED = Path.of(System.getenv("EXPECTED"));

    static byte[] content(String name) throws Exception {
        return Files.readAllBytes(EXPECTED.resolve(name));
    }

    static void same(Object want, Object got, String what) {
        boolean equal = want instanceof byte[] w ? Arrays.equals(w, (byte[]) got) : want.equals(got);
        if (!equal) throw new AssertionError(what + ": expected " + want + ", got " + got);
    }

    static byte[] read(S3Client s3, String bucket, String key) {
        return s3.getObjectAsBytes(b -> b.bucket(bucket).key(key)).asByteArray();
    }

    static List<String> list(S3Client s3, String bucket) {
        return s3.listObjectsV2Paginator(b -> b.bucket(bucket)).contents().stream()
            .map(S3Object::key).sorted().collect(Collectors.toList());
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> left = new TreeMap<>(Map.of("kept/small.txt", "small.txt", "kept/empty.bin", "empty.bin",
            "kept/big.bin", "big.bin", "kept/" + ODD, "odd names/" + ODD));
        byte[] big = content("big.bin");
        List<String> names;
        try (Stream<Path> walk = Files.walk(EXPECTED)) {
            names = walk.filter(Files::isRegularFile).map(p -> EXPECTED.relativize(p).toString())
                .sorted().collect(Collectors.toList());
        }
        try (S3Client s3 = S3Client.create();
             S3AsyncClient parts = S3AsyncClient.builder().multipartEnabled(true).build();
             S3TransferManager transfers = S3TransferManager.builder().s3Client(parts).build()) {
            same(List.of(IN, OUT), s3.listBuckets().buckets().stream().map(Bucket::name).toList(), "buckets");
            same(names, list(s3, IN), "all keys");
            for (String name : names)
                if (!name.startsWith("many/")) same(content(name), read(s3, IN, name), "get " + name);
            same(Arrays.copyOfRange(big, 1000, 3000),
                s3.getObjectAsBytes(b -> b.bucket(IN).key("big.bin").range("bytes=1000-2999")).asByteArray(), "range");

            for (Map.Entry<String, String> one : left.entrySet()) {
                s3.putObject(b -> b.bucket(OUT).key(one.getKey()).metadata(Map.of("from", "java")),
                    RequestBody.fromBytes(content(one.getValue())));
                same(content(one.getValue()), read(s3, OUT, one.getKey()), "put " + one.getKey());
                same("java", s3.headObject(b -> b.bucket(OUT).key(one.getKey())).metadata().get("from"), "metadata");
            }
            s3.putObject(b -> b.bucket(OUT).key("one/stream"),
                RequestBody.fromInputStream(new ByteArrayInputStream(big), big.length));
            same(big, read(s3, OUT, "one/stream"), "put of a stream");
            for (ChecksumAlgorithm algorithm : List.of(ChecksumAlgorithm.CRC32, ChecksumAlgorithm.SHA1, ChecksumAlgorithm.SHA256)) {
                s3.putObject(b -> b.bucket(OUT).key("one/" + algorithm).checksumAlgorithm(algorithm), RequestBody.fromBytes(big));
                same(big, s3.getObjectAsBytes(b -> b.bucket(OUT).key("one/" + algorithm).checksumMode(ChecksumMode.ENABLED))
                    .asByteArray(), "checksum " + algorithm);
            }
            parts.putObject(b -> b.bucket(OUT).key("one/parts"), AsyncRequestBody.fromBytes(big)).join();
            same(big, read(s3, OUT, "one/parts"), "upload in parts");
            transfers.uploadFile(b -> b.source(EXPECTED.resolve("big.bin")).putObjectRequest(p -> p.bucket(OUT).key("one/file")))
                .completionFuture().join();
            Path back = Files.createTempFile("back", ".bin");
            transfers.downloadFile(b -> b.destination(back).getObjectRequest(g -> g.bucket(OUT).key("one/file")))
                .completionFuture().join();
            same(big, Files.readAllBytes(back), "transfer manager");
            Files.delete(back);
            var folder = transfers.uploadDirectory(b -> b.source(EXPECTED.resolve("odd names")).bucket(OUT).s3Prefix("two"))
                .completionFuture().join();
            same(List.of(), folder.failedTransfers(), "folder uploaded");
            s3.copyObject(b -> b.sourceBucket(OUT).sourceKey("kept/" + ODD).destinationBucket(OUT).destinationKey("three/" + ODD));
            same(content("odd names/" + ODD), read(s3, OUT, "three/" + ODD), "copy");
            transfers.copy(b -> b.copyObjectRequest(c -> c.sourceBucket(IN).sourceKey("big.bin")
                .destinationBucket(OUT).destinationKey("three/big"))).completionFuture().join();
            same(big, read(s3, OUT, "three/big"), "copy by the transfer manager");
            try (S3Presigner presigner = S3Presigner.create()) {
                var link = presigner.presignGetObject(b -> b.signatureDuration(java.time.Duration.ofHours(1))
                    .getObjectRequest(g -> g.bucket(OUT).key("kept/" + ODD)));
                try (var in = link.url().openStream()) {
                    same(content("odd names/" + ODD), in.readAllBytes(), "presigned link");
                }
            }
            try {
                read(s3, OUT, "no");
                throw new AssertionError("a missing key was read");
            } catch (NoSuchKeyException expected) {
                same(404, expected.statusCode(), "status of a missing key");
            }
            try {
                s3.putObject(b -> b.bucket(IN).key("x"), RequestBody.empty());
                throw new AssertionError("an input was written");
            } catch (S3Exception expected) {
                same("AccessDenied", expected.awsErrorDetails().errorCode(), "write to an input");
            }

            for (int number = 0; number < 1005; number++) {
                String key = "bulk/" + number;
                s3.putObject(b -> b.bucket(OUT).key(key), RequestBody.fromBytes("x".getBytes(StandardCharsets.UTF_8)));
            }
            List<ObjectIdentifier> gone = new ArrayList<>();
            for (String key : list(s3, OUT))
                if (!key.startsWith("kept/")) gone.add(ObjectIdentifier.builder().key(key).build());
            for (int start = 0; start < gone.size(); start += 1000) {
                List<ObjectIdentifier> some = gone.subList(start, Math.min(gone.size(), start + 1000));
                same(List.of(), s3.deleteObjects(b -> b.bucket(OUT).delete(d -> d.objects(some))).errors(), "bulk delete");
            }
            same(new ArrayList<>(left.keySet()), list(s3, OUT), "left in out");
        }
        System.exit(0);
    }
}
