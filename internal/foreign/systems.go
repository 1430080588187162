package foreign

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/target"
)

// reader gathers what comes of a file.
type reader struct {
	o    Options
	res  Result
	name []string // keys down to what is read
	seen map[string]bool
}

func (r *reader) note(n *node, key, format string, args ...any) {
	if len(r.res.Notes) == maxNotes {
		r.res.Omitted++
		return
	}
	line := 0
	if n != nil {
		line = n.line
	}
	full := append(slices.Clone(r.name), key)
	if key == "" {
		full = r.name
	}
	r.res.Notes = append(r.res.Notes, Note{Line: line, Key: clip(strings.Join(full, ".")), Text: clip(fmt.Sprintf(format, args...))})
}

// maxText bounds the key and the text of a note, in bytes.
const maxText = 400

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "..."
}

func (r *reader) sort() {
	slices.SortStableFunc(r.res.Notes, func(a, b Note) int { return cmp.Compare(a.Line, b.Line) })
	slices.SortStableFunc(r.res.Targets, func(a, b Target) int { return cmp.Compare(a.Line, b.Line) })
}

// add keeps t if it can be one of ours.
func (r *reader) add(n *node, t target.Target) {
	if err := t.Validate(); err != nil {
		r.note(n, "", "is not imported: %v", err)
		return
	}
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	if r.seen[t.Name] {
		r.note(n, "", "is not imported: the name %s came before in the file", t.Name)
		return
	}
	r.seen[t.Name] = true
	r.res.Targets = append(r.res.Targets, Target{Target: t, Line: n.line})
}

// each calls f for the mappings in the mapping n, and notes what is none.
func (r *reader) each(section string, n *node, f func(name string, n *node)) {
	r.name = []string{section}
	defer func() { r.name = nil }()
	if n == nil {
		return
	}
	if n.kind != mapping {
		r.note(n, "", "is no table of targets; nothing of it is imported")
		return
	}
	for _, key := range n.keys {
		r.name = []string{section, key}
		v := n.get(key)
		if v.kind != mapping {
			r.note(v, "", "is not imported: it says nothing about a host")
			continue
		}
		f(key, v)
	}
}

// text takes a word of a target; "" if it is missing or wrong, which is noted.
func (r *reader) text(n *node, key string) string {
	v := n.get(key)
	if v == nil || v.kind == nothing {
		return ""
	}
	s, ok := v.str()
	if !ok {
		r.note(v, key, "is no text; it is left out")
	}
	return s
}

// port takes a port; 0 if there is none.
func (r *reader) port(n *node, key string) int {
	v := n.get(key)
	if v == nil || v.kind == nothing {
		return 0
	}
	p, ok := v.integer()
	if !ok || p < 1 || p > 65535 {
		r.note(v, key, "is no port from 1 to 65535; it is left out, so the port is what ssh_config says, or 22")
		return 0
	}
	return p
}

// secret words make a value one that is never shown.
func secret(key string) bool {
	key = strings.ToLower(key)
	for _, w := range []string{"passw", "secret", "token", "passphrase", "credential", "private_key"} {
		if strings.Contains(key, w) {
			return true
		}
	}
	return key == "pass" || key == "pw"
}

// left notes the keys of n that nobody read. why tells of those that are known.
func (r *reader) left(n *node, known []string, why map[string]string) {
	for _, key := range n.keys {
		if slices.Contains(known, key) {
			continue
		}
		v := n.get(key)
		switch text, ok := why[key]; {
		case ok && text == "":
		case ok:
			r.note(v, key, "%s", text)
		case unchecked(key, v):
			r.note(v, key, "is NOT honoured: host keys are always checked")
		case secret(key):
			r.note(v, key, "is not imported: secrets do not belong in the configuration; use a key, ssh-agent, or password = true to be asked")
		default:
			r.note(v, key, "is not known; it is left out")
		}
	}
}

// unchecked reports whether a key says that host keys need not be right.
func unchecked(key string, v *node) bool {
	k := strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(key))
	text, _ := v.str()
	return strings.Contains(k, "hostkey") || strings.Contains(k, "autoadd") || strings.Contains(strings.ToLower(text), "autoaddpolicy") || strings.Contains(strings.ToLower(text), "accept-new")
}

func (r *reader) shannot(root *node) {
	r.res.System = Shannot
	r.each("executor", root.get("executor"), r.executor)
	r.each("remotes", root.get("remotes"), r.remote)
	r.choose(root.get("default_executor"), "default_executor")
	r.left(root, []string{"executor", "remotes", "default_executor"}, map[string]string{
		"profile": "is not imported: what may run is said by profiles, see 'bowline profile list'",
		"audit":   "is not imported: Bowline's audit log is always on",
		"runtime": "is not needed",
	})
}

