package link

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/pkg/sftp"

	"github.com/bowline-sh/bowline/internal/helperbin"
	"github.com/bowline-sh/bowline/internal/transport"
)

// placeSFTP writes the helper to the first of places, below home. Nothing is left of
// it after an error, and a helper that stands there already is only ever replaced
// whole.
func placeSFTP(ctx context.Context, conn transport.Subsystems, home string, b helperbin.Helper) error {
	proc, err := conn.Subsystem(ctx, "sftp")
	if err != nil {
		return err
	}
	defer proc.Close()
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	stop := context.AfterFunc(ctx, func() { _ = proc.Close() })
	defer stop()
	c, err := sftp.NewClientPipe(proc.Stdout(), proc.Stdin())
	if err != nil {
		return fmt.Errorf("talk SFTP: %w", err)
	}
	defer c.Close()
	dir := path.Join(home, ".cache/bowline/helper")
	if err := errors.Join(c.MkdirAll(dir), c.Chmod(dir, 0o700)); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	temp := path.Join(dir, ".new-"+rand.Text())
	err = sftpWrite(c, temp, b.Data)
	if err == nil {
		err = c.PosixRename(temp, path.Join(dir, b.SHA256))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", temp, err), c.Remove(temp))
	}
	return nil
}

// sftpWrite writes a new program that only its owner may read and run.
func sftpWrite(c *sftp.Client, name string, data []byte) error {
	f, err := c.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	if err := f.Chmod(0o700); err != nil {
		return errors.Join(err, f.Close())
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
