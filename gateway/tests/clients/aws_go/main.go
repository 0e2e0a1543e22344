// Command jobs does a job with the AWS SDK for Go, version 2: jobs JOB ENDPOINT BUCKET ARGUMENTS. The test that runs it
// compares what was moved; a job that finds a fault itself ends with 1. Keys come from AWS_ACCESS_KEY_ID and
// AWS_SECRET_ACCESS_KEY.
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
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

const part = 5 << 20

var (
	ctx    = context.Background()
	client *s3.Client
	bucket *string
)

var jobs = map[string]func(words []string) error{
	"upload": upload, "download": download, "streams": streams, "checksum": checksum, "headers": headers, "list": list, "remove": remove,
	"copies": copies, "ranges": ranges, "conditions": conditions, "presigned": presigned, "versions": versions, "refused": refused,
}

func main() {
	words := os.Args[1:]
	if err := run(words[0], words[1], words[2], words[3:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", words[0], err)
		os.Exit(1)
	}
}

func run(name, endpoint, ofBucket string, words []string) error {
	settings, err := config.LoadDefaultConfig(ctx, config.WithRegion("us-east-1"))
	if err != nil {
		return err
	}
	client = s3.NewFromConfig(settings, func(options *s3.Options) {
		options.BaseEndpoint = aws.String(endpoint)
		options.UsePathStyle = true
		options.RetryMaxAttempts = 1
	})
	bucket = aws.String(ofBucket)
	return jobs[name](words)
}

func uploader() *manager.Uploader {
	return manager.NewUploader(client, func(uploader *manager.Uploader) { uploader.PartSize = part })
}

// upload puts the named files of a folder.
func upload(words []string) error {
	for _, name := range words[1:] {
		file, err := os.Open(filepath.Join(words[0], name))
		if err != nil {
			return err
		}
		_, err = uploader().Upload(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String(name), Body: file})
		file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func download(words []string) error {
	downloader := manager.NewDownloader(client, func(downloader *manager.Downloader) { downloader.PartSize = part })
	for _, name := range words[1:] {
		path := filepath.Join(words[0], name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		_, err = downloader.Download(ctx, file, &s3.GetObjectInput{Bucket: bucket, Key: aws.String(name)})
		file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// streams puts a file as a stream of unknown length, which cannot be read twice.
func streams(words []string) error {
	file, err := os.Open(words[0])
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = uploader().Upload(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: io.MultiReader(file)})
	return err
}

// checksum puts a file in one piece and in parts, and reads both with their checksum.
func checksum(words []string) error {
	algorithm := types.ChecksumAlgorithm(words[0])
	content, err := os.ReadFile(words[1])
	if err != nil {
		return err
	}
	if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("whole"), Body: bytes.NewReader(content), ChecksumAlgorithm: algorithm}); err != nil {
		return fmt.Errorf("whole: %w", err)
	}
	if _, err := uploader().Upload(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("parts"), Body: bytes.NewReader(content), ChecksumAlgorithm: algorithm}); err != nil {
		return fmt.Errorf("parts: %w", err)
	}
	for _, key := range []string{"whole", "parts"} {
		got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String(key), ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		read, err := io.ReadAll(got.Body)
		if err != nil || !bytes.Equal(read, content) {
			return fmt.Errorf("%s: %d bytes, %w", key, len(read), err)
		}
	}
	return nil
}

func headers([]string) error {
	_, err := client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: bucket, Key: aws.String("k"), Body: strings.NewReader("content"), ContentType: aws.String("text/x"), CacheControl: aws.String("no-store"),
		Metadata: map[string]string{"mine": "a b"}, Tagging: aws.String("a=1&b%20c=d"), StorageClass: types.StorageClassStandardIa,
	})
	if err != nil {
		return err
	}
	told, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("k")})
	if err != nil {
		return err
	}
	if *told.ContentType != "text/x" || *told.CacheControl != "no-store" || told.Metadata["mine"] != "a b" || told.StorageClass != types.StorageClassStandardIa || *told.ContentLength != 7 {
		return fmt.Errorf("%v", told)
	}
	attributes, err := client.GetObjectAttributes(ctx, &s3.GetObjectAttributesInput{
		Bucket: bucket, Key: aws.String("k"), ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesEtag, types.ObjectAttributesObjectSize, types.ObjectAttributesChecksum},
	})
	if err != nil {
		return err
	}
	if *attributes.ObjectSize != 7 || attributes.Checksum == nil || `"`+*attributes.ETag+`"` != *told.ETag {
		return fmt.Errorf("%v", attributes)
	}
	tags, err := client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: bucket, Key: aws.String("k")})
	if err != nil {
		return err
	}
	if len(tags.TagSet) != 2 {
		return fmt.Errorf("%v", tags)
	}
	return nil
}

func list([]string) error {
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket, MaxKeys: aws.Int32(300)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, one := range page.Contents {
			fmt.Println(*one.Key, *one.Size)
		}
	}
	folders, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Delimiter: aws.String("/")})
	if err != nil {
		return err
	}
	for _, one := range folders.CommonPrefixes {
		fmt.Println(*one.Prefix)
	}
	return nil
}

