//go:build !linux

package helper

import (
	"context"
	"errors"

	"github.com/bowline-sh/bowline/internal/frame"
)

// The helper is a Linux program; elsewhere this package serves the client, which
// needs the types of the calls.
var errLinux = errors.New("dry runs and applies happen on Linux targets only")

func planSession(context.Context, *frame.Request) (any, error)  { return nil, errLinux }
func remove(*frame.Request) (any, error)                        { return nil, errLinux }
func confirm(context.Context, *frame.Request) (any, error)      { return nil, errLinux }
func heads(*frame.Request) (any, error)                         { return nil, errLinux }
func takeOver()                                                 {}
func selectOps(context.Context, *frame.Request) (any, error)    { return nil, errLinux }
func drift(context.Context, *frame.Request) (any, error)        { return nil, errLinux }
func transferVerb(context.Context, *frame.Request) (any, error) { return nil, errLinux }
func sessionVerb(context.Context, *frame.Request) (any, error)  { return nil, errLinux }

// Supervise is for the helper's main.
func Supervise(string) {}

// Main is for the helper's main.
func Main([]string) (handled bool, code int) { return false, 0 }
