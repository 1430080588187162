//go:build !linux

package transfer

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
)

const (
	noDirSync = runtime.GOOS == "windows" // NTFS journals names
	noModes   = runtime.GOOS == "windows"
)

func moreInfo(*Info, fs.FileInfo)                          {}
func ownFile(fs.FileInfo) bool                             { return true }
func holeAt(*os.File, int64) int64                         { return 0 }
func startWriting(*os.File, int64, int64)                  {}
func lockFile(*os.File) error                              { return nil }
func syncFileSystem(*os.File) error                        { return errors.ErrUnsupported }
func canonicalOf(_ *os.Root, asked string) (string, error) { return asked, nil }
