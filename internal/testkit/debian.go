//go:build unix

package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// DebianImage is what tests call the image of a [DebianTarball].
const DebianImage = "localhost/bowline-test-debian:12"

// DebianTarball is the root of a Debian with openssh-server, git and sudo, made by
// debootstrap once a machine, which takes a minute, root and a Debian mirror.
func DebianTarball(t testing.TB) string {
	t.Helper()
	file := debianFile(t)
	unlock := lock(t, file+".lock")
	defer unlock()
	if _, err := os.Stat(file); err == nil {
		return file
	}
	Root(t)
	dir := Dir(t)
	const script = `set -eu
debootstrap --variant=minbase --include=openssh-server,git,sudo,ca-certificates,curl bookworm "$1/root" >"$1/log" 2>&1 || { tail -20 "$1/log"; exit 1; }
rm -rf "$1"/root/var/cache/apt/archives/*.deb "$1"/root/etc/ssh/ssh_host_*
tar -C "$1/root" -cf "$2.new" .
mv "$2.new" "$2"`
	Tool(t, "debootstrap")
	if out, err := exec.Command("sh", "-c", script, "sh", dir, file).CombinedOutput(); err != nil {
		t.Fatalf("make a Debian: %v\n%s", err, out)
	}
	return file
}

func debianFile(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err == nil {
		err = os.MkdirAll(filepath.Join(cache, "bowline-test"), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "bowline-test", "debian-1.tar")
}
