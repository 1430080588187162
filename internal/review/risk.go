package review

import (
	"path"
	"regexp"
	"strings"

	"github.com/bowline-sh/bowline/change"
)

// rule names a class of paths that deserve a second look.
type rule struct {
	match *regexp.Regexp
	risk  string
}

func rules() []rule {
	return []rule{
		{regexp.MustCompile(`^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$`), "users and groups"},
		{regexp.MustCompile(`^/etc/sudoers(\.d/|$)`), "sudo rules"},
		{regexp.MustCompile(`/\.ssh/authorized_keys2?$`), "who may log in"},
		{regexp.MustCompile(`^/etc/ssh/`), "SSH server"},
		{regexp.MustCompile(`^/etc/(pam\.d/|pam\.conf$|security/)`), "PAM"},
		{regexp.MustCompile(`^/etc/(crontab$|cron\.|anacrontab$)|^/var/spool/cron/`), "scheduled jobs"},
		{regexp.MustCompile(`^/(etc|lib|usr/lib|usr/local/lib)/systemd/system/`), "service units"},
		{regexp.MustCompile(`^/var/lib/(dpkg/status|rpm/|apk/)|^/lib/apk/db/`), "installed packages"},
		{regexp.MustCompile(`\.(pem|crt|cer|key|p12)$|^/etc/(ssl|pki|letsencrypt)/`), "certificates and keys"},
		{regexp.MustCompile(`^/etc/(resolv\.conf|hosts|nsswitch\.conf)$`), "name resolution"},
		{regexp.MustCompile(`^/etc/(profile|profile\.d/.*|bash\.bashrc|environment)$|/\.(bashrc|profile|zshrc|bash_profile)$`), "shell start-up"},
		{regexp.MustCompile(`^/etc/(nftables\.conf|iptables/|ufw/|firewalld/)`), "firewall"},
		{regexp.MustCompile(`^/(boot|lib/modules|etc/default/grub|etc/fstab)`), "boot"},
	}
}

// Risks says why a change deserves a second look; none for most.
func Risks(c change.Change) []string {
	var out []string
	for _, r := range rules() {
		if r.match.MatchString(string(c.Path)) {
			out = append(out, r.risk)
		}
	}
	const setuid, setgid = 0o4000, 0o2000
	if c.After.Type == change.File && c.After.Mode&(setuid|setgid) != 0 && c.Before.Mode&(setuid|setgid) != c.After.Mode&(setuid|setgid) {
		out = append(out, "setuid or setgid program")
	}
	if string(c.After.Xattrs["security.capability"]) != string(c.Before.Xattrs["security.capability"]) {
		out = append(out, "file capabilities")
	}
	if c.After.Mode&0o002 != 0 && c.After.Type != change.Symlink && c.After.Mode&0o1000 == 0 {
		out = append(out, "writable by everyone")
	}
	if c.After.Type == change.File && c.After.Mode&0o004 != 0 && secretName(string(c.Path)) {
		out = append(out, "secret readable by everyone")
	}
	return out
}

func secretName(p string) bool {
	base := strings.ToLower(path.Base(p))
	return strings.HasPrefix(base, "id_") && !strings.HasSuffix(base, ".pub") || strings.HasSuffix(base, ".key") || strings.Contains(base, "secret") || base == ".env"
}
