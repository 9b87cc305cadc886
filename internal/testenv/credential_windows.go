package testenv

import "syscall"

// setCredential does nothing: nobody is root on Windows.
func setCredential(*syscall.SysProcAttr, *account) {}
