package jobs;

import java.io.InputStream;
import java.io.OutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.async.AsyncResponseTransformer;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.core.sync.ResponseTransformer;
import software.amazon.awssdk.http.ContentStreamProvider;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.*;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;

/**
 * Jobs of the AWS SDK for Java: {@code Jobs JOB URL BUCKET ARGUMENTS}. The test that runs a job compares what was moved; a
 * job that finds a fault itself throws.
 */
public final class Jobs {
    private static final int PART = 5 << 20;
    private final URI url;
    private final String bucket;
    private final S3Client s3;

    private Jobs(URI url, String bucket) {
        this.url = url;
        this.bucket = bucket;
        this.s3 = S3Client.builder().endpointOverride(url).region(Region.US_EAST_1).forcePathStyle(true).build();
    }

    public static void main(String[] words) throws Exception {
        Jobs jobs = new Jobs(URI.create(words[1]), words[2]);
        List<String> rest = Arrays.asList(words).subList(3, words.length);
        switch (words[0]) {
            case "upload" -> jobs.upload(Path.of(rest.get(0)), rest.subList(1, rest.size()));
            case "download" -> jobs.download(Path.of(rest.get(0)), rest.subList(1, rest.size()));
            case "streams" -> jobs.streams(Path.of(rest.get(0)), rest.get(1));
            case "async" -> jobs.async(Path.of(rest.get(0)), Path.of(rest.get(1)), rest.subList(2, rest.size()));
            case "keys" -> jobs.keys(rest);
            case "headers" -> jobs.headers();
            case "list" -> jobs.list();
            case "remove" -> jobs.remove();
            case "copies" -> jobs.copies(Long.parseLong(rest.get(0)));
            case "ranges" -> jobs.ranges(rest);
            case "conditions" -> jobs.conditions();
            case "checksum" -> jobs.checksum(ChecksumAlgorithm.fromValue(rest.get(0)), Path.of(rest.get(1)));
            case "presigned" -> jobs.presigned(rest);
            case "versions" -> jobs.versions();
            case "refused" -> jobs.refused(rest.get(0));
            case "storage_class" -> jobs.s3.putObject(put -> put.bucket(jobs.bucket).key("k").storageClass(rest.get(0)), RequestBody.fromString("content"));
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    private void upload(Path tree, List<String> names) throws Exception {
        for (String name : names) {
            Path file = tree.resolve(name);
            if (Files.size(file) <= PART) {
                s3.putObject(put -> put.bucket(bucket).key(name), file);
                continue;
            }
            String upload = s3.createMultipartUpload(create -> create.bucket(bucket).key(name)).uploadId();
            List<CompletedPart> parts = new ArrayList<>();
            try (InputStream stream = Files.newInputStream(file)) {
                for (byte[] piece = stream.readNBytes(PART); piece.length > 0; piece = stream.readNBytes(PART)) {
                    int number = parts.size() + 1;
                    UploadPartResponse part = s3.uploadPart(one -> one.bucket(bucket).key(name).uploadId(upload).partNumber(number), RequestBody.fromBytes(piece));
                    parts.add(CompletedPart.builder().partNumber(number).eTag(part.eTag()).checksumCRC32(part.checksumCRC32()).build());
                }
            }
            s3.completeMultipartUpload(done -> done.bucket(bucket).key(name).uploadId(upload).multipartUpload(all -> all.parts(parts)));
        }
    }

    private void download(Path out, List<String> names) throws Exception {
        for (String name : names) {
            Path file = out.resolve(name);
            Files.createDirectories(file.getParent());
            s3.getObject(get -> get.bucket(bucket).key(name), ResponseTransformer.toFile(file));
        }
    }

    /** Puts streams of known and unknown length. */
    private void streams(Path tree, String name) throws Exception {
        Path file = tree.resolve(name);
        long size = Files.size(file);
        try (InputStream stream = Files.newInputStream(file)) {
            s3.putObject(put -> put.bucket(bucket).key("known"), RequestBody.fromInputStream(stream, size));
        }
        ContentStreamProvider unknown = ContentStreamProvider.fromInputStreamSupplier(() -> open(file));
        s3.putObject(put -> put.bucket(bucket).key("unknown"), RequestBody.fromContentProvider(unknown, "text/x"));
    }

    private static InputStream open(Path file) {
        try {
            return Files.newInputStream(file);
        } catch (java.io.IOException error) {
            throw new java.io.UncheckedIOException(error);
        }
    }

    /** Puts and gets with the asynchronous client, which makes parts of large contents by itself. */
    private void async(Path tree, Path out, List<String> names) throws Exception {
        try (S3AsyncClient client = S3AsyncClient.builder().endpointOverride(url).region(Region.US_EAST_1).forcePathStyle(true)
                .multipartEnabled(true).multipartConfiguration(parts -> parts.minimumPartSizeInBytes((long) PART).thresholdInBytes((long) PART)).build()) {
            List<CompletableFuture<?>> puts = new ArrayList<>();
            for (String name : names) {
                puts.add(client.putObject(put -> put.bucket(bucket).key(name), AsyncRequestBody.fromFile(tree.resolve(name))));
            }
            CompletableFuture.allOf(puts.toArray(CompletableFuture[]::new)).join();
            for (String name : names) {
                Path file = out.resolve(name);
                Files.createDirectories(file.getParent());
                client.getObject(get -> get.bucket(bucket).key(name), AsyncResponseTransformer.toFile(file)).join();
            }
            for (String name : names) {
                client.copyObject(copy -> copy.sourceBucket(bucket).sourceKey(name).destinationBucket(bucket).destinationKey("copy/" + name)).join();
            }
        }
    }

    private void keys(List<String> keys) {
        for (String key : keys) {
            s3.putObject(put -> put.bucket(bucket).key(key), RequestBody.fromString(key));
            same(text(key), key);
        }
        for (S3Object one : s3.listObjectsV2(list -> list.bucket(bucket)).contents()) {
            println(one.key().replace("\n", "\\n"));
            s3.deleteObject(delete -> delete.bucket(bucket).key(one.key()));
        }
        same(s3.listObjectsV2(list -> list.bucket(bucket)).keyCount(), 0);
    }

    private void headers() {
        s3.putObject(put -> put.bucket(bucket).key("k").contentType("text/x").cacheControl("no-store").contentDisposition("attachment; filename=\"a b\"")
                .metadata(Map.of("mine", "a b")).tagging(Tagging.builder().tagSet(tag("a", "1"), tag("b c", "ü")).build()), RequestBody.fromString("content"));
        HeadObjectResponse told = s3.headObject(head -> head.bucket(bucket).key("k"));
        same(List.of(told.contentType(), told.cacheControl(), told.contentDisposition(), told.metadata()),
                List.of("text/x", "no-store", "attachment; filename=\"a b\"", Map.of("mine", "a b")));
        same(s3.getObjectTagging(get -> get.bucket(bucket).key("k")).tagSet(), List.of(tag("a", "1"), tag("b c", "ü")));
        s3.putBucketTagging(put -> put.bucket(bucket).tagging(tags -> tags.tagSet(tag("team", "x"))));
        same(s3.getBucketTagging(get -> get.bucket(bucket)).tagSet(), List.of(tag("team", "x")));
        s3.deleteObjectTagging(delete -> delete.bucket(bucket).key("k"));
        same(s3.getObjectTagging(get -> get.bucket(bucket).key("k")).tagSet(), List.of());
    }

    private void list() {
        s3.listObjectsV2Paginator(list -> list.bucket(bucket).maxKeys(300)).contents().forEach(one -> println(one.key() + " " + one.size()));
        s3.listObjectsV2(list -> list.bucket(bucket).delimiter("/")).commonPrefixes().forEach(one -> println(one.prefix()));
    }

    private void remove() {
        for (ListObjectsV2Response page : s3.listObjectsV2Paginator(list -> list.bucket(bucket))) {
            List<ObjectIdentifier> keys = page.contents().stream().map(one -> ObjectIdentifier.builder().key(one.key()).build()).toList();
            same(s3.deleteObjects(delete -> delete.bucket(bucket).delete(all -> all.objects(keys))).deleted().size(), keys.size());
        }
        s3.deleteBucket(delete -> delete.bucket(bucket));
    }

    private void copies(long size) {
        s3.copyObject(copy -> copy.sourceBucket(bucket).sourceKey("source ü+").destinationBucket(bucket).destinationKey("copy"));
        s3.copyObject(copy -> copy.sourceBucket(bucket).sourceKey("source ü+").destinationBucket(bucket).destinationKey("new")
                .metadataDirective(MetadataDirective.REPLACE).metadata(Map.of("other", "2")));
        same(s3.headObject(head -> head.bucket(bucket).key("new")).metadata(), Map.of("other", "2"));
        String upload = s3.createMultipartUpload(create -> create.bucket(bucket).key("in parts")).uploadId();
        List<CompletedPart> parts = new ArrayList<>();
        for (long begin = 0; begin < size; begin += PART) {
            int number = parts.size() + 1;
            String range = "bytes=" + begin + "-" + (Math.min(begin + PART, size) - 1);
            UploadPartCopyResponse told = s3.uploadPartCopy(copy -> copy.sourceBucket(bucket).sourceKey("source ü+").copySourceRange(range)
                    .destinationBucket(bucket).destinationKey("in parts").uploadId(upload).partNumber(number));
            parts.add(CompletedPart.builder().partNumber(number).eTag(told.copyPartResult().eTag()).build());
        }
        s3.completeMultipartUpload(done -> done.bucket(bucket).key("in parts").uploadId(upload).multipartUpload(all -> all.parts(parts)));
    }

    /** Writes the bytes of ranges one after the other. */
    private void ranges(List<String> ranges) throws Exception {
        OutputStream out = System.out;
        for (String range : ranges) {
            out.write(s3.getObjectAsBytes(get -> get.bucket(bucket).key("k").range(range)).asByteArray());
        }
        out.flush();
    }

    private void conditions() {
        PutObjectRequest fresh = PutObjectRequest.builder().bucket(bucket).key("k").ifNoneMatch("*").build();
        int first = winner(fresh, 0);
        same(text("k"), "writer " + first);
        String etag = s3.headObject(head -> head.bucket(bucket).key("k")).eTag();
        println("writer " + winner(fresh.toBuilder().ifNoneMatch(null).ifMatch(etag).build(), 10));
        same(status(() -> s3.getObjectAsBytes(get -> get.bucket(bucket).key("k").ifMatch("\"other\""))), "412 PreconditionFailed");
        same(status(() -> s3.deleteObject(delete -> delete.bucket(bucket).key("k").ifMatch("\"other\""))), "412 PreconditionFailed");
    }

    /** Lets eight writers put at the same time; returns the one that wins. */
    private int winner(PutObjectRequest put, int first) {
        List<CompletableFuture<String>> writers = new ArrayList<>();
        for (int number = first; number < first + 8; number++) {
            String content = "writer " + number;
            writers.add(CompletableFuture.supplyAsync(() -> status(() -> s3.putObject(put, RequestBody.fromString(content)))));
        }
        List<String> told = writers.stream().map(CompletableFuture::join).toList();
        same(told.stream().filter("works"::equals).count(), 1L);
        same(told.stream().allMatch(one -> one.equals("works") || one.startsWith("412") || one.startsWith("409")), true);
        return first + told.indexOf("works");
    }

    private void checksum(ChecksumAlgorithm algorithm, Path file) throws Exception {
        byte[] content = Files.readAllBytes(file);
        s3.putObject(put -> put.bucket(bucket).key("k").checksumAlgorithm(algorithm), RequestBody.fromBytes(content));
        // The client compares the checksum when it reads.
        byte[] got = s3.getObjectAsBytes(get -> get.bucket(bucket).key("k").checksumMode(ChecksumMode.ENABLED)).asByteArray();
        same(Arrays.equals(got, content), true);
        HeadObjectResponse told = s3.headObject(head -> head.bucket(bucket).key("k").checksumMode(ChecksumMode.ENABLED));
        println(told.getValueForField("Checksum" + algorithm, String.class).orElseThrow());
    }

    private void presigned(List<String> keys) throws Exception {
        HttpClient http = HttpClient.newHttpClient();
        try (S3Presigner presigner = S3Presigner.builder().endpointOverride(url).region(Region.US_EAST_1)
                .serviceConfiguration(S3Configuration.builder().pathStyleAccessEnabled(true).build()).build()) {
            for (String key : keys) {
                var put = presigner.presignPutObject(one -> one.signatureDuration(Duration.ofMinutes(1)).putObjectRequest(
                        request -> request.bucket(bucket).key(key).contentType("text/x").metadata(Map.of("mine", "a b"))));
                HttpRequest.Builder request = HttpRequest.newBuilder(put.url().toURI()).PUT(HttpRequest.BodyPublishers.ofString("content of " + key));
                put.signedHeaders().forEach((name, values) -> values.stream().filter(value -> !name.equalsIgnoreCase("host")).forEach(value -> request.header(name, value)));
                same(http.send(request.build(), HttpResponse.BodyHandlers.ofString()).statusCode(), 200);
                var get = presigner.presignGetObject(one -> one.signatureDuration(Duration.ofMinutes(1)).getObjectRequest(
                        wanted -> wanted.bucket(bucket).key(key).responseContentType("image/png")));
                HttpResponse<String> got = http.send(HttpRequest.newBuilder(get.url().toURI()).build(), HttpResponse.BodyHandlers.ofString(StandardCharsets.UTF_8));
                same(got.body(), "content of " + key);
                same(got.headers().firstValue("content-type").orElseThrow(), "image/png");
                same(s3.headObject(head -> head.bucket(bucket).key(key)).metadata(), Map.of("mine", "a b"));
            }
        }
    }

    private void versions() {
        s3.putBucketVersioning(put -> put.bucket(bucket).versioningConfiguration(versions -> versions.status(BucketVersioningStatus.ENABLED)));
        String first = s3.putObject(put -> put.bucket(bucket).key("k"), RequestBody.fromString("first")).versionId();
        s3.putObject(put -> put.bucket(bucket).key("k"), RequestBody.fromString("second"));
        String marker = s3.deleteObject(delete -> delete.bucket(bucket).key("k")).versionId();
        same(status(() -> text("k")), "404 NoSuchKey");
        same(s3.listObjectVersions(list -> list.bucket(bucket)).versions().size(), 2);
        s3.deleteObject(delete -> delete.bucket(bucket).key("k").versionId(marker));
        println(s3.getObjectAsBytes(get -> get.bucket(bucket).key("k").versionId(first)).asUtf8String());
        println(text("k"));
    }

    private void refused(String what) {
        PutObjectRequest.Builder put = PutObjectRequest.builder().bucket(bucket).key("k");
        RequestBody other = RequestBody.fromString("other");
        println(status(switch (what) {
            case "acl" -> () -> s3.putObject(put.acl(ObjectCannedACL.PUBLIC_READ).build(), other);
            case "sse" -> () -> s3.putObject(put.serverSideEncryption(ServerSideEncryption.AES256).build(), other);
            case "policy" -> () -> s3.putBucketPolicy(one -> one.bucket(bucket).policy("{}"));
            case "lock" -> () -> s3.putObjectLegalHold(one -> one.bucket(bucket).key("k").legalHold(hold -> hold.status(ObjectLockLegalHoldStatus.ON)));
            default -> throw new IllegalArgumentException(what);
        }));
    }

    private String text(String key) {
        return s3.getObjectAsBytes(get -> get.bucket(bucket).key(key)).asUtf8String();
    }

    /** Returns the status and the code of a call that fails, or "works". */
    private static String status(Runnable call) {
        try {
            call.run();
            return "works";
        } catch (S3Exception error) {
            return error.statusCode() + " " + error.awsErrorDetails().errorCode();
        }
    }

    private static Tag tag(String name, String value) {
        return Tag.builder().key(name).value(value).build();
    }

    private static void same(Object got, Object wanted) {
        if (!got.equals(wanted)) {
            throw new AssertionError(got + " instead of " + wanted);
        }
    }

    private static void println(String line) {
        byte[] bytes = (line + "\n").getBytes(StandardCharsets.UTF_8);
        System.out.write(bytes, 0, bytes.length);
        System.out.flush();
    }
}
