package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const served = `[targets.web1]
host = "web1"

[serve]
listen = "10.0.0.5:7440"
tls_cert = "/etc/bowline/tls.pem"
tls_key = "~/tls.key"
host_names = ["bowline.example.com"]
url = "https://bowline.example.com/"
host_mode = true
grace = "45s"
log = "json"
otlp = "http://127.0.0.1:4318"

[serve.oidc]
issuer = "https://id.example.com"
client_id = "bowline"
client_secret_file = "/etc/bowline/secret"

[[serve.people]]
email = "Ann@Example.com"
user = "ann"
scope = "read,approve,apply"
targets = "web1"

[[serve.people]]
email = "bob@example.com"
user = "bob"
scope = "read"
`

func TestServe(t *testing.T) {
	got := parse(t, served).Serve
	want := Serve{
		Listen: "10.0.0.5:7440", TLSCert: "/etc/bowline/tls.pem", TLSKey: "/home/me/tls.key", HostNames: []string{"bowline.example.com"},
		URL: "https://bowline.example.com", HostMode: true, Grace: 45 * time.Second, JSONLog: true, OTLP: "http://127.0.0.1:4318",
		OIDC: OIDC{Issuer: "https://id.example.com", Name: "id.example.com", ClientID: "bowline", SecretFile: "/etc/bowline/secret"},
		People: []Person{
			{Email: "ann@example.com", User: "ann", Scopes: "read,approve,apply", Targets: "web1"},
			{Email: "bob@example.com", User: "bob", Scopes: "read"},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for address, user := range map[string]string{"ANN@example.com": "ann", "bob@example.com ": "bob", "ann@example.com.evil": "", "": "", "bo\u212a@example.com": ""} {
		if p, ok := got.Person(address); p.User != user || ok != (user != "") {
			t.Errorf("%q is %+v", address, p)
		}
	}
}

func TestServeFaults(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"unknown key":        {"listen =", "lisen =", `c.toml:5:1: unknown key "serve.lisen"; did you mean`},
		"unknown of oidc":    {"client_id =", "clientid =", `unknown key "serve.oidc.clientid"`},
		"unknown of people":  {"user = \"bob\"", "usr = \"bob\"", `unknown key "serve.people.usr"`},
		"listen":             {"10.0.0.5:7440", "10.0.0.5", "c.toml:5:1: serve.listen:"},
		"half a certificate": {"tls_key = \"~/tls.key\"\n", "", "need each other"},
		"relative file":      {"/etc/bowline/tls.pem", "tls.pem", "must be absolute"},
		"two certificates":   {"host_mode = true", "self_signed = true", "tls_cert already"},
		"grace":              {"45s", "45", "serve.grace"},
		"log":                {`log = "json"`, `log = "xml"`, "use json or text"},
		"url with path":      {"https://bowline.example.com/", "https://bowline.example.com/x", "serve.url"},
		"otlp with password": {"http://127.0.0.1:4318", "http://a:hunter2@127.0.0.1", "serve.otlp"},
		"plain issuer":       {"https://id.example.com", "http://id.example.com", "begins with https"},
		"no issuer":          {"issuer = \"https://id.example.com\"\n", "", "issuer is missing"},
		"no client":          {"client_id = \"bowline\"\n", "", "client_id is missing"},
		"no address":         {"bob@example.com", "bob", `c.toml:27:1: serve.people 2: email`},
		"twice":              {"bob@example.com", "ANN@example.com", "stands there twice"},
		"no user":            {"user = \"bob\"\n", "", "serve.people 2: user"},
		"no scope":           {"scope = \"read\"\n", "", "serve.people 2: scope"},
		"no such target":     {`targets = "web1"`, `targets = "web9"`, `c.toml:24:1: serve.people 1: targets`},
		"a list as a value":  {"host_mode = true", `people = []`, "write each as a table of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(served, c.from, c.to, 1)
			if text == served {
				t.Fatal("nothing was replaced")
			}
			if name == "a list as a value" {
				text, _, _ = strings.Cut(text, "[[serve.people]]")
			}
			_, err := Parse("c.toml", []byte(text), "/home/me")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("it tells a password: %v", err)
			}
		})
	}
}
