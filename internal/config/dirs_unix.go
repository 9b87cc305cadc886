//go:build unix

package config

import (
	"path/filepath"
	"runtime"
)

// UserFile is the path of the user's configuration file; empty without a home
// directory, as under cron with an empty environment.
func UserFile(getenv func(string) string) string {
	if dir := getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "opsbelt", "config.toml")
	}
	home := getenv("HOME")
	switch {
	case home == "":
		return ""
	case runtime.GOOS == "darwin":
		return filepath.Join(home, "Library", "Application Support", "opsbelt", "config.toml")
	}
	return filepath.Join(home, ".config", "opsbelt", "config.toml")
}

// SystemDir is the directory of the system's configuration.
func SystemDir(func(string) string) string { return "/etc/opsbelt" }
