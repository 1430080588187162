package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline/target"
)

// field is a key of a target's table with its value as TOML, "" if the value
// is the default and the key can be left out.
type field struct{ key, value string }

// fields lists the keys of a target's table in the order they are written.
func fields(t target.Target) []field {
	text := func(v string) string {
		if v == "" {
			return ""
		}
		return tomlString(v)
	}
	flag := func(v bool, word string) string {
		if v {
			return word
		}
		return ""
	}
	port := ""
	if t.Port != 0 {
		port = strconv.Itoa(t.Port)
	}
	return []field{
		{"type", text(string(t.Kind))}, {"host", text(t.Host)}, {"user", text(t.User)}, {"port", port}, {"key_file", text(t.KeyFile)},
		{"known_hosts", text(t.KnownHosts)}, {"profile", text(t.Profile)}, {"become", text(t.Become)}, {"jump", text(t.Jump)},
		{"labels", tomlLabels(t.Labels)}, {"enabled", flag(t.Disabled, "false")}, {"password", flag(t.Password, "true")}, {"helper", flag(t.NoHelper, `"never"`)}, {"allow_loopback", flag(t.AllowLoopback, "true")},
		{"token_file", text(t.TokenFile)}, {"fingerprint", text(t.Fingerprint)},
	}
}

// render writes a target as a table; fields with their default are left out.
func render(t target.Target) []string {
	lines := []string{"[targets." + tomlKey(t.Name) + "]"}
	for _, f := range fields(t) {
		if f.value != "" {
			lines = append(lines, f.key+" = "+f.value)
		}
	}
	return lines
}

func tomlLabels(labels map[string]string) string {
	if len(labels) == 0 {
		return ""
	}
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, tomlKey(k)+" = "+tomlString(labels[k]))
	}
	return "{ " + strings.Join(pairs, ", ") + " }"
}

// tomlKey writes a key bare where TOML allows it.
func tomlKey(k string) string {
	if k != "" && strings.Trim(k, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == "" {
		return k
	}
	return tomlString(k)
}

// tomlString writes a basic string (TOML 1.0, "String"). s must be UTF-8.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
