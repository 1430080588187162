package review

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bowline-sh/bowline/change"
)

const (
	setuid = 0o4000
	setgid = 0o2000
	sticky = 0o1000
)

// judgeState looks at modes, owners and attributes, of any path.
func (s *subject) judgeState() {
	if s.c.After.Absent() || s.c.After.Type == change.Symlink {
		return
	}
	s.judgeSetuid()
	s.judgeCapabilities()
	s.judgeWritable()
	s.judgeOwner()
	s.judgeACL()
	s.judgeDevice()
	s.judgeSecret()
}

func (s *subject) judgeSetuid() {
	b, a := s.c.Before, s.c.After
	if a.Type != change.File {
		return
	}
	was, is := b.Mode&(setuid|setgid), a.Mode&(setuid|setgid)
	if b.Type != change.File {
		was = 0
	}
	switch {
	case is&^was&setuid != 0:
		s.addAs(Setuid, High, s.note("%s runs as user %s, whoever starts it (setuid)", s.path, s.j.host.user(a.UID)))
	case is&^was&setgid != 0:
		s.addAs(Setuid, groupSeverity(a.GID), s.note("%s runs with group %s, whoever starts it (setgid)", s.path, s.j.host.group(a.GID)))
	case was&^is != 0:
		s.addAs(Setuid, Low, s.note("%s loses setuid or setgid", s.path))
	case is != 0 && (b.SHA256 != a.SHA256 || b.UID != a.UID || b.GID != a.GID):
		s.addAs(Setuid, Medium, s.note("the setuid or setgid program %s is replaced", s.path))
	}
}

func groupSeverity(gid uint32) Severity {
	if gid == 0 {
		return High
	}
	return Medium
}

const (
	capsAttr       = "security.capability"
	accessACLAttr  = "system.posix_acl_access"
	defaultACLAttr = "system.posix_acl_default"
)

func (s *subject) judgeCapabilities() {
	b, a := string(s.c.Before.Xattrs[capsAttr]), string(s.c.After.Xattrs[capsAttr])
	if b == a {
		return
	}
	old, _ := capabilities([]byte(b))
	now, err := capabilities([]byte(a))
	switch {
	case a == "":
		s.addAs(Capabilities, Low, s.note("%s loses its capabilities: %s", s.path, strings.Join(old, ", ")))
		return
	case err != nil:
		s.addAs(Capabilities, High, s.note("%s gets capabilities that could not be parsed", s.path))
		return
	}
	sev := Low
	for _, c := range without(now, old) {
		sev = max(sev, capabilityWeight(c))
	}
	s.addAs(Capabilities, sev, s.note("%s gets the capabilities %s", s.path, strings.Join(now, ", ")))
}

func capabilityWeight(name string) Severity {
	switch name {
	case "cap_net_bind_service", "cap_net_raw", "cap_ipc_lock", "cap_sys_nice", "cap_wake_alarm", "cap_block_suspend", "cap_audit_write", "cap_net_broadcast", "cap_lease":
		return Medium
	}
	return High
}

// capabilityNames are the names of include/uapi/linux/capability.h, from 0.
const capabilityNames = `chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service
net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice
sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm
block_suspend audit_read perfmon bpf checkpoint_restore`

// capabilities decodes struct vfs_cap_data of include/uapi/linux/capability.h:
// revisions 1 (one word a set), 2 (two) and 3 (two, and the uid of root in a user
// namespace), little-endian. It returns permitted and inheritable together.
func capabilities(b []byte) ([]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) < 12 {
		return nil, fmt.Errorf("%d bytes of capabilities", len(b))
	}
	words := map[uint32]int{1: 1, 2: 2, 3: 2}[binary.LittleEndian.Uint32(b)>>24]
	if words == 0 || len(b) < 4+8*words {
		return nil, fmt.Errorf("capabilities of an unknown revision")
	}
	names := strings.Fields(capabilityNames)
	var out []string
	for bit := range 32 * words {
		at := 4 + bit/32*8
		set := binary.LittleEndian.Uint32(b[at:]) | binary.LittleEndian.Uint32(b[at+4:])
		if set&(1<<(bit%32)) == 0 {
			continue
		}
		name := fmt.Sprintf("cap_%d", bit)
		if bit < len(names) {
			name = "cap_" + names[bit]
		}
		out = append(out, name)
	}
	return out, nil
}

func (s *subject) judgeWritable() {
	b, a := s.c.Before, s.c.After
	if a.Mode&0o002 == 0 || a.Type == change.Char && strings.HasPrefix(s.path, "/dev/") {
		return
	}
	guarded := a.Type == change.Dir && a.Mode&sticky != 0
	wasOpen := b.Type == a.Type && b.Mode&0o002 != 0
	switch {
	case wasOpen && !guarded && a.Type == change.Dir && b.Mode&sticky != 0:
		s.addAs(WorldWritable, High, s.note("%s loses the sticky bit: everybody can remove everybody's files there", s.path))
	case wasOpen:
	case guarded:
		s.addAs(WorldWritable, Low, s.note("%s is a directory where everybody may create files", s.path))
	case a.Type == change.Dir:
		s.addAs(WorldWritable, High, s.note("everybody may replace files in %s, which has no sticky bit", s.path))
	case systemPath(s.path):
		s.addAs(WorldWritable, High, s.note("everybody may write to %s", s.path))
	default:
		s.addAs(WorldWritable, Medium, s.note("everybody may write to %s", s.path))
	}
}

