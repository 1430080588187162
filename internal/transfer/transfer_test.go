package transfer_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/transfer"
)

// flip changes one byte of a stream on its way.
type flip struct {
	net.Conn
	at int64
}

func (f *flip) Write(p []byte) (int, error) {
	if f.at >= 0 && f.at < int64(len(p)) {
		p = bytes.Clone(p)
		p[f.at] ^= 1
	}
	f.at -= int64(len(p))
	return f.Conn.Write(p)
}

// patience bounds one transfer of a test.
const patience = 2 * time.Second

// run sends list from src to dst and returns the results as the receiver has them.
func run(t *testing.T, list []transfer.Found, dst string, send func(net.Conn) io.ReadWriter, so transfer.SendOptions, ro transfer.ReceiveOptions) (results []transfer.Result, err error) {
	t.Helper()
	a, b := net.Pipe()
	// A length that was changed on the way makes one half wait for what never comes.
	if err := a.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if err := b.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		err := transfer.Send(t.Context(), transfer.Machine{}.Open, list, send(a), so)
		_ = a.Close()
		sent <- err
	}()
	tree, err := transfer.Machine{}.Open(dst)
	if err != nil {
		t.Fatal(err)
	}
	ro.UID, ro.GID = -1, -1
	ro.Done = func(r transfer.Result) { results = append(results, r) }
	err = transfer.Receive(t.Context(), tree, b, ro)
	_ = b.Close()
	return results, errors.Join(err, <-sent, tree.Close())
}

func plain(c net.Conn) io.ReadWriter { return c }

func scan(t *testing.T, p string) (list []transfer.Found) {
	t.Helper()
	err := transfer.Scan(t.Context(), transfer.Machine{}, transfer.ScanRequest{Paths: [][]byte{[]byte(p)}, Recursive: true},
		transfer.Scanner{Found: func(f transfer.Found) error { f.Index = len(list); list = append(list, f); return nil }, Notice: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func write(t *testing.T, p string, data []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// noTemps fails if dir holds a temporary.
func noTemps(t *testing.T, dir string) {
	t.Helper()
	if list, err := filepath.Glob(filepath.Join(dir, ".bowline-*")); err != nil || len(list) > 0 {
		t.Errorf("left behind: %q, %v", list, err)
	}
}

// TestFlippedByte: whatever byte of a transfer is changed, nothing is called
// verified that differs, and the existing file stands or is replaced by the right
// one.
func TestFlippedByte(t *testing.T) {
	src, data := filepath.Join(t.TempDir(), "src"), bytes.Repeat([]byte("0123456789abcdef"), 40)
	write(t, src, data)
	list := scan(t, src)
	mismatched := 0
	for at := int64(0); at < 900; at += 7 {
		dst := t.TempDir()
		write(t, filepath.Join(dst, "src"), []byte("old"))
		results, err := run(t, list, dst, func(c net.Conn) io.ReadWriter { return &flip{c, at} }, transfer.SendOptions{},
			transfer.ReceiveOptions{Accept: func(e *transfer.Entry) error {
				if string(e.Path) != "src" {
					return errors.New("not asked for")
				}
				return nil
			}})
		got, rerr := os.ReadFile(filepath.Join(dst, "src"))
		if rerr != nil || !bytes.Equal(got, data) && string(got) != "old" {
			t.Fatalf("byte %d: the file holds %d bytes, %v", at, len(got), rerr)
		}
		for _, r := range results {
			if r.Status == transfer.Mismatched {
				mismatched++
			}
			if r.Status.OK() && !bytes.Equal(got, data) {
				t.Errorf("byte %d: %+v, %v", at, r, err)
			}
		}
		noTemps(t, dst)
	}
	if mismatched < 50 {
		t.Errorf("only %d mismatches were noticed as such", mismatched)
	}
}

// growing appends to the file while it is read.
type growing struct {
	net.Conn
	change func()
	seen   int
}

func (g *growing) Write(p []byte) (int, error) {
	if g.seen += len(p); g.seen > 2<<20 && g.change != nil {
		g.change()
		g.change = nil
	}
	return g.Conn.Write(p)
}

func TestChangedWhileRead(t *testing.T) {
	for name, change := range map[string]func(p string) error{
		"grows": func(p string) error {
			f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString("more")
				err = errors.Join(err, f.Close())
			}
			return err
		},
		"shrinks": func(p string) error { return os.Truncate(p, 3<<20) },
		"rewritten": func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("new"), 7<<20)
				err = errors.Join(err, f.Close())
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
			write(t, src, make([]byte, 8<<20))
			f, err := os.OpenFile(src, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(f, bytes.NewReader(bytes.Repeat([]byte{1}, 8<<20))); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dst, "src"), []byte("old"))
			results, err := run(t, scan(t, src), dst, func(c net.Conn) io.ReadWriter {
				return &growing{Conn: c, change: func() {
					if err := change(src); err != nil {
						t.Error(err)
					}
				}}
			}, transfer.SendOptions{}, transfer.ReceiveOptions{})
			if err != nil || len(results) != 1 || results[0].Status != transfer.Changed {
				t.Errorf("%+v, %v", results, err)
			}
			if got, _ := os.ReadFile(filepath.Join(dst, "src")); string(got) != "old" {
				t.Errorf("the file holds %d bytes", len(got))
			}
			noTemps(t, dst)
		})
	}
}

