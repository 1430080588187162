//go:build !linux

package sandbox

import (
	"context"

	"github.com/bowline-sh/bowline/diag"
)

// Native is for Linux; elsewhere it refuses every command.
type Native struct{}

// NewNative returns a Native.
func NewNative(func(context.Context, Command) (Result, error)) *Native { return &Native{} }

// Exec refuses.
func (*Native) Exec(context.Context, Command) (Result, error) {
	return Result{}, diag.New(diag.Sandbox, "start sandbox", "use a remote target", "commands are confined on Linux only")
}

// Close does nothing.
func (*Native) Close() error { return nil }

// Watch is for Linux.
func Watch([]string) bool { return false }