// choose notes which target the old system took if none was named.
func (r *reader) choose(n *node, key string) {
	name, ok := n.str()
	if !ok || name == "" || name == target.LocalName {
		return
	}
	if !r.seen[name] {
		r.note(n, key, "names %q, which is not imported", name)
		return
	}
	r.res.Default = name
}

func (r *reader) executor(name string, n *node) {
	kind := r.text(n, "type")
	why := map[string]string{
		"connection_pool_size": "is not needed: one link serves many commands",
		"bwrap_path":           "is left out: bwrap is found in PATH",
	}
	if strict := n.get("strict_host_key"); strict != nil {
		if v, _, ok := strict.boolean(); ok && v {
			why["strict_host_key"] = "" // as ever
		}
	}
	switch kind {
	case "local":
		if name == target.LocalName {
			r.note(n, "", "is there anyway")
			r.left(n, []string{"type", "profile"}, why)
			return
		}
		r.add(n, target.Target{Name: name, Kind: target.Local, Profile: r.profile(n)})
		r.left(n, []string{"type", "profile"}, why)
	case "ssh":
		r.add(n, target.Target{Name: name, Kind: target.SSH, Host: r.text(n, "host"), User: r.text(n, "username"), Port: r.port(n, "port"),
			KeyFile: r.text(n, "key_file"), KnownHosts: r.text(n, "known_hosts"), Profile: r.profile(n)})
		r.left(n, []string{"type", "host", "username", "port", "key_file", "known_hosts", "profile"}, why)
	default:
		r.note(n, "type", "is not imported: the type %q is neither ssh nor local", kind)
	}
}

// profile takes a profile that is one of ours by name.
func (r *reader) profile(n *node) string {
	p := r.text(n, "profile")
	if p == "" {
		return ""
	}
	if name := strings.TrimSuffix(path.Base(p), ".json"); r.o.KnownProfile(name) {
		if name != p {
			r.note(n.get("profile"), "profile", "%q became the profile %q of Bowline; compare them with 'bowline profile show %s'", p, name, name)
		}
		return name
	}
	r.note(n.get("profile"), "profile", "%q is left out: Bowline has no profile of that name; check its file with 'bowline profile check FILE', put it with the others, and set it", p)
	return ""
}

func (r *reader) remote(name string, n *node) {
	host, user := r.text(n, "host"), r.text(n, "user")
	if u, h, ok := strings.Cut(host, "@"); ok {
		r.note(n.get("host"), "host", "%q holds a login: %s is taken for the login, instead of %q", host, u, user)
		host, user = h, u
	}
	r.add(n, target.Target{Name: name, Kind: target.SSH, Host: host, User: user, Port: r.port(n, "port")})
	r.left(n, []string{"host", "user", "port"}, nil)
}

func (r *reader) l8s(root *node) {
	r.res.System = L8s
	user := r.text(root, "remote_user")
	connect := func(name string, n *node, hostKey, userKey string) {
		a, err := target.ParseAddress(r.text(n, hostKey))
		if err != nil {
			r.note(n, hostKey, "is not imported: %v", err)
			return
		}
		login := cmp.Or(a.User, r.text(n, userKey), user)
		if login == "" {
			r.note(n, "", "has no login: it is what ssh_config says, or your own")
		}
		r.add(n, target.Target{Name: name, Kind: target.SSH, Host: a.Host, Port: a.Port, User: login})
	}
	r.each("connections", root.get("connections"), func(name string, n *node) {
		connect(name, n, "address", "user")
		r.left(n, []string{"address", "user"}, map[string]string{"description": "is not imported: a target has no description; use a label"})
	})
	r.each("hosts", root.get("hosts"), func(name string, n *node) { // an older form
		hostKey := "remote_host"
		if n.get("address") != nil {
			hostKey = "address"
		}
		connect(name, n, hostKey, "remote_user")
		r.left(n, []string{hostKey, "remote_user"}, map[string]string{"description": "is not imported: a target has no description; use a label", "remote_socket": socketText})
	})
	if n := root.get("remote_host"); n != nil { // the oldest
		connect("l8s", root, "remote_host", "remote_user")
		r.note(n, "remote_host", "has no name in the file; the target is called l8s")
	}
	r.choose(root.get("active_connection"), "active_connection")
	r.choose(root.get("active_host"), "active_host")
	known := []string{"connections", "hosts", "remote_host", "remote_user", "active_connection", "active_host"}
	r.left(root, known, l8sKeys())
}

const socketText = "is not imported: Bowline reaches Podman through its own command"

func l8sKeys() map[string]string {
	boxes := "is not imported: it is about containers, not about targets"
	why := map[string]string{
		"remote_socket": socketText,
		"ssh_key_path":  "is not imported: L8s never logged in with it; to do so, set key_file of the target",
		"github_token":  "is not imported: secrets do not belong in the configuration; take the token out of that file, which others may read",
	}
	for _, k := range []string{"ca_private_key_path", "ca_public_key_path", "known_hosts_path", "ssh_port_start", "web_port_start", "audio_enabled", "audio_port",
		"base_image", "container_prefix", "container_user", "ssh_public_key", "dotfiles_path"} {
		why[k] = boxes
	}
	return why
}

