package config

import "path/filepath"

// UserFile is the path of the user's configuration file; empty if the
// environment does not tell.
func UserFile(getenv func(string) string) string {
	if dir := getenv("AppData"); dir != "" {
		return filepath.Join(dir, "opsbelt", "config.toml")
	}
	return ""
}

// SystemDir is the directory of the system's configuration.
func SystemDir(getenv func(string) string) string {
	dir := getenv("ProgramData")
	if dir == "" {
		dir = `C:\ProgramData`
	}
	return filepath.Join(dir, "opsbelt")
}
