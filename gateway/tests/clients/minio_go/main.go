// Command jobs does a job with minio-go: jobs JOB ADDRESS BUCKET ARGUMENTS. The test that runs it compares what was moved;
// a job that finds a fault itself ends with 1. Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/minio/minio-go/v7/pkg/tags"
)

const part = 5 << 20

var (
	ctx    = context.Background()
	client *minio.Client
	bucket string
)

var algorithms = map[string]minio.ChecksumType{
	"CRC32": minio.ChecksumCRC32, "CRC32C": minio.ChecksumCRC32C, "CRC64NVME": minio.ChecksumCRC64NVME, "SHA1": minio.ChecksumSHA1, "SHA256": minio.ChecksumSHA256,
}

var jobs = map[string]func(words []string) error{
	"upload": upload, "download": download, "streams": streams, "checksum": checksum, "headers": headers, "list": list, "remove": remove,
	"copies": copies, "ranges": ranges, "conditions": conditions, "presigned": presigned, "refused": refused,
}

func main() {
	words := os.Args[1:]
	var err error
	client, err = minio.New(words[1], &minio.Options{Creds: credentials.NewEnvAWS(), Region: "us-east-1", TrailingHeaders: true})
	if err == nil {
		bucket = words[2]
		err = jobs[words[0]](words[3:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// upload puts the named files of a folder.
func upload(words []string) error {
	for _, name := range words[1:] {
		if _, err := client.FPutObject(ctx, bucket, name, filepath.Join(words[0], name), minio.PutObjectOptions{PartSize: part}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func download(words []string) error {
	for _, name := range words[1:] {
		if err := client.FGetObject(ctx, bucket, name, filepath.Join(words[0], name), minio.GetObjectOptions{}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// streams puts a file as a stream of unknown length: parts one after the other, and several at a time.
func streams(words []string) error {
	for name, concurrent := range map[string]bool{"serial": false, "parallel": true} {
		file, err := os.Open(words[0])
		if err != nil {
			return err
		}
		defer file.Close()
		options := minio.PutObjectOptions{PartSize: part, NumThreads: 3, ConcurrentStreamParts: concurrent}
		if _, err := client.PutObject(ctx, bucket, name, io.MultiReader(file), -1, options); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// checksum puts a file in one piece, in parts of a file and in parts of a stream, with a checksum in trailers.
func checksum(words []string) error {
	algorithm := algorithms[words[0]]
	content, err := os.ReadFile(words[1])
	if err != nil {
		return err
	}
	whole := minio.PutObjectOptions{Checksum: algorithm, DisableMultipart: true}
	if _, err := client.PutObject(ctx, bucket, "whole", bytes.NewReader(content), int64(len(content)), whole); err != nil {
		return fmt.Errorf("whole: %w", err)
	}
	parts := minio.PutObjectOptions{Checksum: algorithm, PartSize: part}
	if _, err := client.FPutObject(ctx, bucket, "parts", words[1], parts); err != nil {
		return fmt.Errorf("parts: %w", err)
	}
	if _, err := client.PutObject(ctx, bucket, "stream", io.MultiReader(bytes.NewReader(content)), -1, parts); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	return nil
}

// headers uses tags of ASCII, because the client drops others without a word.
func headers([]string) error {
	options := minio.PutObjectOptions{ContentType: "text/x", CacheControl: "no-store", UserMetadata: map[string]string{"Mine": "a b"}, UserTags: map[string]string{"a": "1", "b c": "d e"}}
	if _, err := client.PutObject(ctx, bucket, "k", bytes.NewReader([]byte("content")), 7, options); err != nil {
		return err
	}
	told, err := client.StatObject(ctx, bucket, "k", minio.StatObjectOptions{})
	if err != nil {
		return err
	}
	if told.ContentType != "text/x" || told.UserMetadata["Mine"] != "a b" || told.Metadata.Get("Cache-Control") != "no-store" {
		return fmt.Errorf("%v", told)
	}
	found, err := client.GetObjectTagging(ctx, bucket, "k", minio.GetObjectTaggingOptions{})
	if err != nil {
		return err
	}
	if len(found.ToMap()) != 2 || found.ToMap()["b c"] != "d e" {
		return fmt.Errorf("%v", found)
	}
	team, err := tags.NewTags(map[string]string{"team": "x"}, false)
	if err != nil {
		return err
	}
	return client.SetBucketTagging(ctx, bucket, team)
}

func list(words []string) error {
	for one := range client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Recursive: true, MaxKeys: 300}) {
		if one.Err != nil {
			return one.Err
		}
		fmt.Println(one.Key, one.Size)
	}
	return nil
}

func remove([]string) error {
	for failed := range client.RemoveObjects(ctx, bucket, client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Recursive: true}), minio.RemoveObjectsOptions{}) {
		return failed.Err
	}
	return client.RemoveBucket(ctx, bucket)
}

// copies copies an object whole, and composes one of an object and a range of another.
func copies([]string) error {
	source := minio.CopySrcOptions{Bucket: bucket, Object: "source ü+"}
	if _, err := client.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: "copy"}, source); err != nil {
		return err
	}
	piece := source
	piece.MatchRange, piece.Start, piece.End = true, 1<<20, 7<<20-1
	_, err := client.ComposeObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: "composed"}, source, piece)
	return err
}

// ranges writes ranges FIRST LAST FIRST LAST and so on, one after the other; then the last bytes by seeking.
func ranges(words []string) error {
	for ; len(words) > 1; words = words[2:] {
		first, _ := strconv.ParseInt(words[0], 10, 64)
		last, _ := strconv.ParseInt(words[1], 10, 64)
		options := minio.GetObjectOptions{}
		if err := options.SetRange(first, last); err != nil {
			return err
		}
		object, err := client.GetObject(ctx, bucket, "k", options)
		if err != nil {
			return err
		}
		if _, err := io.Copy(os.Stdout, object); err != nil {
			return err
		}
	}
	object, err := client.GetObject(ctx, bucket, "k", minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	if _, err := object.Seek(-7, io.SeekEnd); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, object)
	return err
}

// conditions lets eight writers put at the same time, first where no object is, then where one is unchanged.
func conditions([]string) error {
	if _, err := winner(0, func(options *minio.PutObjectOptions) { options.SetMatchETagExcept("*") }); err != nil {
		return err
	}
	told, err := client.StatObject(ctx, bucket, "k", minio.StatObjectOptions{})
	if err != nil {
		return err
	}
	second, err := winner(10, func(options *minio.PutObjectOptions) { options.SetMatchETag(told.ETag) })
	fmt.Print(second)
	return err
}

func winner(first int, condition func(*minio.PutObjectOptions)) (string, error) {
	var writers sync.WaitGroup
	told := make([]error, 8)
	for number := range told {
		writers.Go(func() {
			options := minio.PutObjectOptions{}
			condition(&options)
			content := fmt.Appendf(nil, "writer %d", first+number)
			_, told[number] = client.PutObject(ctx, bucket, "k", bytes.NewReader(content), int64(len(content)), options)
		})
	}
	writers.Wait()
	winners := []string{}
	for number, err := range told {
		status := minio.ToErrorResponse(err).StatusCode
		if err == nil {
			winners = append(winners, fmt.Sprintf("writer %d", first+number))
		} else if status != http.StatusPreconditionFailed && status != http.StatusConflict {
			return "", err
		}
	}
	if len(winners) != 1 {
		return "", fmt.Errorf("winners: %v", winners)
	}
	return winners[0], nil
}

func presigned(words []string) error {
	for _, key := range words {
		put, err := client.PresignedPutObject(ctx, bucket, key, time.Minute)
		if err != nil {
			return err
		}
		request, err := http.NewRequest(http.MethodPut, put.String(), bytes.NewReader([]byte("content of "+key)))
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return errors.New(answer.Status)
		}
		get, err := client.PresignedGetObject(ctx, bucket, key, time.Minute, nil)
		if err != nil {
			return err
		}
		answer, err = http.Get(get.String())
		if err != nil {
			return err
		}
		content, err := io.ReadAll(answer.Body)
		if err != nil {
			return err
		}
		if string(content) != "content of "+key {
			return fmt.Errorf("%s: %s", answer.Status, content)
		}
	}
	return nil
}

// refused writes the status and the code of a request that must fail.
func refused(words []string) error {
	content := bytes.NewReader([]byte("other"))
	var err error
	switch words[0] {
	case "append":
		_, err = client.AppendObject(ctx, bucket, "k", content, 5, minio.AppendObjectOptions{})
	case "sse":
		_, err = client.PutObject(ctx, bucket, "k", content, 5, minio.PutObjectOptions{ServerSideEncryption: encrypt.NewSSE()})
	case "policy":
		err = client.SetBucketPolicy(ctx, bucket, `{"Version": "2012-10-17"}`)
	}
	told := minio.ToErrorResponse(err)
	fmt.Print(told.StatusCode, " ", told.Code)
	return nil
}
