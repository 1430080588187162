package ssh

import "testing"

func TestIdentify(t *testing.T) {
	for _, tt := range []struct {
		host  string
		port  int
		alias string
		want  hostIdentity
	}{
		{"Web1.Example.com", 22, "", hostIdentity{"web1.example.com", "", "web1.example.com"}},
		{"web1", 2222, "", hostIdentity{"[web1]:2222", "web1", "web1"}},
		{"::1", 22, "", hostIdentity{"::1", "", "::1"}},
		{"::1", 2222, "", hostIdentity{"[::1]:2222", "::1", "::1"}},
		{"10.0.0.1", 2222, "Box-1", hostIdentity{"box-1", "", "box-1"}},
	} {
		if got := identify(tt.host, tt.port, tt.alias); got != tt.want {
			t.Errorf("identify(%q, %d, %q) = %+v, want %+v", tt.host, tt.port, tt.alias, got, tt.want)
		}
	}
}

func TestHostLineMatches(t *testing.T) {
	for _, tt := range []struct {
		patterns, name string
		want           bool
	}{
		{"web1", "web1", true},
		{"web1", "web10", false},
		{"WEB1", "web1", true},
		{"web1,web2", "web2", true},
		{"*.example.com", "a.b.example.com", true},
		{"*.example.com", "example.com", false},
		{"web?", "web1", true},
		{"web?", "web", false},
		{"*", "[web1]:2222", true},
		{"*,!web1", "web1", false},
		{"!web1,*", "web1", false},
		{"!web2", "web1", false},
		{"[web1]:2222", "[web1]:2222", true},
		{"[web1]:2222", "web1", false},
		{"[web1]:*", "[web1]:22022", true},
		{"", "web1", false},
		{"a*b*c*d", "aXbXcXd", true},
		{"a*b*c*d", "aXbXcX", false},
		{"|1|AAAA|BBBB", "web1", false},
		{"|1||", "web1", false},
		{"|", "web1", false},
	} {
		if got := (hostLine{patterns: tt.patterns}).matches(tt.name); got != tt.want {
			t.Errorf("%q matches %q: %v, want %v", tt.patterns, tt.name, got, tt.want)
		}
	}
}

func TestExitBySignal(t *testing.T) {
	for name, want := range map[string]int{"KILL": 137, "TERM": 143, "SYS@openssh.com": 159, "": 128, "RTMIN": 128, "\x1b[2J": 128} {
		if got := exitBySignal(name); got.Code != want || got.Signal == "" {
			t.Errorf("exitBySignal(%q) = %+v, want code %d", name, got, want)
		}
		if got := exitBySignal(name).Signal; clean(got) != got {
			t.Errorf("exitBySignal(%q) lets %q through", name, got)
		}
	}
}
