package ssh

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// fuzzKey is a fixed key: seeds must not change from run to run.
func fuzzKey(t testing.TB) ssh.PublicKey {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJWRmZpNQqP1Y1nUpEG1Gw0sVtYyHh3Yl1Uj6ZkU7c0K"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// FuzzKnownHosts holds the parser to two promises: no input makes it panic, and
// no file that does not hold a key makes that key trusted.
func FuzzKnownHosts(f *testing.F) {
	key := fuzzKey(f)
	text := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	for _, seed := range []string{
		"", "#", "@cert-authority * " + text, "@revoked * " + text, "web1 " + text, "[web1]:22 " + text,
		"|1|AAAA|BBBB " + text, "|1||| " + text, "*,!web1 " + text, "@cert-authority @revoked * " + text,
		"web1 ssh-rsa AAAA", "web1 ssh-ed25519 " + text, "\x00 \x00 \x00", "web1 " + text[:40], "!", ",,, a b", "web? " + text,
		knownhosts.HashHostname("web1") + " " + text,
	} {
		f.Add(seed)
	}
	blob := base64.StdEncoding.EncodeToString(key.Marshal())
	f.Fuzz(func(t *testing.T, in string) {
		p := hostPolicy{identify("web1", 2222, ""), []*hostFile{parseHostFile([]byte(in), "f")}, time.Now}
		h := p.judge(key)
		if (h.Trust == Known || h.Trust == Certified) && !strings.Contains(in, blob) {
			t.Errorf("%q makes a key %s that it does not hold", in, h.Trust)
		}
		if h.Trust == Certified {
			t.Errorf("%q certifies a plain key", in)
		}
		for _, a := range p.algorithms() {
			//lint:ignore SA1019 the weak algorithm is what must be refused
			if a == ssh.KeyAlgoRSA || a == ssh.InsecureKeyAlgoDSA {
				t.Errorf("%q makes us offer %s", in, a)
			}
		}
	})
}

// FuzzProxyCommand holds the expansion to its promise: it adds nothing to the
// command that a shell could read as more than words.
func FuzzProxyCommand(f *testing.F) {
	f.Add("nc %h %p", "host", "user")
	f.Add("nc %h", "a;b", "u")
	f.Add("%%%", "$(x)", "`y`")
	f.Add("%r@%n", "-o", "a\nb")
	f.Fuzz(func(t *testing.T, command, host, user string) {
		got, err := expandProxyCommand(command, endpoint{original: host, host: host, port: 22, user: user})
		if err != nil {
			return
		}
		const special = ";|&$`<>(){}*?[]!#~'\"\\ \t\n\r\x00"
		for _, c := range special {
			if strings.Count(got, string(c)) > strings.Count(command, string(c)) {
				t.Errorf("%q with host %q and login %q gives %q", command, host, user, got)
			}
		}
	})
}

// FuzzSettings: whatever "ssh -G" prints is read or refused.
func FuzzSettings(f *testing.F) {
	f.Add("hostname a\nport 22\nuser u\nidentityfile ~/.ssh/%h\nuserknownhostsfile \"a b\" c\n")
	f.Add("port 0\nproxyjump none\nidentityagent $X\n%")
	f.Fuzz(func(t *testing.T, out string) {
		s, err := parseSettings(out, settingsKey{host: "web1"})
		if err == nil && (s.host == "" || s.port < 1 || s.port > 65535) {
			t.Errorf("%q gives %+v", out, s)
		}
	})
}
