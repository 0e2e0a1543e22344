// Jobs of the AWS SDK for JavaScript: `node jobs.mjs JOB ARGUMENTS`, with arguments and answer as JSON. The test that runs a
// job compares what was moved; a job that finds a fault itself throws.
import assert from "node:assert/strict";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import * as s3 from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { createPresignedPost } from "@aws-sdk/s3-presigned-post";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const MIB = 1 << 20;
const [name, text] = process.argv.slice(2);
const { url, bucket, settings, ...rest } = JSON.parse(text);
const Bucket = bucket;
const client = new s3.S3Client({ endpoint: url, region: "us-east-1", forcePathStyle: true, ...settings });
const send = (command, input) => client.send(new s3[`${command}Command`]({ Bucket, ...input }));
const bytes = async (Key, input) => Buffer.from(await (await send("GetObject", { Key, ...input })).Body.transformToByteArray());
const base64 = (content) => Buffer.from(content).toString("base64");

async function refused(call) {
  try {
    await call;
  } catch (error) {
    assert.ok(error.$metadata, error);
    return `${error.$metadata.httpStatusCode} ${error.name}`;
  }
  return "not refused";
}

async function winner(calls) {
  const told = await Promise.allSettled(calls);
  const winners = told.flatMap((one, number) => (one.status === "fulfilled" ? [number] : []));
  assert.equal(winners.length, 1, JSON.stringify(told));
  for (const one of told) assert.ok(one.status === "fulfilled" || [409, 412].includes(one.reason.$metadata.httpStatusCode), one.reason);
  return winners[0];
}

