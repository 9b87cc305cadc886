package testenv

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel kill the server when the test binary is killed.
// The signal is tied to the thread that started the server; Go ends threads
// only with goroutines that are locked to them, and tests have none.
func dieWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
