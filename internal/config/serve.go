package config

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/target"
)

// Serve is the [serve] table: what 'bowline serve' does unless its flags say otherwise.
// Zero fields say nothing.
type Serve struct {
	Listen     string // host:port
	TLSCert    string // PEM files
	TLSKey     string
	SelfSigned bool
	HostNames  []string
	URL        string // as browsers reach it, without a path; "" means as they ask for it
	HostMode   bool
	Grace      time.Duration
	JSONLog    bool
	OTLP       string // URL of a collector
	OIDC       OIDC
	People     []Person
}

// OIDC is the [serve.oidc] table: the provider that says who people are.
type OIDC struct {
	Issuer     string // URL; "" means that there is none
	Name       string // what people call it
	ClientID   string
	SecretFile string // "" for a public client
	Scopes     []string
}

// Person is one element of [[serve.people]]: who a verified address is here, and what
// they may do.
type Person struct {
	Email    string
	User     string
	Scopes   string
	Targets  string
	Profiles []string
}

type fileServe struct {
	Listen     string       `toml:"listen"`
	TLSCert    string       `toml:"tls_cert"`
	TLSKey     string       `toml:"tls_key"`
	SelfSigned bool         `toml:"self_signed"`
	HostNames  []string     `toml:"host_names"`
	URL        string       `toml:"url"`
	HostMode   bool         `toml:"host_mode"`
	Grace      string       `toml:"grace"`
	Log        string       `toml:"log"`
	OTLP       string       `toml:"otlp"`
	OIDC       fileOIDC     `toml:"oidc"`
	People     []filePerson `toml:"people"`
}

type fileOIDC struct {
	Issuer           string   `toml:"issuer"`
	Name             string   `toml:"name"`
	ClientID         string   `toml:"client_id"`
	ClientSecretFile string   `toml:"client_secret_file"`
	Scopes           []string `toml:"scopes"`
}

type filePerson struct {
	Email    string   `toml:"email"`
	User     string   `toml:"user"`
	Scope    string   `toml:"scope"`
	Targets  string   `toml:"targets"`
	Profiles []string `toml:"profiles"`
}

// unknownInServe is unknown for [serve] and what stands below it.
func unknownInServe(key []string) (n int, known []string) {
	if len(key) < 2 {
		return 0, nil
	}
	if known = keysOf(fileServe{}); !slices.Contains(known, key[1]) {
		return 2, known
	}
	tables := map[string]any{"oidc": fileOIDC{}, "people": filePerson{}}
	if table, ok := tables[key[1]]; ok && len(key) > 2 {
		if known = keysOf(table); !slices.Contains(known, key[2]) {
			return 3, known
		}
	}
	return 0, nil
}

func (b *builder) serve(f fileServe) {
	b.cfg.Serve = Serve{
		Listen: f.Listen, SelfSigned: f.SelfSigned, HostNames: f.HostNames, HostMode: f.HostMode, JSONLog: f.Log == "json",
		TLSCert: b.ownFile([]string{"serve", "tls_cert"}, f.TLSCert), TLSKey: b.ownFile([]string{"serve", "tls_key"}, f.TLSKey),
		URL: b.webAddress("url", f.URL), OTLP: b.webAddress("otlp", f.OTLP), Grace: b.grace(f.Grace),
	}
	if f.Listen != "" {
		if _, _, err := net.SplitHostPort(f.Listen); err != nil {
			b.fault([]string{"serve", "listen"}, "%q: use an address and a port, as 127.0.0.1:7440", f.Listen)
		}
	}
	if (f.TLSCert == "") != (f.TLSKey == "") {
		b.fault([]string{"serve"}, "tls_cert and tls_key need each other")
	}
	if f.TLSCert != "" && f.SelfSigned {
		b.fault([]string{"serve", "self_signed"}, "there is tls_cert already")
	}
	if f.Log != "" && f.Log != "json" && f.Log != "text" {
		b.fault([]string{"serve", "log"}, "%q: use json or text", f.Log)
	}
	for _, name := range f.HostNames {
		if name == "" || strings.ContainsAny(name, "/: \t") {
			b.fault([]string{"serve", "host_names"}, "%q: use a name without scheme and port", name)
		}
	}
	b.oidc(f.OIDC, len(f.People) > 0)
	b.people(f.People)
}

