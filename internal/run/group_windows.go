package run

import "os/exec"

// ownGroup leaves the default: Windows has no SIGTERM for console programs
// without a window, so ending the context kills the process.
func ownGroup(*exec.Cmd) {}

func killGroup(*exec.Cmd) {}
