package mcpclient

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"
)

var sample = Entry{Command: "/opt/bowline/bin/bowline", Args: []string{"mcp", "serve", "-t", "env=prod"}, Env: map[string]string{"SSH_AUTH_SOCK": "/run/user/1000/agent"}}

func client(t testing.TB, name string) Client {
	t.Helper()
	if name == "other" {
		return Other()
	}
	c, ok := Find(Clients(Place{"linux", "/home/ann", func(string) string { return "" }}), name)
	if !ok {
		t.Fatalf("no client %q", name)
	}
	return c
}

// TestGolden: testdata/NAME.txtar holds, for one client, files "before" and "after" an
// install. Removing it gives "before" again, unless the comment says "not exact".
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, note, _ := strings.Cut(strings.TrimSpace(string(a.Comment)), "\n")
			c := client(t, name)
			before, want := a.Files[0].Data, a.Files[1].Data
			if strings.Contains(note, "crlf") {
				before, want = bytes.ReplaceAll(before, []byte("\n"), []byte("\r\n")), bytes.ReplaceAll(want, []byte("\n"), []byte("\r\n"))
			}
			if strings.Contains(note, "no newline") {
				before, want = bytes.TrimSuffix(before, []byte("\n")), bytes.TrimSuffix(want, []byte("\n"))
			}
			after, changed, err := c.Edit(before, "bowline", &sample)
			if err != nil || !changed {
				t.Fatal(changed, err)
			}
			if os.Getenv("UPDATE_GOLDEN") != "" {
				a.Files[1].Data = bytes.ReplaceAll(after, []byte("\r\n"), []byte("\n"))
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if d := cmp.Diff(string(want), string(after)); d != "" {
				t.Error(d)
			}
			if again, changed, err := c.Edit(after, "bowline", &sample); err != nil || changed || !bytes.Equal(again, after) {
				t.Errorf("a second install changed it: %v", err)
			}
			back, _, err := c.Edit(after, "bowline", nil)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(back, before) && !strings.Contains(note, "not exact") {
				t.Errorf("removing it left\n%s", cmp.Diff(string(before), string(back)))
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct{ client, name, data, want string }{
		{"cursor", "broken", `{"mcpServers": {`, "no JSON"},
		{"cursor", "not an object", `[1]`, "no JSON object"},
		{"cursor", "two documents", `{} {}`, "no JSON"},
		{"cursor", "section is a list", `{"mcpServers": []}`, `"mcpServers" is no object`},
		{"cursor", "section is null", `{"mcpServers": null}`, `"mcpServers" is no object`},
		{"cursor", "section twice", `{"mcpServers": {}, "mcpServers": {"a": {}}}`, `"mcpServers" comes twice`},
		{"cursor", "section twice, once escaped", `{"mcpServers": {}, "mcp\u0053ervers": {}}`, `comes twice`},
		{"cursor", "entry twice", `{"mcpServers": {"bowline": {}, "bowline": {}}}`, `"bowline" comes twice`},
		{"cursor", "entry is text", `{"mcpServers": {"bowline": "x"}}`, `"bowline" is no object`},
		{"cursor", "not UTF-8", "{\"a\": \"\xff\"}", "not UTF-8"},
		{"cursor", "deep", strings.Repeat(`{"a":`, 1<<20), "nested deeper"},
		{"cursor", "deep lists", `{"a":` + strings.Repeat(`[`, 1<<20), "nested deeper"},
		{"codex", "broken", "[mcp_servers", "no TOML"},
		{"codex", "inline table", "mcp_servers = { bowline = { command = 'x' } }\n", "inline table"},
		{"codex", "dotted keys", "[mcp_servers]\nbowline.command = 'x'\n", "change it by hand"},
		{"codex", "array of tables", "[[mcp_servers.bowline]]\ncommand = 'x'\n", "change it by hand"},
		{"codex", "table inside it first", "[mcp_servers.bowline.env]\nA = 'x'\n", "begins with a table inside"},
		{"codex", "deep", "a = " + strings.Repeat("[", maxTOML-4), "TOML"},
		{"codex", "huge", strings.Repeat("# comment\n", maxTOML/5), "at most"},
	} {
		t.Run(tt.client+" "+tt.name, func(t *testing.T) {
			out, changed, err := client(t, tt.client).Edit([]byte(tt.data), "bowline", &sample)
			if err == nil || !strings.Contains(err.Error(), tt.want) || changed || string(out) != tt.data {
				t.Errorf("%v %v", changed, err)
			}
		})
	}
	if _, _, err := Other().Edit(make([]byte, MaxFile+1), "bowline", &sample); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Error(err)
	}
	if _, _, err := Other().Edit(nil, "bowline", &Entry{Command: "a\x00b"}); err == nil {
		t.Error("a NUL was taken")
	}
}