func (b *builder) grace(text string) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > time.Hour {
		b.fault([]string{"serve", "grace"}, "%q: use a time from 1s to 1h", text)
	}
	return d
}

// ownFile is ownPath for what a process that runs anywhere must find.
func (b *builder) ownFile(key []string, p string) string {
	out := b.ownPath(key, p)
	if p != "" && !strings.HasPrefix(p, "~") && !filepath.IsAbs(out) {
		b.fault(key, "%q must be absolute", p)
	}
	return out
}

func (b *builder) webAddress(field, text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || field == "url" && strings.Trim(u.Path, "/") != "" {
		b.fault([]string{"serve", field}, "use an address as https://bowline.example.com, without a password and what follows a ?")
	}
	return strings.TrimRight(text, "/")
}

func (b *builder) oidc(f fileOIDC, people bool) {
	key := []string{"serve", "oidc"}
	if f.Issuer == "" {
		if f.ClientID != "" || f.ClientSecretFile != "" || people {
			b.fault(key, "issuer is missing: nobody could sign in")
		}
		return
	}
	u, err := url.Parse(f.Issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		b.fault(append(key, "issuer"), "use an address that begins with https://")
	} else if f.Name == "" {
		f.Name = u.Hostname()
	}
	if f.ClientID == "" {
		b.fault(key, "client_id is missing")
	}
	b.cfg.Serve.OIDC = OIDC{Issuer: f.Issuer, Name: f.Name, ClientID: f.ClientID, Scopes: f.Scopes,
		SecretFile: b.ownFile(append(key, "client_secret_file"), f.ClientSecretFile)}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// people reads who may sign in. What their scopes and profiles mean is checked when they
// do: a token is made of them then.
func (b *builder) people(list []filePerson) {
	list, seen := slices.Clone(list), map[string]bool{}
	for i, p := range list {
		wrong := func(field, format string, args ...any) {
			line, column := b.syntax.element([]string{"serve", "people"}, i, field)
			b.faults = append(b.faults, fault{line, column, fmt.Sprintf("serve.people %d: %s: %s", i+1, field, fmt.Sprintf(format, args...))})
		}
		mail := PlainMail(p.Email)
		if at := strings.IndexByte(mail, '@'); at < 1 || at == len(mail)-1 || strings.ContainsAny(mail, " \t\r\n") {
			wrong("email", "%q is no address", p.Email)
		}
		if seen[mail] {
			wrong("email", "%q stands there twice", p.Email)
		}
		seen[mail] = true
		if p.User == "" || strings.ContainsFunc(p.User, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			wrong("user", "%q: give the name that approvals and the record shall have", p.User)
		}
		if p.Scope == "" {
			wrong("scope", "as in \"read,approve,apply\"")
		}
		if s, err := target.ParseSelector(cmp.Or(p.Targets, "all")); err != nil {
			wrong("targets", "%v", err)
		} else if err := s.Check(b.cfg.targets, b.cfg.Groups); err != nil {
			wrong("targets", "%v", err)
		}
		b.cfg.Serve.People = append(b.cfg.Serve.People, Person{Email: mail, User: p.User, Scopes: p.Scope, Targets: p.Targets, Profiles: p.Profiles})
	}
}

// PlainMail is an address in the form in which two of them are compared: letters of
// ASCII are small, and nothing else is folded, so that no other letter looks like one.
func PlainMail(address string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.TrimSpace(address))
}

// Person returns who an address is.
func (s Serve) Person(address string) (Person, bool) {
	address = PlainMail(address)
	i := slices.IndexFunc(s.People, func(p Person) bool { return p.Email == address })
	if i < 0 {
		return Person{}, false
	}
	return s.People[i], true
}
