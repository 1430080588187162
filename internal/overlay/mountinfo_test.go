//go:build linux

package overlay

import (
	"slices"
	"strings"
	"testing"
)

const hostMounts = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
24 27 0:6 / /dev rw - devtmpfs devtmpfs rw
26 24 0:24 / /dev/pts rw - devpts devpts rw
29 26 0:26 / /dev/pts rw - devpts devpts rw
30 27 0:40 / /a rw - tmpfs hidden rw
31 30 0:41 / /a/b rw - tmpfs below rw
32 30 0:42 / /a rw,nosuid - tmpfs top rw
33 27 0:43 / /sp\040ace\134x\012y ro,nosuid,nodev - tmpfs odd rw
34 27 0:44 / /ab rw - tmpfs other rw
`

func TestVisible(t *testing.T) {
	all, err := parseMounts(strings.NewReader(hostMounts))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range visible(all) {
		got = append(got, m.point+" "+m.source)
	}
	want := []string{
		"/ /dev/vda", "/a top", "/ab other", "/dev devtmpfs", "/proc proc", "/dev/pts devpts", "/sp ace\\x\ny odd",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(hostMounts)
	f.Fuzz(func(t *testing.T, in string) {
		all, err := parseMounts(strings.NewReader(in))
		if err != nil {
			return
		}
		if n := len(visible(all)); n > len(all) {
			t.Errorf("%d of %d mounts are visible", n, len(all))
		}
	})
}

func TestVolatile(t *testing.T) {
	rs := rules(append(DefaultVolatile(), "/home/*/.cache"))
	for p, want := range map[string]volatility{
		"/tmp": volatileAll, "/tmp/x/y": volatileAll, "/tmpx": state, "/run/a": volatileAll, "/etc/x": state, "/run/.bowline/defer": volatileAll,
		"/var/log/nginx": volatileFiles, "/var/log": volatileFiles, "/var/cache/debconf/config.dat": state, "/var/cache/apt/pkgcache.bin": volatileFiles,
		"/home/a/.cache/x": volatileAll, "/home/a/.cached": state, "/home/.cache": state, "/": state, "/etc/.pwd.lock": volatileAll,
	} {
		if got := rs.of(p); got != want {
			t.Errorf("%s: %d, want %d", p, got, want)
		}
	}
}

func TestStubText(t *testing.T) {
	for text, want := range map[string]string{
		stubText("/usr/bin/x"): "/usr/bin/x", stubText("/a") + "more": "", "#!/bin/sh\n": "", stubMark: "", "": "",
	} {
		if got, ok := stubOf([]byte(text)); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
}

// FuzzOrigin holds the reader of file handles to its bounds.
func FuzzOrigin(f *testing.F) {
	f.Add([]byte("\x00\xfb\x1d\x00\x01uuiduuiduuiduuid12345678"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, ok := parseOrigin(b); ok && len(o.handle)+fbHeader != len(b) {
			t.Errorf("%d bytes of %d", len(o.handle), len(b))
		}
	})
}
