import java.io.FileNotFoundException;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.io.NullWritable;
import org.apache.hadoop.io.Text;
import org.apache.hadoop.mapreduce.Job;
import org.apache.hadoop.mapreduce.JobID;
import org.apache.hadoop.mapreduce.OutputCommitter;
import org.apache.hadoop.mapreduce.RecordWriter;
import org.apache.hadoop.mapreduce.TaskAttemptContext;
import org.apache.hadoop.mapreduce.TaskAttemptID;
import org.apache.hadoop.mapreduce.TaskID;
import org.apache.hadoop.mapreduce.TaskType;
import org.apache.hadoop.mapreduce.lib.output.TextOutputFormat;
import org.apache.hadoop.mapreduce.task.JobContextImpl;
import org.apache.hadoop.mapreduce.task.TaskAttemptContextImpl;

/** Hadoop's S3A, as Spark, Hive and Flink use it: files, renames, and jobs committed by three committers. */
public class UseS3A {
    static final String ODD = "naïve a+b & 100% 東京.txt";
    static final java.nio.file.Path EXPECTED = java.nio.file.Path.of(System.getenv("EXPECTED"));

    static byte[] content(String name) throws IOException {
        return Files.readAllBytes(EXPECTED.resolve(name));
    }

    static void same(Object want, Object got, String what) {
        boolean equal = want instanceof byte[] w ? Arrays.equals(w, (byte[]) got) : want.equals(got);
        if (!equal) throw new AssertionError(what + ": expected " + want + ", got " + got);
    }

    static Path path(String bucket, String key) throws Exception {
        return new Path(new URI("s3a", bucket, "/" + key, null, null));
    }

    static byte[] read(FileSystem fs, Path path) throws IOException {
        try (FSDataInputStream in = fs.open(path)) {
            return in.readAllBytes();
        }
    }

    static void write(FileSystem fs, Path path, byte[] data) throws IOException {
        try (FSDataOutputStream out = fs.create(path)) {
            out.write(data);
        }
    }

    static int count(FileSystem fs, Path path) throws IOException {
        int found = 0;
        for (var files = fs.listFiles(path, true); files.hasNext(); files.next()) found++;
        return found;
    }

    /** Commit a job of three tasks, one of which is retried, with the named committer. */
    static void commit(FileSystem fs, Configuration base, String committer) throws Exception {
        Configuration conf = new Configuration(base);
        if (committer.equals("file")) {
            conf.setInt("mapreduce.fileoutputcommitter.algorithm.version", 1);
        } else {
            conf.set("mapreduce.outputcommitter.factory.scheme.s3a",
                "org.apache.hadoop.fs.s3a.commit.S3ACommitterFactory");
            conf.set("fs.s3a.committer.name", committer);
        }
        conf.set("fs.s3a.committer.uuid", committer + "-job");
        Path target = path("out", "jobs/" + committer);
        Job job = Job.getInstance(conf);
        org.apache.hadoop.mapreduce.lib.output.FileOutputFormat.setOutputPath(job, target);
        job.setOutputKeyClass(Text.class);
        job.setOutputValueClass(NullWritable.class);
        JobID id = new JobID("20240101", 1);
        JobContextImpl jobContext = new JobContextImpl(job.getConfiguration(), id);
        OutputCommitter ofJob = null;
        for (int task = 0; task < 3; task++) {
            for (int attempt = 0; attempt < (task == 1 ? 2 : 1); attempt++) {
                TaskAttemptContext context = new TaskAttemptContextImpl(job.getConfiguration(),
                    new TaskAttemptID(new TaskID(id, TaskType.MAP, task), attempt));
                // A format caches the committer of its first task.
                TextOutputFormat<Text, NullWritable> format = new TextOutputFormat<>();
                OutputCommitter each = format.getOutputCommitter(context);
                if (ofJob == null) {
                    ofJob = each;
                    ofJob.setupJob(jobContext);
                }
                each.setupTask(context);
                RecordWriter<Text, NullWritable> writer = format.getRecordWriter(context);
                writer.write(new Text("task " + task), NullWritable.get());
                writer.close(context);
                if (task == 1 && attempt == 0) each.abortTask(context);
                else if (each.needsTaskCommit(context)) each.commitTask(context);
            }
        }
        ofJob.commitJob(jobContext);
        List<String> lines = new ArrayList<>();
        for (FileStatus file : fs.listStatus(target)) {
            String name = file.getPath().getName();
            if (name.startsWith("part-")) lines.add(new String(read(fs, file.getPath())).strip());
            else same("_SUCCESS", name, committer + ": besides the parts");
        }
        same(List.of("task 0", "task 1", "task 2"), lines, committer + ": the job's output");
    }

