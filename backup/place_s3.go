package backup

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
)

// s3Place is a prefix of an S3 bucket. Objects appear there when they are
// complete, so that no temporary names are needed.
type s3Place struct {
	name   string
	bucket string
	prefix string // empty or ending with a slash
	class  string
	c      *minio.Client
}

func openS3(ctx context.Context, u *url.URL, name, _ string) (*s3Place, error) {
	q := u.Query()
	endpoint := &url.URL{Scheme: "https", Host: "s3.amazonaws.com"}
	if e := q.Get("endpoint"); e != "" {
		var err error
		if endpoint, err = url.Parse(e); err != nil {
			return nil, exit.Errorf(exit.Usage, "endpoint: %w", err)
		}
	}
	creds, err := s3Credentials(q)
	if err != nil {
		return nil, err
	}
	c, err := minio.New(endpoint.Host, &minio.Options{
		Creds:      creds,
		Secure:     endpoint.Scheme == "https",
		Region:     q.Get("region"),
		MaxRetries: 4,
	})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	p := &s3Place{name: name, bucket: u.Host, prefix: strings.Trim(u.Path, "/"), class: q.Get("storage_class"), c: c}
	if p.prefix != "" {
		p.prefix += "/"
	}
	ok, err := c.BucketExists(ctx, p.bucket)
	if err != nil {
		return nil, s3Error(err)
	}
	if !ok {
		return nil, exit.Errorf(exit.Failed, "there is no bucket %s", p.bucket)
	}
	return p, nil
}

// s3Credentials looks where AWS's own tools look; a file that was named must
// be private.
func s3Credentials(q url.Values) (*credentials.Credentials, error) {
	profile := q.Get("profile")
	if file := q.Get("credentials_file"); file != "" {
		file = expandHome(file)
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("credentials file: %w", err)
		}
		err = secret.CheckPrivate(f)
		_ = f.Close() // opened for reading
		if err != nil {
			return nil, err
		}
		return credentials.NewFileAWSCredentials(file, profile), nil
	}
	if profile != "" {
		return credentials.NewFileAWSCredentials("", profile), nil
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
	}), nil
}

// s3Error gives the server's refusals their meaning.
func s3Error(err error) error {
	if err == nil {
		return nil
	}
	switch minio.ToErrorResponse(err).Code {
	case "NoSuchKey":
		return fmt.Errorf("%w (%w)", fs.ErrNotExist, err)
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken":
		return exit.With(exit.Denied, err)
	}
	return err
}

func (p *s3Place) String() string         { return p.name }
func (p *s3Place) key(name string) string { return p.prefix + name }
func (p *s3Place) close() error           { return nil }

func (p *s3Place) list(ctx context.Context) ([]fileInfo, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var out []fileInfo
	for o := range p.c.ListObjects(ctx, p.bucket, minio.ListObjectsOptions{Prefix: p.prefix}) {
		if o.Err != nil {
			return nil, fmt.Errorf("list %s: %w", p, s3Error(o.Err))
		}
		name := strings.TrimPrefix(o.Key, p.prefix)
		if name == "" || strings.Contains(name, "/") {
			continue
		}
		out = append(out, fileInfo{name: name, size: o.Size})
	}
	return out, nil
}

func (p *s3Place) open(ctx context.Context, name string) (io.ReadCloser, error) {
	o, err := p.c.GetObject(ctx, p.bucket, p.key(name), minio.GetObjectOptions{})
	if err != nil {
		return nil, s3Error(err)
	}
	if _, err := o.Stat(); err != nil { // GetObject asks the server only now
		_ = o.Close()
		return nil, s3Error(err)
	}
	return o, nil
}

func (p *s3Place) put(ctx context.Context, name string, r io.Reader, size int64) error {
	_, err := p.c.StatObject(ctx, p.bucket, p.key(name), minio.StatObjectOptions{})
	if err == nil {
		return fmt.Errorf("%s/%s: %w", p.bucket, p.key(name), fs.ErrExist)
	}
	if err = s3Error(err); !isNotExist(err) {
		return err
	}
	return p.replace(ctx, name, r, size)
}

func (p *s3Place) replace(ctx context.Context, name string, r io.Reader, size int64) error {
	_, err := p.c.PutObject(ctx, p.bucket, p.key(name), r, size, minio.PutObjectOptions{
		ContentType:  "application/octet-stream",
		StorageClass: p.class,
		// The server compares what arrives with what was sent.
		SendContentMd5: true,
	})
	return s3Error(err)
}

func (p *s3Place) remove(ctx context.Context, name string) error {
	return s3Error(p.c.RemoveObject(ctx, p.bucket, p.key(name), minio.RemoveObjectOptions{}))
}

// uploadLives is how long an upload in parts may belong to a run that goes on.
const uploadLives = 24 * time.Hour

// clean abandons uploads in parts that a killed run of the job began: nobody
// sees them, but they are paid for.
func (p *s3Place) clean(ctx context.Context, job string) (removed []string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range p.c.ListIncompleteUploads(ctx, p.bucket, p.prefix, false) {
		if o.Err != nil {
			// Not every server has this call, and not every user may use it.
			return removed, nil //nolint:nilerr // see above
		}
		name := strings.TrimPrefix(o.Key, p.prefix)
		if path.Base(name) != name || !isOwn(name, job) || time.Since(o.Initiated) < uploadLives {
			continue
		}
		if err := p.c.RemoveIncompleteUpload(ctx, p.bucket, o.Key); err != nil {
			return removed, s3Error(err)
		}
		removed = append(removed, name)
	}
	return removed, nil
}
