package backup

import (
	"context"
)

// Copy is another place for the backups of a job.
type Copy struct {
	// URL is a directory, sftp://[USER@]HOST[:PORT]/PATH, or
	// s3://BUCKET[/PREFIX].
	URL string
}

// Validate reports what is wrong with c.
func (c Copy) Validate() error { return nil }

// String names the place, without secrets.
func (c Copy) String() string { return c.URL }

func (c Copy) openPlace(_ context.Context, create bool) (place, error) {
	return openDir(c.URL, create)
}