const jobs = {
  async upload({ tree, names }) {
    for (const Key of names) await new Upload({ client, params: { Bucket, Key, Body: createReadStream(path.join(tree, Key)) }, partSize: 5 * MIB }).done();
  },

  async download({ names, out }) {
    for (const Key of names) {
      await mkdir(path.dirname(path.join(out, Key)), { recursive: true });
      await pipeline((await send("GetObject", { Key })).Body, createWriteStream(path.join(out, Key)));
    }
  },

  async odd_keys({ keys }) {
    for (const Key of keys) {
      await send("PutObject", { Key, Body: Key });
      assert.equal((await bytes(Key)).toString(), Key);
    }
    const listed = await send("ListObjectsV2", {});
    await send("DeleteObjects", { Delete: { Objects: keys.map((Key) => ({ Key })) } });
    assert.equal((await send("ListObjectsV2", {})).KeyCount, 0);
    return listed.Contents.map((one) => one.Key);
  },

  async headers() {
    const given = {
      ContentType: "text/x", CacheControl: "no-store", ContentDisposition: 'attachment; filename="a b"', ContentLanguage: "de", Metadata: { mine: "a b" },
    };
    await send("PutObject", { Key: "k", Body: "content", Tagging: "a=1&b=two%20words", ...given });
    const told = await send("HeadObject", { Key: "k" });
    for (const [header, value] of Object.entries(given)) assert.deepEqual(told[header], value);
    assert.deepEqual((await send("GetObjectTagging", { Key: "k" })).TagSet, [{ Key: "a", Value: "1" }, { Key: "b", Value: "two words" }]);
    await send("PutObjectTagging", { Key: "k", Tagging: { TagSet: [{ Key: "c", Value: "ü" }] } });
    assert.deepEqual((await send("GetObjectTagging", { Key: "k" })).TagSet, [{ Key: "c", Value: "ü" }]);
    await send("DeleteObjectTagging", { Key: "k" });
    assert.equal((await send("HeadObject", { Key: "k" })).TagCount, undefined);
  },

  async list() {
    const found = [];
    for await (const page of s3.paginateListObjectsV2({ client, pageSize: 300 }, { Bucket })) found.push(...page.Contents.map((one) => [one.Key, one.Size]));
    const prefixes = await send("ListObjectsV2", { Delimiter: "/" });
    return [found, prefixes.CommonPrefixes.map((one) => one.Prefix)];
  },

  async remove() {
    for await (const page of s3.paginateListObjectsV2({ client }, { Bucket })) {
      const told = await send("DeleteObjects", { Delete: { Objects: page.Contents.map(({ Key }) => ({ Key })) } });
      assert.equal(told.Deleted.length, page.Contents.length);
    }
    assert.equal((await send("ListObjectsV2", {})).KeyCount, 0);
    await send("DeleteBucket", {});
  },

  async copies({ size }) {
    const CopySource = `${bucket}/${encodeURIComponent("source ü+")}`;
    await send("CopyObject", { Key: "copy", CopySource });
    await send("CopyObject", { Key: "new", CopySource, MetadataDirective: "REPLACE", Metadata: { other: "2" }, ContentType: "text/new" });
    assert.equal((await send("HeadObject", { Key: "new" })).Metadata.other, "2");
    const { UploadId } = await send("CreateMultipartUpload", { Key: "in parts" });
    const Parts = [];
    for (let begin = 0, PartNumber = 1; begin < size; begin += 5 * MIB, PartNumber++) {
      const CopySourceRange = `bytes=${begin}-${Math.min(begin + 5 * MIB, size) - 1}`;
      const told = await send("UploadPartCopy", { Key: "in parts", UploadId, PartNumber, CopySource, CopySourceRange });
      Parts.push({ PartNumber, ETag: told.CopyPartResult.ETag });
    }
    await send("CompleteMultipartUpload", { Key: "in parts", UploadId, MultipartUpload: { Parts } });
  },

  async ranges({ key, ranges }) {
    const found = [];
    for (const Range of ranges) found.push(base64(await bytes(key, { Range })));
    return found;
  },

  async part({ key, part }) {
    const told = await send("GetObject", { Key: key, PartNumber: part });
    return [base64(await told.Body.transformToByteArray()), told.PartsCount];
  },

  async conditions() {
    const put = (input) => (_, number) => send("PutObject", { Key: "k", Body: `writer ${number}`, ...input });
    const first = await winner(Array.from({ length: 8 }, put({ IfNoneMatch: "*" })));
    const { ETag } = await send("HeadObject", { Key: "k" });
    assert.equal((await bytes("k")).toString(), `writer ${first}`);
    const second = await winner(Array.from({ length: 8 }, (_, number) => put({ IfMatch: ETag })(_, number + 10)));
    assert.equal(await refused(send("GetObject", { Key: "k", IfMatch: '"other"' })), "412 PreconditionFailed");
    assert.equal(await refused(send("DeleteObject", { Key: "k", IfMatch: '"other"' })), "412 PreconditionFailed");
    return `writer ${second + 10}`;
  },

  async checksum({ algorithm, tree, file }) {
    const content = await readFile(path.join(tree, file));
    const put = await send("PutObject", { Key: "whole", Body: content, ChecksumAlgorithm: algorithm });
    await new Upload({ client, params: { Bucket, Key: "parts", Body: Readable.from(content), ChecksumAlgorithm: algorithm }, partSize: 5 * MIB }).done();
    for (const Key of ["whole", "parts"]) {
      const told = await send("GetObject", { Key, ChecksumMode: "ENABLED" });
      // The client compares the checksum when the body is read.
      assert.ok(content.equals(Buffer.from(await told.Body.transformToByteArray())));
      assert.ok(told[`Checksum${algorithm}`], JSON.stringify(told.$metadata));
    }
    return put[`Checksum${algorithm}`];
  },

  async presigned({ keys }) {
    for (const Key of keys) {
      const put = await getSignedUrl(client, new s3.PutObjectCommand({ Bucket, Key, ContentType: "text/x", Metadata: { mine: "a b" }, CacheControl: "no-store" }), { expiresIn: 60 });
      const told = await fetch(put, { method: "PUT", body: `content of ${Key}`, headers: { "content-type": "text/x", "cache-control": "no-store" } });
      assert.equal(told.status, 200, await told.text());
      const get = await getSignedUrl(client, new s3.GetObjectCommand({ Bucket, Key, ResponseContentType: "image/png" }), { expiresIn: 60 });
      const got = await fetch(get);
      assert.equal(got.headers.get("content-type"), "image/png");
      assert.equal(await got.text(), `content of ${Key}`);
      assert.deepEqual((await send("HeadObject", { Key })).Metadata, { mine: "a b" });
    }
  },

  async form() {
    const { url, fields } = await createPresignedPost(client, { Bucket, Key: "folder/${filename}", Conditions: [["content-length-range", 1, 100]], Fields: { "x-amz-meta-mine": "a b" } });
    const form = new FormData();
    for (const [field, value] of Object.entries(fields)) form.append(field, value);
    form.append("file", new Blob(["content"]), "file.txt");
    const told = await fetch(url, { method: "POST", body: form });
    assert.equal(told.status, 204, await told.text());
  },

  async versions() {
    await send("PutBucketVersioning", { VersioningConfiguration: { Status: "Enabled" } });
    const first = (await send("PutObject", { Key: "k", Body: "first" })).VersionId;
    await send("PutObject", { Key: "k", Body: "second" });
    const marker = (await send("DeleteObject", { Key: "k" })).VersionId;
    assert.equal(await refused(send("GetObject", { Key: "k" })), "404 NoSuchKey");
    const told = await send("ListObjectVersions", {});
    assert.deepEqual([told.Versions.length, told.DeleteMarkers[0].VersionId], [2, marker]);
    await send("DeleteObject", { Key: "k", VersionId: marker });
    return [(await bytes("k", { VersionId: first })).toString(), (await bytes("k")).toString()];
  },

  async put({ input }) {
    return refused(send("PutObject", { Key: "k", Body: "content", ...input }));
  },

  async send({ command, input }) {
    return refused(send(command, input));
  },
};

process.stdout.write(JSON.stringify((await jobs[name](rest)) ?? null));