// TestUpdateKeepsTheirs: keys that are not ours stay, and an env that is gone goes.
func TestUpdateKeepsTheirs(t *testing.T) {
	for _, tt := range []struct{ client, before, after string }{
		{"cursor", `{"mcpServers": {"bowline": {"command": "old", "disabled": true, "env": {"A": "1"}, "args": []}}}`,
			`{"mcpServers": {"bowline": {"command": "/new", "disabled": true, "args": ["x"]}}}`},
		{"vscode", "{\n\t\"servers\": {\n\t\t\"bowline\": {\n\t\t\t// theirs\n\t\t\t\"disabled\": true,\n\t\t},\n\t},\n}\n",
			"{\n\t\"servers\": {\n\t\t\"bowline\": {\n\t\t\t// theirs\n\t\t\t\"disabled\": true,\n\t\t\t\"type\": \"stdio\",\n\t\t\t\"command\": \"/new\",\n\t\t\t\"args\": [\"x\"],\n\t\t},\n\t},\n}\n"},
		{"codex", "[mcp_servers.bowline]\ncommand = 'old' # mine\nstartup_timeout_sec = 20\n[mcp_servers.bowline.env]\nA = '1'\n[other]\nb = 1\n",
			"[mcp_servers.bowline]\nargs = [\"x\"]\ncommand = \"/new\" # mine\nstartup_timeout_sec = 20\n[other]\nb = 1\n"},
	} {
		out, changed, err := client(t, tt.client).Edit([]byte(tt.before), "bowline", &Entry{Command: "/new", Args: []string{"x"}})
		if err != nil || !changed || string(out) != tt.after {
			t.Errorf("%s: %v %v\n%s", tt.client, changed, err, cmp.Diff(tt.after, string(out)))
		}
	}
}

// jsonText makes documents with comments, trailing commas and odd white space.
func jsonText(t *rapid.T) string {
	space := func() string {
		return rapid.SampledFrom([]string{"", " ", "\n", "\n  ", "\t", " // c\n", " /* , } */ ", "\r\n"}).Draw(t, "space")
	}
	var value func(depth int) string
	value = func(depth int) string {
		kinds := 4
		if depth > 3 {
			kinds = 2
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return rapid.SampledFrom([]string{"1", "-0.5e3", "true", "null", "12345678901234567890", `""`}).Draw(t, "literal")
		case 1:
			b, err := json.Marshal(rapid.String().Draw(t, "text"))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		case 2:
			parts := []string{}
			for range rapid.IntRange(0, 3).Draw(t, "n") {
				parts = append(parts, space()+value(depth+1)+space())
			}
			return "[" + strings.Join(parts, ",") + "]"
		default:
			parts := []string{}
			for i := range rapid.IntRange(0, 4).Draw(t, "n") {
				parts = append(parts, fmt.Sprintf("%s%q%s:%s%s%s", space(), fmt.Sprintf("k%d", i), space(), space(), value(depth+1), space()))
			}
			comma := ""
			if len(parts) > 0 && rapid.Bool().Draw(t, "trailing") {
				comma = "," + space()
			}
			return "{" + strings.Join(parts, ",") + comma + space() + "}"
		}
	}
	var parts []string
	for i := range rapid.IntRange(0, 3).Draw(t, "members") {
		parts = append(parts, fmt.Sprintf("%s%q:%s", space(), fmt.Sprintf("m%d", i), value(0)))
	}
	if rapid.Bool().Draw(t, "has section") {
		var servers []string
		for i := range rapid.IntRange(0, 3).Draw(t, "servers") {
			servers = append(servers, fmt.Sprintf("%s%q%s:%s%s", space(), fmt.Sprintf("s%d", i), space(), value(1), space()))
		}
		comma := ""
		if len(servers) > 0 && rapid.Bool().Draw(t, "trailing") {
			comma = "," + space()
		}
		parts = append(parts, space()+`"mcpServers":`+space()+"{"+strings.Join(servers, ",")+comma+space()+"}"+space())
	}
	return space() + "{" + strings.Join(parts, ",") + space() + "}" + space()
}

