package target

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Address is where an SSH server listens and as whom to log in.
type Address struct {
	User string // "" if not given
	Host string // without brackets; an IPv6 address keeps its zone
	Port int    // 0 if not given
}

// ParseAddress parses [USER@]HOST[:PORT]. HOST is a name, an IPv4 address, an
// IPv6 address in brackets, or a bare IPv6 address (then without a port). The
// last "@" separates the login, so that logins may contain one.
func ParseAddress(s string) (Address, error) {
	var a Address
	rest := s
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		a.User, rest = s[:i], s[i+1:]
		if err := validUser(a.User); err != nil {
			return Address{}, fmt.Errorf("address %q: %w", s, err)
		}
	}
	host, port, err := splitPort(rest)
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %w", s, err)
	}
	a.Host, a.Port = host, port
	if err := validHost(a.Host); err != nil {
		return Address{}, fmt.Errorf("address %q: %w", s, err)
	}
	return a, nil
}

func splitPort(s string) (host string, port int, err error) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", 0, fmt.Errorf("missing ']'")
		}
		host = s[1:end]
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Is6() {
			return "", 0, fmt.Errorf("%q in brackets is not an IPv6 address", host)
		}
		rest := s[end+1:]
		if rest == "" {
			return host, 0, nil
		}
		if rest[0] != ':' {
			return "", 0, fmt.Errorf("text after ']'")
		}
		port, err = ParsePort(rest[1:])
		return host, port, err
	}
	if ip, err := netip.ParseAddr(s); err == nil && ip.Is6() {
		return s, 0, nil
	}
	host, p, ok := strings.Cut(s, ":")
	if !ok {
		return s, 0, nil
	}
	if strings.Contains(p, ":") {
		return "", 0, fmt.Errorf("more than one ':'; write an IPv6 address in brackets, as in [2001:db8::1]:22")
	}
	port, err = ParsePort(p)
	return host, port, err
}

// ParsePort parses a decimal TCP port from 1 to 65535, without sign or spaces.
func ParsePort(s string) (int, error) {
	if s == "" || len(s) > 5 || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("port %q: use a number from 1 to 65535", s)
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Errorf("port %q: use a number from 1 to 65535", s)
	}
	return n, nil
}

// String returns the address as ParseAddress reads it.
func (a Address) String() string {
	var b strings.Builder
	if a.User != "" {
		b.WriteString(a.User + "@")
	}
	v6 := strings.Contains(a.Host, ":")
	if v6 && a.Port != 0 {
		b.WriteString("[" + a.Host + "]")
	} else {
		b.WriteString(a.Host)
	}
	if a.Port != 0 {
		b.WriteString(":" + strconv.Itoa(a.Port))
	}
	return b.String()
}

// validHost refuses what ssh could read as an option or a shell as syntax.
func validHost(h string) error {
	switch {
	case h == "":
		return fmt.Errorf("host is missing")
	case strings.HasPrefix(h, "-"):
		return fmt.Errorf("host %q must not start with '-'", h)
	case len(h) > 255 || !plain(h) || strings.ContainsAny(h, "@[]/\\,!*?'\"`$;&|<>(){}#="):
		return fmt.Errorf("host %q is not a host name or address", h)
	}
	if strings.Contains(h, ":") {
		if _, err := netip.ParseAddr(h); err != nil {
			return fmt.Errorf("host %q is not an IPv6 address", h)
		}
	}
	return nil
}

func validUser(u string) error {
	switch {
	case u == "":
		return fmt.Errorf("login before '@' is empty")
	case strings.HasPrefix(u, "-"):
		return fmt.Errorf("login %q must not start with '-'", u)
	case len(u) > 255 || !plain(u) || strings.ContainsAny(u, ":/\\'\"`$;&|<>(){}*?[]!"):
		return fmt.Errorf("login %q has characters a login cannot have", u)
	}
	return nil
}