    public static void main(String[] args) throws Exception {
        Configuration conf = new Configuration();
        String endpoint = System.getenv("S3_ENDPOINT");
        conf.set("fs.s3a.endpoint", endpoint);
        conf.set("fs.s3a.endpoint.region", System.getenv("AWS_REGION"));
        conf.set("fs.s3a.path.style.access", "true");
        conf.set("fs.s3a.connection.ssl.enabled", String.valueOf(endpoint.startsWith("https:")));
        conf.set("fs.s3a.multipart.size", "5M");
        conf.set("fs.s3a.multipart.threshold", "5M");
        java.nio.file.Path scratch = Files.createTempDirectory("s3a");
        conf.set("hadoop.tmp.dir", scratch.toString());
        FileSystem in = FileSystem.get(new URI("s3a://labresults/"), conf);
        FileSystem out = FileSystem.get(new URI("s3a://out/"), conf);

        try (var walk = Files.walk(EXPECTED)) {
            same((int) walk.filter(Files::isRegularFile).count(), count(in, new Path("s3a://labresults/")), "files");
        }
        same(5, in.listStatus(new Path("s3a://labresults/")).length, "top level");
        same(5, in.globStatus(new Path("s3a://labresults/many/12/*.txt")).length, "glob");
        for (String name : List.of("small.txt", "empty.bin", "big.bin", "odd names/" + ODD))
            same(content(name), read(in, path("labresults", name)), "read " + name);
        byte[] big = content("big.bin");
        try (FSDataInputStream file = in.open(path("labresults", "big.bin"))) {
            byte[] some = new byte[2000];
            file.readFully(1000, some);
            same(Arrays.copyOfRange(big, 1000, 3000), some, "positioned read");
            file.seek(9_000_000);
            same(Arrays.copyOfRange(big, 9_000_000, big.length), file.readAllBytes(), "seek and read");
        }

        Map<String, String> left = Map.of("kept/small.txt", "small.txt", "kept/empty.bin", "empty.bin",
            "kept/big.bin", "big.bin", "kept/" + ODD, "odd names/" + ODD);
        for (var one : left.entrySet()) {
            write(out, path("out", one.getKey()), content(one.getValue()));
            same(content(one.getValue()), read(out, path("out", one.getKey())), "write " + one.getKey());
        }
        same(true, out.mkdirs(path("out", "one/two/three")), "mkdirs");
        same(true, out.getFileStatus(path("out", "one/two")).isDirectory(), "folder");
        write(out, path("out", "one/two/" + ODD), big);
        for (int number = 0; number < 30; number++)
            write(out, path("out", "one/many/" + number), "x".getBytes());
        same(true, out.rename(path("out", "one"), path("out", "renamed")), "rename of a folder");
        same(big, read(out, path("out", "renamed/two/" + ODD)), "a file in the renamed folder");
        same(31, count(out, path("out", "renamed")), "files in the renamed folder");
        same(false, out.exists(path("out", "one")), "the folder's old name");
        try {
            out.getFileStatus(path("out", "no"));
            throw new AssertionError("a missing file has a status");
        } catch (FileNotFoundException expected) {
            same(false, out.exists(path("out", "no")), "a missing file");
        }
        try {
            write(in, path("labresults", "x"), new byte[1]);
            throw new AssertionError("an input was written");
        } catch (IOException expected) {
            same(true, expected.toString().contains("AccessDenied"), "error of a write to an input: " + expected);
        }
        for (String committer : List.of("file", "magic", "directory")) commit(out, conf, committer);
        same(true, out.delete(path("out", "renamed"), true), "delete of a folder");
        same(false, out.exists(path("out", "renamed")), "deleted folder");
        FileSystem.closeAll();
        try (var walk = Files.walk(scratch)) {
            for (var each : walk.sorted(java.util.Comparator.reverseOrder()).toList()) Files.delete(each);
        }
        System.exit(0);
    }
}