// systemPath reports whether a path belongs to the system rather than to people or
// services.
func systemPath(p string) bool {
	return below("/etc/", "/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/boot/", "/root/", "/opt/")(p)
}

func programPath(p string) bool {
	return below("/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/local/bin/", "/usr/local/sbin/", "/usr/lib/", "/lib/", "/lib64/", "/usr/libexec/")(p)
}

func (s *subject) judgeOwner() {
	b, a := s.c.Before, s.c.After
	if b.Absent() || b.Type == change.Symlink {
		if programPath(s.path) && a.UID != 0 {
			s.addAs(Ownership, Medium, s.note("%s is created for user %s where programs of the system are", s.path, s.j.host.user(a.UID)))
		}
		return
	}
	switch {
	case b.UID == a.UID && b.GID == a.GID:
	case b.UID == 0 && a.UID != 0 && systemPath(s.path):
		s.addAs(Ownership, High, s.note("%s is given from root to user %s", s.path, s.j.host.user(a.UID)))
	case b.UID != a.UID:
		s.addAs(Ownership, Low, s.note("%s changes owner from %s to %s", s.path, s.j.host.owner(b), s.j.host.owner(a)))
	case systemPath(s.path) && a.Mode&0o020 != 0 && a.GID != 0:
		s.addAs(Ownership, Medium, s.note("group %s may write to %s", s.j.host.group(a.GID), s.path))
	}
}

// grant is one entry of a POSIX ACL that names somebody.
type grant struct {
	tag  string
	id   uint32
	perm uint16
}

// decodeACL reads struct posix_acl_xattr_entry of include/uapi/linux/
// posix_acl_xattr.h: a version of 4 bytes (2), then entries of 8. It returns the
// entries for named users and groups.
func decodeACL(b []byte) ([]grant, error) {
	if len(b) < 4 || binary.LittleEndian.Uint32(b) != 2 || (len(b)-4)%8 != 0 {
		return nil, fmt.Errorf("not an ACL of version 2")
	}
	var out []grant
	for b = b[4:]; len(b) > 0 && len(out) < 1000; b = b[8:] {
		tag := map[uint16]string{2: "user", 8: "group"}[binary.LittleEndian.Uint16(b)]
		if tag != "" {
			out = append(out, grant{tag, binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint16(b[2:])})
		}
	}
	return out, nil
}

func (s *subject) judgeACL() {
	for _, attr := range []string{accessACLAttr, defaultACLAttr} {
		b, a := s.c.Before.Xattrs[attr], s.c.After.Xattrs[attr]
		if string(b) == string(a) || len(a) == 0 {
			continue
		}
		old, _ := decodeACL(b)
		now, err := decodeACL(a)
		if err != nil {
			s.addAs(ACL, Medium, s.note("%s gets an access list that could not be parsed", s.path))
			continue
		}
		for _, g := range now {
			if !slices.Contains(old, g) && g.perm != 0 {
				s.addAs(ACL, grantWeight(s.path, g), s.note("%s may %s %s", s.grantee(g), permissions(g.perm), s.path))
			}
		}
	}
}

func grantWeight(p string, g grant) Severity {
	if g.perm&2 != 0 && systemPath(p) {
		return High
	}
	return Medium
}

func (s *subject) grantee(g grant) string {
	if g.tag == "group" {
		return "group " + s.j.host.group(g.id)
	}
	return "user " + s.j.host.user(g.id)
}

func permissions(p uint16) string {
	var out []string
	for bit, word := range []string{"execute", "write", "read"} {
		if p&(1<<bit) != 0 {
			out = append(out, word)
		}
	}
	return strings.Join(out, ", ")
}

func (s *subject) judgeDevice() {
	b, a := s.c.Before, s.c.After
	if a.Type != change.Block && a.Type != change.Char || a.Type == change.Char && a.Major == 0 && a.Minor == 0 {
		return
	}
	if b.Type != a.Type || b.Major != a.Major || b.Minor != a.Minor {
		s.addAs(Devices, High, s.note("%s gives access to the %s device %d:%d", s.path, string(a.Type), int(a.Major), int(a.Minor)))
	}
}

// Secrets.

