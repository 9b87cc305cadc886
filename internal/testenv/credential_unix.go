//go:build unix

package testenv

import "syscall"

func setCredential(attr *syscall.SysProcAttr, a *account) {
	attr.Credential = &syscall.Credential{Uid: a.Uid, Gid: a.Gid}
}