func remove([]string) error {
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		names := make([]types.ObjectIdentifier, len(page.Contents))
		for at, one := range page.Contents {
			names[at].Key = one.Key
		}
		told, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: names}})
		if err != nil {
			return err
		}
		if len(told.Errors) > 0 || len(told.Deleted) != len(names) {
			return fmt.Errorf("%v", told.Errors)
		}
	}
	_, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket})
	return err
}

// copies copies an object in one piece, and in two parts of ranges.
func copies([]string) error {
	source := aws.String(*bucket + "/source%20%C3%BC%2B")
	if _, err := client.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("copy"), CopySource: source}); err != nil {
		return err
	}
	key := aws.String("parts")
	upload, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
	if err != nil {
		return err
	}
	var parts []types.CompletedPart
	for number, piece := range []string{"bytes=0-5242879", "bytes=5242880-8388608"} {
		number := aws.Int32(int32(number + 1))
		told, err := client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{Bucket: bucket, Key: key, UploadId: upload.UploadId, PartNumber: number, CopySource: source, CopySourceRange: aws.String(piece)})
		if err != nil {
			return err
		}
		parts = append(parts, types.CompletedPart{ETag: told.CopyPartResult.ETag, PartNumber: number})
	}
	_, err = client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: key, UploadId: upload.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	return err
}

func ranges(words []string) error {
	for _, piece := range words {
		got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("k"), Range: aws.String(piece)})
		if err != nil {
			return err
		}
		if _, err := io.Copy(os.Stdout, got.Body); err != nil {
			return err
		}
	}
	return nil
}

// conditions lets writers race to create an object, and writes what the winner wrote. Then an object is replaced only
// while its tag is the one that is named.
func conditions([]string) error {
	var wait sync.WaitGroup
	told := make([]error, 8)
	for number := range told {
		wait.Go(func() {
			body := strings.NewReader(fmt.Sprintf("writer %d", number))
			_, told[number] = client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: body, IfNoneMatch: aws.String("*")})
		})
	}
	wait.Wait()
	winners := 0
	for number, err := range told {
		switch {
		case err == nil:
			winners++
			fmt.Printf("writer %d", number)
		case code(err) != "412 PreconditionFailed" && code(err) != "409 ConditionalRequestConflict":
			return err
		}
	}
	if winners != 1 {
		return fmt.Errorf("%d winners", winners)
	}
	_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: strings.NewReader("x"), IfMatch: aws.String(`"00000000000000000000000000000000"`)})
	if code(err) != "412 PreconditionFailed" {
		return fmt.Errorf("another tag: %w", err)
	}
	return nil
}

func presigned(words []string) error {
	signer := s3.NewPresignClient(client)
	for _, key := range words {
		content := "content of " + key
		put, err := signer.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String(key)})
		if err != nil {
			return err
		}
		request, err := http.NewRequest(put.Method, put.URL, strings.NewReader(content))
		if err != nil {
			return err
		}
		if _, err := send(request); err != nil {
			return err
		}
		get, err := signer.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String(key)})
		if err != nil {
			return err
		}
		request, err = http.NewRequest(get.Method, get.URL, nil)
		if err != nil {
			return err
		}
		got, err := send(request)
		if err != nil {
			return err
		}
		if string(got) != content {
			return fmt.Errorf("%s: %q", key, got)
		}
	}
	return nil
}

func send(request *http.Request) ([]byte, error) {
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, body)
	}
	return body, err
}

func versions([]string) error {
	enabled := &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}
	if _, err := client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: bucket, VersioningConfiguration: enabled}); err != nil {
		return err
	}
	for _, text := range []string{"first", "second"} {
		if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: strings.NewReader(text)}); err != nil {
			return err
		}
	}
	if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: aws.String("k")}); err != nil {
		return err
	}
	told, err := client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: bucket})
	if err != nil {
		return err
	}
	if len(told.Versions) != 2 || len(told.DeleteMarkers) != 1 {
		return fmt.Errorf("%v", told)
	}
	for _, one := range told.Versions {
		got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: one.Key, VersionId: one.VersionId})
		if err != nil {
			return err
		}
		if _, err := io.Copy(os.Stdout, got.Body); err != nil {
			return err
		}
		fmt.Println()
	}
	return nil
}

// refused asks for what the store does not have, and writes the error.
func refused(words []string) error {
	key := aws.String("k")
	put := s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("other")}
	var err error
	switch words[0] {
	case "acl":
		put.ACL = types.ObjectCannedACLPublicRead
		_, err = client.PutObject(ctx, &put)
	case "sse":
		put.ServerSideEncryption = types.ServerSideEncryptionAes256
		_, err = client.PutObject(ctx, &put)
	case "policy":
		_, err = client.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String(`{"Version":"2012-10-17","Statement":[]}`)})
	case "hold":
		_, err = client.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{Bucket: bucket, Key: key, LegalHold: &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOn}})
	}
	fmt.Print(code(err))
	return nil
}

// code tells the status and the code of an error of the server.
func code(err error) string {
	var answer *awshttp.ResponseError
	var told smithy.APIError
	if !errors.As(err, &answer) || !errors.As(err, &told) {
		return fmt.Sprint(err)
	}
	return fmt.Sprint(answer.HTTPStatusCode(), " ", told.ErrorCode())
}