// TestHostileNames: a sending half cannot write outside of the destination.
func TestHostileNames(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	write(t, src, []byte("evil"))
	good := scan(t, src)[0]
	top := t.TempDir()
	dst := filepath.Join(top, "dst")
	for _, name := range []string{"../evil", "/tmp/bowline-evil", "a/../../evil", "..", "", ".", "a//b", "./evil", "evil/", "nul\x00", "a/../b"} {
		if err := os.MkdirAll(dst, 0o755); err != nil {
			t.Fatal(err)
		}
		bad := good
		bad.Path = []byte(name)
		if results, err := run(t, []transfer.Found{bad}, dst, plain, transfer.SendOptions{}, transfer.ReceiveOptions{}); err == nil {
			t.Errorf("%q was accepted: %+v", name, results)
		}
	}
	// A link first, then something through it.
	link, through := good, good
	link.Type, link.Path, link.Link, link.Index = transfer.Symlink, []byte("way"), []byte(top), 1
	through.Path = []byte("way/evil")
	results, err := run(t, []transfer.Found{link, through}, dst, plain, transfer.SendOptions{}, transfer.ReceiveOptions{})
	if len(results) != 2 || results[1].Status.OK() {
		t.Errorf("%+v, %v", results, err)
	}
	for _, p := range []string{filepath.Join(top, "evil"), "/tmp/bowline-evil"} {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s exists: %v", p, err)
		}
	}
}

func TestPolicy(t *testing.T) {
	p := transfer.Policy{Allow: []string{"/srv", "/home/a"}, Refuse: []string{"/srv/secret"}}
	for name, ok := range map[string]bool{
		"/srv": true, "/srv/x": true, "/srvx": false, "/srv/../etc": false, "/": false, "/home": false, "/home/a/b": true,
		"/srv/secret": false, "/srv/secret/x": false, "/srv/secrets": true, "/srv/x/../secret": false,
	} {
		if err := p.Check(name); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAbsAt(t *testing.T) {
	for p, want := range map[string]string{"x": "/home/u/x", "~/x": "/home/u/x", "~": "/home/u", ".": "/home/u", "../x": "/home/x", "/a/../b": "/b", "~other/x": "", "": "", "a\x00": ""} {
		if got, err := transfer.AbsAt("/home/u", p); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", p, got, err)
		}
	}
}

// FuzzReceive: whatever arrives, nothing is written outside and nothing panics.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("E\x00\x00\x00\x1b" + `{"i":0,"p":"YQ==","t":"file"}`))
	f.Add([]byte("S\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		top := t.TempDir()
		dst := filepath.Join(top, "dst")
		if err := os.Mkdir(dst, 0o755); err != nil {
			t.Fatal(err)
		}
		tree, err := transfer.Machine{}.Open(dst)
		if err != nil {
			t.Fatal(err)
		}
		_ = transfer.Receive(t.Context(), tree, struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(in), io.Discard}, transfer.ReceiveOptions{UID: -1, GID: -1})
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
		list, err := os.ReadDir(top)
		if err != nil || len(list) != 1 {
			t.Errorf("%v, %v", list, err)
		}
		if left, err := filepath.Glob(filepath.Join(dst, ".bowline-*.part")); err != nil || len(left) > 0 && !strings.Contains(string(in), "bowline") {
			t.Errorf("%q, %v", left, err)
		}
	})
}