// sensitive reports whether a file's content is secret by its place.
func sensitive(p string) bool {
	if exactly("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-")(p) {
		return true
	}
	name := path.Base(p)
	if strings.HasSuffix(name, ".pub") {
		return false
	}
	return name == ".env" || strings.HasPrefix(name, ".env.") || strings.HasPrefix(name, "id_") && strings.Contains(p, "/.ssh/") ||
		strings.HasPrefix(name, "ssh_host_") || strings.HasSuffix(name, ".key") || strings.HasPrefix(name, "privkey") ||
		base(".netrc", ".pgpass", ".my.cnf", ".git-credentials", ".htpasswd", "credentials", "credentials.json", "secrets", "secrets.json", "secrets.yml", "secrets.yaml", ".vault-token", "kubeconfig")(p)
}

// secretHead is how much of a file is searched for secrets, in bytes.
const secretHead = 64 << 10

// secretIn returns what kind of secret a text holds and in which line.
func secretIn(text string) (string, int) {
	if i := strings.Index(text, "PRIVATE KEY-----"); i >= 0 && strings.LastIndex(text[:i], "-----BEGIN ") >= max(0, i-40) {
		return "a private key", 1 + strings.Count(text[:i], "\n")
	}
	n := 0
	for l := range eachLine(text) {
		n++
		if kind := secretLine(l.text); kind != "" {
			return kind, n
		}
	}
	return "", 0
}

func secretLine(text string) string {
	for _, prefix := range []string{"AKIA", "ghp_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "sk_live_", "hvs."} {
		if i := strings.Index(text, prefix); i >= 0 && tokenRun(text[i+len(prefix):]) >= 16 {
			return "a token"
		}
	}
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		name, value, ok = strings.Cut(text, ":")
	}
	name = strings.ToUpper(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), "export ")))
	value = strings.Trim(strings.TrimSpace(value), `"'`)
	if !ok || len(name) > 60 || strings.ContainsAny(name, " #/(){}$<>") || len(value) < 6 || strings.ContainsAny(value, "${}<> ") {
		return ""
	}
	for _, word := range []string{"PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "APIKEY", "ACCESS_KEY", "PRIVATE_KEY"} {
		if strings.HasSuffix(name, word) && !strings.HasPrefix(value, "/") {
			return "a value for " + clip(name)
		}
	}
	return ""
}

func tokenRun(s string) int {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' && c != '-' {
			return i
		}
	}
	return len(s)
}

// judgeSecret reports secrets that others than their owner can read. Group root
// and a user's own group are nobody else.
func (s *subject) judgeSecret() {
	b, a := s.c.Before, s.c.After
	if a.Type != change.File {
		return
	}
	open := a.Mode & 0o066
	if a.GID == 0 || a.GID == a.UID {
		open &= 0o006
	}
	wasOpen := uint32(0)
	if b.Type == change.File {
		wasOpen = b.Mode & 0o066
	}
	if open == 0 || b.SHA256 == a.SHA256 && open&^wasOpen == 0 && b.GID == a.GID {
		return
	}
	what, n := s.secret(a)
	if what == "" {
		return
	}
	if open&^wasOpen == 0 && b.GID == a.GID {
		if had, _ := s.secret(b); had != "" {
			return // as open as it was
		}
	}
	sev, who := Medium, "group "+s.j.host.group(a.GID)
	if open&0o006 != 0 {
		sev, who = High, "everybody"
	}
	f := s.note("%s holds %s and is open to %s (mode %04o)", s.path, what, who, int(a.Mode))
	s.addAs(Secrets, sev, f.at(s, true, line{n, ""}))
}

func (s *subject) secret(a change.State) (string, int) {
	if bytes, ok := s.j.contents[a.SHA256]; ok && strings.HasPrefix(s.path, "/") && !documentation(s.path) {
		if what, n := secretIn(string(bytes[:min(len(bytes), secretHead)])); what != "" {
			return what, n
		}
	}
	if sensitive(s.path) && a.Size > 0 {
		return "secrets, to judge by its name,", 0
	}
	return "", 0
}

func documentation(p string) bool { return below("/usr/share/", "/usr/include/", "/usr/src/")(p) }

// xattrText shows an extended attribute to people.
func xattrText(name string, b []byte) string {
	switch name {
	case capsAttr:
		if caps, err := capabilities(b); err == nil {
			return strings.Join(caps, ", ")
		}
	case accessACLAttr, defaultACLAttr:
		if list, err := decodeACL(b); err == nil {
			var out []string
			for _, g := range list {
				out = append(out, fmt.Sprintf("%s %d: %s", g.tag, g.id, permissions(g.perm)))
			}
			return strings.Join(out, "; ")
		}
	}
	text := strings.TrimRight(string(b), "\x00")
	if utf8.ValidString(text) && !strings.Contains(text, "\x00") {
		return clip(text)
	}
	return "0x" + clip(hex.EncodeToString(b[:min(len(b), maxQuote)]))
}

// xattrChanges returns the names of attributes that differ, sorted.
func xattrChanges(b, a change.State) []string {
	if len(b.Xattrs)+len(a.Xattrs) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Sorted(unionKeys(b.Xattrs, a.Xattrs)), func(k string) bool {
		return string(b.Xattrs[k]) == string(a.Xattrs[k])
	})
}
