package jobs;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;

import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStreamBuilder;
import org.apache.hadoop.fs.FileRange;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.LocatedFileStatus;
import org.apache.hadoop.fs.RemoteIterator;

/**
 * Does a job with Hadoop's s3a: Jobs JOB ENDPOINT BUCKET ARGUMENTS. The test that runs it compares what was moved; a job that
 * finds a fault itself throws. Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
 */
public final class Jobs {
    private static FileSystem store;

    private interface Job {
        void run(List<String> words) throws Exception;
    }

    public static void main(String[] words) throws Exception {
        Configuration settings = new Configuration();
        settings.set("fs.s3a.endpoint", words[1]);
        settings.set("fs.s3a.endpoint.region", "us-east-1");
        settings.set("fs.s3a.path.style.access", "true");
        settings.set("fs.s3a.connection.ssl.enabled", "false");
        settings.set("fs.s3a.multipart.size", "5M");
        settings.set("fs.s3a.multipart.threshold", "5M");
        settings.set("fs.s3a.attempts.maximum", "1");
        settings.set("fs.s3a.retry.limit", "0");
        for (String pair : System.getProperty("settings", "").split(";")) {
            if (!pair.isEmpty()) {
                settings.set(pair.substring(0, pair.indexOf('=')), pair.substring(pair.indexOf('=') + 1));
            }
        }
        store = FileSystem.get(java.net.URI.create("s3a://" + words[2] + "/"), settings);
        Job job = switch (words[0]) {
            case "upload" -> Jobs::upload;
            case "download" -> Jobs::download;
            case "streams" -> Jobs::streams;
            case "list" -> Jobs::list;
            case "rename" -> Jobs::rename;
            case "delete" -> Jobs::delete;
            case "folders" -> Jobs::folders;
            case "ranges" -> Jobs::ranges;
            case "exclusive" -> Jobs::exclusive;
            case "put" -> Jobs::put;
            default -> throw new IllegalArgumentException(words[0]);
        };
        job.run(Arrays.asList(words).subList(3, words.length));
        store.close();
    }

    private static org.apache.hadoop.fs.Path path(String key) {
        // Two texts, because a path of one text cannot have a colon in its first name.
        return new org.apache.hadoop.fs.Path(new org.apache.hadoop.fs.Path(store.getUri().toString() + "/"), new org.apache.hadoop.fs.Path(null, null, "/" + key));
    }

    private static void upload(List<String> words) throws IOException {
        for (String name : words.subList(1, words.size())) {
            store.copyFromLocalFile(new org.apache.hadoop.fs.Path("file", null, Path.of(words.get(0), name).toString()), path(name));
        }
    }

    private static void download(List<String> words) throws IOException {
        for (String name : words.subList(1, words.size())) {
            Path file = Path.of(words.get(0), name);
            Files.createDirectories(file.getParent());
            try (InputStream in = store.open(path(name))) {
                Files.copy(in, file);
            }
        }
    }

    /** Writes a file as a stream: buffered on disk and in memory by the settings. */
    private static void streams(List<String> words) throws IOException {
        try (OutputStream out = store.create(path(words.get(1)), true); InputStream in = Files.newInputStream(Path.of(words.get(0)))) {
            in.transferTo(out);
        }
    }

    private static void list(List<String> words) throws IOException {
        List<String> found = new ArrayList<>();
        RemoteIterator<LocatedFileStatus> files = store.listFiles(path(""), true);
        while (files.hasNext()) {
            LocatedFileStatus one = files.next();
            found.add(one.getPath().toUri().getPath().substring(1) + " " + one.getLen());
        }
        found.sort(Comparator.naturalOrder());
        found.forEach(System.out::println);
        for (FileStatus one : store.listStatus(path(""))) {
            System.out.println(one.getPath().getName() + (one.isDirectory() ? "/" : ""));
        }
    }

    private static void rename(List<String> words) throws IOException {
        if (!store.rename(path(words.get(0)), path(words.get(1)))) {
            throw new IOException("not renamed");
        }
    }

    private static void delete(List<String> words) throws IOException {
        for (String name : words) {
            if (!store.delete(path(name), true)) {
                throw new IOException(name + " is not deleted");
            }
        }
    }

    /** Makes folders, and looks at them as the committers of jobs do. */
    private static void folders(List<String> words) throws IOException {
        check(store.mkdirs(path("a/b/c")), "mkdirs");
        check(store.getFileStatus(path("a/b")).isDirectory(), "a folder above");
        store.create(path("a/b/c/file")).close();
        check(store.getFileStatus(path("a/b/c/file")).getLen() == 0, "an empty file");
        check(!store.exists(path("a/b/x")), "what is not there");
        try {
            store.delete(path("a"), false);
            throw new IOException("a folder with contents is deleted");
        } catch (IOException expected) {
            check(store.exists(path("a/b/c/file")), "the contents stay");
        }
        check(store.delete(path("a/b/c/file"), false) && store.exists(path("a/b/c")), "the folder stays behind its file");
    }

    private static void ranges(List<String> words) throws Exception {
        try (FSDataInputStream in = store.open(path("k"))) {
            List<FileRange> ranges = new ArrayList<>();
            for (String word : words) {
                String[] bounds = word.split("\\+");
                ranges.add(FileRange.createFileRange(Long.parseLong(bounds[0]), Integer.parseInt(bounds[1])));
            }
            for (FileRange range : ranges) {
                byte[] bytes = new byte[range.getLength()];
                in.readFully(range.getOffset(), bytes);
                System.out.write(bytes);
            }
            in.readVectored(ranges, ByteBuffer::allocate);
            for (FileRange range : ranges) {
                ByteBuffer bytes = range.getData().get(60, TimeUnit.SECONDS);
                System.out.write(bytes.array(), bytes.arrayOffset() + bytes.position(), bytes.remaining());
            }
            System.out.flush();
        }
    }

    /** Creates a file that must not be there, twice: the second attempt fails, also when both are at work at a time. */
    private static void exclusive(List<String> words) throws IOException {
        OutputStream first = create();
        OutputStream second = create();
        first.write("first".getBytes());
        second.write("second".getBytes());
        first.close();
        try {
            second.close();
        } catch (IOException expected) {
            System.out.print(expected);
            return;
        }
        throw new IOException("the second writer replaced the first");
    }

    private static OutputStream create() throws IOException {
        FSDataOutputStreamBuilder<?, ?> builder = store.createFile(path("k"));
        builder.overwrite(false);
        builder.opt("fs.option.create.conditional.overwrite", true);
        return builder.build();
    }

    private static void put(List<String> words) throws IOException {
        try (OutputStream out = store.create(path("k"), true)) {
            out.write("content".getBytes());
        }
    }

    private static void check(boolean holds, String what) throws IOException {
        if (!holds) {
            throw new IOException(what);
        }
    }
}