// TestRoundTrip: whatever the file, adding keeps all else (Edit checks that itself, and
// refuses otherwise), adding again changes nothing, and removing gives the bytes back.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := []byte(jsonText(t))
		after, changed, err := Other().Edit(before, "bowline", &sample)
		if err != nil || !changed {
			t.Fatalf("%q: %v", before, err)
		}
		if _, changed, err := Other().Edit(after, "bowline", &sample); err != nil || changed {
			t.Fatalf("%q: again: %v", after, err)
		}
		back, _, err := Other().Edit(after, "bowline", nil)
		if err != nil || !bytes.Equal(back, before) {
			t.Fatalf("%q\nbecame %q\nand then %q, %v", before, after, back, err)
		}
	})
}

func FuzzEdit(f *testing.F) {
	for _, s := range []string{`{}`, "{\n}", `{"mcpServers": {"bowline": {"args": 1}}}`, "[mcp_servers.bowline]\ncommand = 'x'", "\xef\xbb\xbf{}", `{"a":1,/*c*/}`} {
		f.Add([]byte(s))
	}
	list := []Client{Other(), client(f, "codex"), client(f, "vscode")}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, c := range list {
			after, changed, err := c.Edit(data, "bowline", &sample)
			if err != nil {
				if changed || !bytes.Equal(after, data) {
					t.Errorf("%s: an error, and a change", c.Name)
				}
				continue
			}
			if _, changed, err := c.Edit(after, "bowline", &sample); err != nil || changed {
				t.Errorf("%s: %q: again: %v %v", c.Name, after, changed, err)
			}
			if _, _, err := c.Edit(after, "bowline", nil); err != nil {
				t.Errorf("%s: %q: remove: %v", c.Name, after, err)
			}
		}
	})
}

func TestPlaces(t *testing.T) {
	for _, tt := range []struct{ os, home, env, client, file string }{
		{"linux", "/home/ann", "", "claude-desktop", "/home/ann/.config/Claude/claude_desktop_config.json"},
		{"linux", "/home/ann", "XDG_CONFIG_HOME=/c", "claude-desktop", "/c/Claude/claude_desktop_config.json"},
		{"darwin", "/Users/ann", "", "claude-desktop", "/Users/ann/Library/Application Support/Claude/claude_desktop_config.json"},
		{"windows", `C:\Users\ann`, "", "claude-desktop", `C:\Users\ann\AppData\Roaming\Claude\claude_desktop_config.json`},
		{"windows", `C:\Users\ann`, `APPDATA=D:\r`, "vscode", `D:\r\Code\User\mcp.json`},
		{"linux", "/home/ann", "", "claude-code", "/home/ann/.claude.json"},
		{"linux", "/home/ann", "CLAUDE_CONFIG_DIR=/cc", "claude-code", "/cc/.claude.json"},
		{"linux", "/home/ann", "", "cursor", "/home/ann/.cursor/mcp.json"},
		{"darwin", "/Users/ann", "", "vscode", "/Users/ann/Library/Application Support/Code/User/mcp.json"},
		{"linux", "/home/ann", "CODEX_HOME=/x", "codex", "/x/config.toml"},
		{"windows", `C:\Users\ann`, "", "gemini", `C:\Users\ann\.gemini\settings.json`},
		{"linux", "/home/ann", "", "windsurf", "/home/ann/.codeium/windsurf/mcp_config.json"},
		{"darwin", "/Users/ann", "", "zed", "/Users/ann/.config/zed/settings.json"},
		{"windows", `C:\Users\ann`, "", "zed", `C:\Users\ann\AppData\Roaming\Zed\settings.json`},
		{"linux", "/home/ann", "", "lmstudio", "/home/ann/.lmstudio/mcp.json"},
	} {
		name, value, _ := strings.Cut(tt.env, "=")
		c, ok := Find(Clients(Place{tt.os, tt.home, func(n string) string {
			if n == name {
				return value
			}
			return ""
		}}), tt.client)
		if !ok || c.File != tt.file {
			t.Errorf("%s on %s: %s, want %s", tt.client, tt.os, c.File, tt.file)
		}
	}
}
