package profile

import (
	"strings"
	"testing"
)

func TestAllows(t *testing.T) {
	const path = "PATH=/usr/bin:/bin"
	for _, tt := range []struct {
		name    string
		list    string // patterns, separated by blanks
		arg0    string
		allowed bool
	}{
		{"no list allows all", "", "anything", true},
		{"no list, absolute", "", "/opt/x", true},
		{"no list, but still a plain path", "", "/usr/bin/../bin/sh", false},
		{"name", "ls cat echo", "ls", true},
		{"another name", "ls cat echo", "rm", false},
		{"prefix is no match", "ls", "lsblk", false},
		{"suffix is no match", "ls", "als", false},
		{"case counts", "ls", "LS", false},
		{"blank counts", "ls", "ls ", false},
		{"name in a directory of PATH", "ls", "/usr/bin/ls", true},
		{"name in the other directory of PATH", "ls", "/bin/ls", true},
		{"name in any other directory", "ls", "/tmp/ls", false},
		{"name below a directory of PATH", "ls", "/usr/bin/sub/ls", false},
		{"relative", "ls", "./ls", false},
		{"relative with directory", "bin/ls ls", "bin/ls", false},
		{"upwards", "ls", "../bin/ls", false},
		{"path", "/usr/bin/ls", "/usr/bin/ls", true},
		{"path is not its name: PATH holds another", "/usr/bin/ls", "ls", false},
		{"paths in all of PATH are the name", "/usr/bin/ls /bin/ls", "ls", true},
		{"pattern of paths", "/usr/bin/*", "/usr/bin/id", true},
		{"pattern in all of PATH", "/usr/bin/* /bin/*", "id", true},
		{"star stops at a slash", "/usr/*", "/usr/bin/id", false},
		{"regression: out of the pattern and back", "/usr/bin/*", "/usr/bin/../bin/sh", false},
		{"regression: out of the pattern", "/usr/bin/*", "/usr/bin/../../bin/sh", false},
		{"two slashes", "/usr/bin/*", "/usr/bin//sh", false},
		{"two slashes in front", "/bin/*", "//bin/sh", false},
		{"dot", "/usr/bin/*", "/usr/bin/./sh", false},
		{"slash at the end", "/usr/bin/*", "/usr/bin/ls/", false},
		{"star for names", "*", "anything", true},
		{"star for names in PATH", "*", "/usr/bin/x", true},
		{"star for names elsewhere", "*", "/opt/x", false},
		{"class", "[ab]c", "bc", true},
		{"class, no member", "[ab]c", "cc", false},
		{"question mark", "l?", "ls", true},
		{"empty", "ls", "", false},
		{"NUL", "*", "a\x00b", false},
		{"shell syntax is a name like others", "ls", "ls;rm", false},
		{"newline", "ls", "ls\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Profile{Name: "web", AllowedCommands: strings.Fields(tt.list), Environment: map[string]string{"PATH": strings.TrimPrefix(path, "PATH=")}}
			got := p.Allows(tt.arg0)
			if got.Allowed != tt.allowed {
				t.Errorf("Allows(%q) under %q = %+v", tt.arg0, tt.list, got)
			}
			if got.Reason == "" || strings.ContainsAny(got.Reason, "\n\x00") {
				t.Errorf("reason %q", got.Reason)
			}
			if got.Allowed && tt.list != "" && got.Rule == "" {
				t.Error("allowed by no rule")
			}
		})
	}
}

// TestAllowsDenial: who is refused learns by which profile.
func TestAllowsDenial(t *testing.T) {
	got := Profile{Name: "readers", AllowedCommands: []string{"ls", "cat", "echo"}}.Allows("rm")
	if got.Allowed || !strings.Contains(got.Reason, "not permitted") || !strings.Contains(got.Reason, "readers") || !strings.Contains(got.Reason, `"rm"`) {
		t.Errorf("%+v", got)
	}
}

// TestAllowsPath: where a name is looked up decides what it is.
func TestAllowsPath(t *testing.T) {
	for _, tt := range []struct {
		path, rule, arg0 string
		allowed          bool
	}{
		{"/opt/bin", "/opt/bin/tool", "tool", true},
		{"/opt/bin/", "/opt/bin/tool", "tool", true},
		{"/tmp:/opt/bin", "/opt/bin/tool", "tool", false},
		{"relative:/opt/bin", "/opt/bin/tool", "tool", true}, // bubblewrap starts in a directory of the profile's
		{"", "/opt/bin/tool", "tool", false},
		{"", "tool", "/usr/bin/tool", false},
	} {
		p := Profile{Name: "x", AllowedCommands: []string{tt.rule}, Environment: map[string]string{"PATH": tt.path}}
		if got := p.Allows(tt.arg0); got.Allowed != tt.allowed {
			t.Errorf("PATH=%s, rule %s: %+v", tt.path, tt.rule, got)
		}
	}
	if got := (Profile{Name: "x", AllowedCommands: []string{"ls"}}).Allows("/usr/sbin/ls"); !got.Allowed {
		t.Errorf("the default PATH: %+v", got)
	}
}
