package atomicfile

// SyncDir does nothing: NTFS journals names itself and a directory handle
// cannot be flushed.
func SyncDir(string) error { return nil }
