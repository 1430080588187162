package box

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/diag"
)

// Dotfiles are a person's files for the home of a box.
type Dotfiles struct {
	Dir     string // on this machine; "" for none
	Secrets bool   // what looks like a secret too
}

// maxDotfiles bounds their content, in bytes: they are held in memory.
const maxDotfiles = 64 << 20

// secrets are what gives access to something else, by path below the home.
var secrets = []string{".gnupg", ".aws", ".azure", ".kube", ".netrc", ".git-credentials", ".pgpass", ".docker/config.json", ".config/gh", ".config/gcloud", ".password-store", ".vault-token", ".npmrc", ".pypirc"}

// dotTree is what is copied of a directory.
type dotTree struct {
	d       Dotfiles
	root    *os.Root
	buf     bytes.Buffer
	w       *tar.Writer
	content int64
	left    []string // secrets
	out     []string // links that lead out
	files   int
}

// steps reads the files now, so that what is wrong with them is said before anything is
// made, and copies them later.
func (d Dotfiles) steps(out *Made) ([]Step, error) {
	if d.Dir == "" {
		return nil, nil
	}
	t, err := d.read()
	if err != nil {
		return nil, err
	}
	if len(t.left) > 0 {
		out.Notes = append(out.Notes, "dotfiles: these look like secrets and stay here: "+strings.Join(t.left, ", "))
	}
	if len(t.out) > 0 {
		out.Notes = append(out.Notes, "dotfiles: these links lead out of "+d.Dir+" and stay here: "+strings.Join(t.out, ", "))
	}
	if t.files == 0 {
		out.Notes = append(out.Notes, "dotfiles: "+d.Dir+" has none: names that begin with a point are copied")
	}
	return []Step{{Do: func(ctx context.Context, s *Server, b Box) error {
		x := script{"copy dotfiles", "the image needs tar", dotfilesText}
		_, err := s.ask(ctx, inside{b.ID, b.User}, x, t.buf.String(), b.User)
		return err
	}}}, nil
}

// dotfilesText unpacks an archive in the home of an account, as that account. What is in
// the way is replaced, links too.
const dotfilesText = `cd "/home/$1" && exec tar -xpof -`

func (d Dotfiles) read() (*dotTree, error) {
	root, err := os.OpenRoot(d.Dir)
	if err != nil {
		return nil, diag.New(diag.Usage, "read dotfiles", "name a directory that is there: '--dotfiles DIR'", "%w", err)
	}
	defer root.Close()
	t := &dotTree{d: d, root: root}
	t.w = tar.NewWriter(&t.buf)
	if err := t.below("."); err != nil {
		return nil, diag.New(diag.Failure, "read dotfiles", "", "%w", err)
	}
	return t, t.w.Close()
}

func (t *dotTree) below(dir string) error {
	list, err := fs.ReadDir(t.root.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		name := path.Join(dir, e.Name())
		if dir == "." && !strings.HasPrefix(name, ".") || litter(e.Name()) {
			continue
		}
		if err := t.entry(name); err != nil {
			return err
		}
	}
	return nil
}

// litter is what editors and systems leave, and the repository of the dotfiles.
func litter(name string) bool {
	if name == ".git" || name == ".DS_Store" {
		return true
	}
	return strings.HasSuffix(name, "~") || strings.HasSuffix(name, ".bak") || strings.HasSuffix(name, ".swp")
}

func (t *dotTree) entry(name string) error {
	fi, err := t.root.Lstat(name)
	if err != nil {
		return err
	}
	if name == ".ssh/authorized_keys" || !t.d.Secrets && secretName(name, fi) {
		t.left = append(t.left, name)
		return nil
	}
	switch {
	case fi.IsDir():
		h := &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: int64(fi.Mode().Perm()), ModTime: fi.ModTime()}
		if err := t.w.WriteHeader(h); err != nil {
			return err
		}
		return t.below(name)
	case fi.Mode()&fs.ModeSymlink != 0:
		return t.link(name, fi)
	case fi.Mode().IsRegular():
		return t.file(name)
	}
	return nil // sockets and the like are nobody's settings
}

// secretName knows secrets by their place. Of .ssh only what is public goes along.
func secretName(name string, fi fs.FileInfo) bool {
	if below, ok := strings.CutPrefix(name, ".ssh/"); ok && !fi.IsDir() {
		return below != "config" && !strings.HasPrefix(below, "known_hosts") && !strings.HasSuffix(below, ".pub")
	}
	return slices.Contains(secrets, name)
}

// link keeps a link that stays in the directory.
func (t *dotTree) link(name string, fi fs.FileInfo) error {
	text, err := t.root.Readlink(name)
	if err != nil {
		return err
	}
	if filepath.IsAbs(text) || !filepath.IsLocal(filepath.Join(filepath.Dir(name), text)) {
		t.out = append(t.out, name)
		return nil
	}
	t.files++
	return t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: text, Mode: 0o777, ModTime: fi.ModTime()})
}

func (t *dotTree) file(name string) error {
	f, err := t.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("%s changed while it was read", name))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxDotfiles-t.content+1))
	if err != nil {
		return err
	}
	if t.content += int64(len(data)); t.content > maxDotfiles {
		return fmt.Errorf("they have more than %d MiB", maxDotfiles>>20)
	}
	if !t.d.Secrets && privateKey(data) {
		t.left = append(t.left, name)
		return nil
	}
	t.files++
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(fi.Mode().Perm()), ModTime: fi.ModTime(), Size: int64(len(data))}
	if err := t.w.WriteHeader(h); err != nil {
		return err
	}
	_, err = t.w.Write(data)
	return err
}

// privateKey knows keys by their armour (RFC 7468, and PuTTY's own).
func privateKey(data []byte) bool {
	head := data[:min(len(data), 4<<10)]
	return bytes.Contains(head, []byte("PRIVATE KEY-----")) && bytes.Contains(head, []byte("-----BEGIN")) || bytes.HasPrefix(head, []byte("PuTTY-User-Key-File"))
}
