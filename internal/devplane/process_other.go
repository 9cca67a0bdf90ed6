//go:build !linux

package devplane

import "syscall"

// dieWithParent does nothing: only Linux tells a child of its parent's death.
// A parent that is killed here leaves its servers running.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}
