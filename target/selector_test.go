package target

import (
	"slices"
	"strings"
	"testing"
)

func testTargets() ([]Target, map[string][]string) {
	l := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	all := []Target{
		{Name: "web2", Kind: SSH, Host: "h", Labels: l("env", "prod", "role", "web")},
		{Name: "web1", Kind: SSH, Host: "h", Labels: l("env", "test", "role", "web")},
		{Name: "web9", Kind: SSH, Host: "h", Labels: l("env", "prod", "gone", "yes"), Disabled: true},
		{Name: "db1", Kind: SSH, Host: "h", Labels: l("env", "prod")},
		{Name: "local", Kind: Local},
	}
	groups := map[string][]string{
		"web": {"web1", "web2", "web9"}, "prod": {"env=prod", "!db1"}, "both": {"@web", "@db"}, "db": {"db1"},
		"loop": {"@pool"}, "pool": {"@loop"}, "bad": {"wbe1"}, "empty": {}, "broken": {"a b"}, "wide": {"all", "!@web"},
		"nobody": {"env=none"},
	}
	return all, groups
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, selector, want string }{
		{"name", "web1", "web1"},
		{"list in the order of the configuration", "db1,web1,web2", "web2 web1 db1"},
		{"twice", "web1,web1,web*", "web2 web1"},
		{"spaces", " web1 , ! db1", "web1"},
		{"all leaves out the disabled", "all", "web2 web1 db1 local"},
		{"disabled by name", "web9", "web9"},
		{"disabled by name in a list", "web9,db1", "web9 db1"},
		{"disabled by name beside all", "all,web9", "web2 web1 web9 db1 local"},
		{"glob", "web*", "web2 web1"},
		{"glob with class", "web[1-8]", "web2 web1"},
		{"glob with ?", "?b1", "db1"},
		{"label", "env=prod", "web2 db1"},
		{"labels join", "env=test,role=web", "web2 web1"},
		{"label that differs or is missing", "env!=prod", "web1 local"},
		{"exclude", "all,!db1", "web2 web1 local"},
		{"exclude stands first", "!db1,all", "web2 web1 local"},
		{"exclude wins over a name", "web1,!web*,db1", "db1"},
		{"exclude alone means all but", "!env=prod", "web1 local"},
		{"exclude alone, several", "!env=prod,!local", "web1"},
		{"exclude what nobody has", "all,!env=stage", "web2 web1 db1 local"},
		{"exclude a group", "all,!@web", "db1 local"},
		{"exclude not equal", "!env!=prod", "web2 db1"},
		{"group leaves out the disabled", "@web", "web2 web1"},
		{"group with exclusion", "@prod", "web2"},
		{"group of groups", "@both", "web2 web1 db1"},
		{"group of all but", "@wide", "db1 local"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ParseSelector(tt.selector)
			if err != nil {
				t.Fatal(err)
			}
			all, groups := testTargets()
			got, err := s.Match(all, groups)
			if err != nil || names(got) != tt.want {
				t.Errorf("Match(%q) = %s, %v; want %s", tt.selector, names(got), err, tt.want)
			}
			if s.String() != tt.selector {
				t.Errorf("String() = %q, want %q", s, tt.selector)
			}
		})
	}
}

func names(list []Target) string {
	var out []string
	for _, t := range list {
		out = append(out, t.Name)
	}
	return strings.Join(out, " ")
}

func TestMatchRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ selector, want string }{
		{"wbe1", `selector "wbe1": there is no target "wbe1"; did you mean "web1"?`},
		{"zzzzzz", `selector "zzzzzz": there is no target "zzzzzz"`},
		{"all,!db2", `selector "all,!db2": there is no target "db2"; did you mean "db1"?`},
		{"@wbe", `selector "@wbe": there is no group "@wbe"; did you mean "web"?; groups stand under [groups] in config.toml`},
		{"evn=prod", `selector "evn=prod": no target has a label "evn"; did you mean "env"?`},
		{"all,!evn=prod", `selector "all,!evn=prod": no target has a label "evn"; did you mean "env"?`},
		{"evn!=prod", `selector "evn!=prod": no target has a label "evn"; did you mean "env"?`},
		{"env=prdo", `selector "env=prdo": env=prdo matches no target that is enabled`},
		{"web1,env=prdo", `selector "web1,env=prdo": env=prdo matches no target that is enabled`},
		{"gone=yes", `selector "gone=yes": gone=yes matches no target that is enabled`},
		{"x*,web1", `selector "x*,web1": x* matches no target that is enabled`},
		{"web1,!web1", `selector "web1,!web1": it matches no target`},
		{"!all", `selector "!all": it matches no target`},
		{"@loop", `selector "@loop": group "loop": group "pool": group "@loop" contains itself`},
		{"@bad", `selector "@bad": group "bad": there is no target "wbe1"; did you mean "web1"?`},
		{"@empty", `selector "@empty": group "empty": it is empty`},
		{"@nobody", `selector "@nobody": @nobody matches no target that is enabled`},
		{"@broken", `selector "@broken": group "broken": selector "a b": target name "a b": use 1 to 63 letters, digits, '.', '_' and '-', not starting with '-' or '.'`},
	} {
		s, err := ParseSelector(tt.selector)
		if err != nil {
			t.Fatal(err)
		}
		all, groups := testTargets()
		_, err = s.Match(all, groups)
		if err == nil || err.Error() != tt.want {
			t.Errorf("Match(%q)\n got %v\nwant %s", tt.selector, err, tt.want)
		}
	}
}

func TestParseSelectorRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", " ", ",", "web1,", "!", "!!web1", "@", "@a b", "web1;db1", "=prod", "env=", "env=a=b", "a b", "-web",
		"web[", "default", "none", "../*", "env!prod=x", "@all", "web1\nweb2", "*/x"} {
		if got, err := ParseSelector(s); err == nil {
			t.Errorf("ParseSelector(%q) = %q, want an error", s, got)
		}
	}
}

func TestSelectorCheck(t *testing.T) {
	t.Parallel()
	all, groups := testTargets()
	for selector, good := range map[string]bool{
		"web1,@web,all": true, "env=stage": true, "new=label": true, "x*": true, "wbe1": false, "@wbe": false, "!wbe1": false,
	} {
		s, err := ParseSelector(selector)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(all, groups); (err == nil) != good {
			t.Errorf("Check(%q) = %v", selector, err)
		}
	}
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	known := []string{"web1", "database", "host", "key_file"}
	for word, want := range map[string]string{
		"wbe1": `; did you mean "web1"?`, "WEB1": `; did you mean "web1"?`, "hots": `; did you mean "host"?`, "keyfile": `; did you mean "key_file"?`,
		"databsae": `; did you mean "database"?`, "x": "", "": "", "entirely": "", strings.Repeat("w", 1<<20): "",
	} {
		if got := Suggest(word, known); got != want {
			t.Errorf("Suggest(%.20q) = %q, want %q", word, got, want)
		}
	}
}

// FuzzSelector holds Match to its promise: targets of the list, in its order,
// each once, and none that is disabled unless it was named.
func FuzzSelector(f *testing.F) {
	for _, s := range []string{"web1", "all,!db1", "env=prod", "!env!=prod", "@web,web*", "@loop", "web[1-", "!", "@both,!@db"} {
		f.Add(s, "@web")
	}
	f.Fuzz(func(t *testing.T, text, member string) {
		s, err := ParseSelector(text)
		if err != nil {
			return
		}
		if again, err := ParseSelector(s.String()); err != nil || again.String() != text {
			t.Errorf("ParseSelector(%q) does not read its own String", text)
		}
		all, groups := testTargets()
		groups["web"] = []string{member}
		got, err := s.Match(all, groups)
		if (err == nil) == (len(got) == 0) {
			t.Errorf("Match(%q) = %d targets, %v", text, len(got), err)
		}
		last := -1
		for _, g := range got {
			i := slices.IndexFunc(all, func(x Target) bool { return x.Name == g.Name })
			if i <= last {
				t.Errorf("Match(%q) = %s: out of order", text, names(got))
			}
			if g.Disabled && !strings.Contains(text, g.Name) {
				t.Errorf("Match(%q) holds the disabled %s", text, g.Name)
			}
			last = i
		}
	})
}

// FuzzParseAddress: what ParseAddress accepts, String writes so that it reads
// the same, and nothing in it can be taken for an option or shell syntax.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"web1", "me@web1:22", "[::1]:22", "fe80::1%eth0", "a@b@c", "me@[2001:db8::1]", "-x", "h:0", "1.2.3.4:65535"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		again, err := ParseAddress(a.String())
		if err != nil || again != a {
			t.Errorf("ParseAddress(%q) = %+v, written %q, which reads as %+v, %v", s, a, a, again, err)
		}
		for _, part := range []string{a.Host, a.User} {
			if strings.HasPrefix(part, "-") || strings.ContainsAny(part, "\n\x00 ;$`|&<>\"'\\") {
				t.Errorf("ParseAddress(%q) let %q through", s, part)
			}
		}
		if a.Host == "" || a.Port < 0 || a.Port > 65535 {
			t.Errorf("ParseAddress(%q) = %+v", s, a)
		}
	})
}
