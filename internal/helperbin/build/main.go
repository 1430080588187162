// Command build makes the helper programs and packs them for embedding. The
// result depends on the sources and the Go version alone.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/bowline-sh/bowline/internal/helperbin"
)

func main() {
	for _, arch := range helperbin.Arches() {
		if err := build(arch); err != nil {
			fmt.Fprintln(os.Stderr, "build helper:", err)
			os.Exit(1)
		}
	}
}

func build(arch string) error {
	dir, err := os.MkdirTemp("", "bowline-helper")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "helper")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out, "./cmd/bowline-helper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", arch, err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	packed := enc.EncodeAll(data, nil)
	return os.WriteFile(filepath.Join("internal", "helperbin", "dist", "helper_linux_"+arch+".zst"), packed, 0o644)
}