// Names and defaults of the remote executor.
const (
	vmLogin  = "thadmin"
	vmKeyDir = "~/.ssh/th_timmy_keys"
)

func (r *reader) remoteExecutor(root *node) {
	r.res.System = RemoteExecutor
	settings := root.get("remote_execution")
	dir := vmKeyDir
	var allowed map[string]bool
	if settings != nil && settings.kind == mapping {
		r.name = []string{"remote_execution"}
		dir = cmp.Or(r.text(settings, "key_storage_path"), vmKeyDir)
		allowed = r.allowed(settings)
		r.left(settings, []string{"key_storage_path", "allowed_vm_ids"}, map[string]string{
			"default_timeout": "is not imported: a profile says how long a command may take (limits.wall), or --timeout", "checksum_algorithm": "is not imported: it is always SHA-256",
			"default_retry": "is not imported: only connecting is tried again", "max_parallel_commands": "is not imported: say --fanout", "connection_pool_size": "is not needed: one link serves many commands",
			"key_storage_type": "is not imported: keys are OpenSSH's files, or in ssh-agent", "key_rotation_days": "is not imported: see 'bowline keys list'", "audit_log_destination": "is not imported: see [audit] of the configuration",
		})
		r.name = nil
	}
	r.each("vms", root.get("vms"), func(name string, n *node) { r.vm(name, n, dir, allowed) })
	if root.get("vms") == nil {
		r.note(nil, "", "the file has no vms")
	}
	for _, key := range root.keys {
		if key != "vms" && key != "remote_execution" {
			r.note(root.get(key), key, "is not about targets; nothing of it is imported")
		}
	}
	if len(r.res.Targets) > 0 {
		r.note(nil, "", "the remote executor never checked host keys; Bowline does: check and pin each with 'bowline target trust NAME'")
	}
}

// allowed are the machines that might be used; nil means all.
func (r *reader) allowed(settings *node) map[string]bool {
	n := settings.get("allowed_vm_ids")
	if n == nil || n.kind == nothing {
		return nil
	}
	if n.kind != list {
		r.note(n, "allowed_vm_ids", "is no list; every target is imported disabled")
	}
	ids := map[string]bool{}
	for _, item := range n.items {
		if s, ok := item.str(); ok {
			ids[s] = true
		}
	}
	return ids
}

func (r *reader) vm(name string, n *node, dir string, allowed map[string]bool) {
	t := target.Target{Name: name, Kind: target.SSH, Host: r.text(n, "ip"), User: r.text(n, "ssh_user"), Port: r.port(n, "ssh_port")}
	if t.User == "" {
		t.User = vmLogin
		r.note(n, "ssh_user", "is missing; its default %s is written out", vmLogin)
	}
	t.Disabled = r.disabled(name, n, allowed)
	if role := r.text(n, "role"); role != "" {
		if _, _, err := target.ParseLabel("role=" + role); err == nil {
			t.Labels = map[string]string{"role": role}
		} else {
			r.note(n.get("role"), "role", "is no label: use letters, digits, '.', '_', '/' and '-'; it is left out")
		}
	}
	if called := r.text(n, "name"); called != "" && called != name {
		r.note(n.get("name"), "name", "is left out: the target is called %s", name)
	}
	for _, typ := range []string{"ed25519", "rsa", "ecdsa"} {
		if file := strings.TrimSuffix(dir, "/") + "/id_" + typ + "_" + name; r.o.Exists(file) {
			t.KeyFile = file
			break
		}
	}
	if t.KeyFile == "" {
		r.note(n, "", "has no key in %s: ssh-agent and ssh_config are used", dir)
	}
	r.add(n, t)
	r.left(n, []string{"ip", "ssh_user", "ssh_port", "enabled", "role", "name"}, nil)
}

func (r *reader) disabled(name string, n *node, allowed map[string]bool) bool {
	off := false
	if v := n.get("enabled"); v != nil && v.kind != nothing {
		on, quoted, ok := v.boolean()
		switch {
		case !ok:
			off = true
			r.note(v, "enabled", "is neither true nor false; the target is imported disabled")
		case !on && quoted:
			off = true
			r.note(v, "enabled", "is a text that says false, which the remote executor took for true; the target is imported disabled")
		case !on:
			off = true
			r.note(v, "enabled", "is false; the target is imported disabled")
		}
	}
	if allowed != nil && !allowed[name] {
		off = true
		r.note(n, "", "is not in allowed_vm_ids; the target is imported disabled")
	}
	return off
}
