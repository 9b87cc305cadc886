//go:build !linux

package convert

import "testing"

func smallDisk(t *testing.T) string {
	t.Skip("a small disk can only be mounted on Linux")
	return ""
}
