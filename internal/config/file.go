package config

import (
	"reflect"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/target"
)

// file is the stored form. Keys may be added; existing ones never change.
type file struct {
	DefaultTarget   string                  `toml:"default_target"`
	DefaultExecutor string                  `toml:"default_executor"`
	AllowedTargets  *[]string               `toml:"allowed_targets"`
	Profile         string                  `toml:"profile"`
	Groups          map[string][]string     `toml:"groups"`
	Targets         map[string]fileTarget   `toml:"targets"`
	Executor        map[string]fileExecutor `toml:"executor"`
	Audit           fileAudit               `toml:"audit"`
	Approval        fileApproval            `toml:"approval"`
	Link            fileLink                `toml:"link"`
	Transfer        fileTransfer            `toml:"transfer"`
}

type fileTarget struct {
	Type          string            `toml:"type"`
	Host          string            `toml:"host"`
	User          string            `toml:"user"`
	Port          *int              `toml:"port"`
	KeyFile       string            `toml:"key_file"`
	KnownHosts    string            `toml:"known_hosts"`
	Profile       string            `toml:"profile"`
	Become        string            `toml:"become"`
	Jump          string            `toml:"jump"`
	Labels        map[string]string `toml:"labels"`
	Enabled       *bool             `toml:"enabled"`
	Password      bool              `toml:"password"`
	AllowLoopback bool              `toml:"allow_loopback"`
	Helper        string            `toml:"helper"`
}

// fileExecutor is the older table of Shannot.
type fileExecutor struct {
	Type               string `toml:"type"`
	Host               string `toml:"host"`
	Username           string `toml:"username"`
	KeyFile            string `toml:"key_file"`
	Port               *int   `toml:"port"`
	ConnectionPoolSize *int   `toml:"connection_pool_size"`
	KnownHosts         string `toml:"known_hosts"`
	StrictHostKey      *bool  `toml:"strict_host_key"`
	Profile            string `toml:"profile"`
	BwrapPath          string `toml:"bwrap_path"`
}

type fileAudit struct {
	Dir     string   `toml:"dir"`
	MaxSize string   `toml:"max_size"`
	Secrets []string `toml:"secrets"`
}

type fileApproval struct {
	TwoPerson        bool   `toml:"two_person"`
	RequireSignature bool   `toml:"require_signature"`
	Sign             bool   `toml:"sign"`
	KeyFile          string `toml:"key_file"`
}

type fileLink struct {
	Persist string `toml:"persist"`
}

type fileTransfer struct {
	Allow  []string `toml:"allow"`
	Refuse []string `toml:"refuse"`
}

// keysOf returns the keys of a stored table.
func keysOf(table any) []string {
	t := reflect.TypeOf(table)
	keys := make([]string, t.NumField())
	for i := range keys {
		keys[i] = t.Field(i).Tag.Get("toml")
	}
	return keys
}

// unknown returns the length of the part of a key that ends in a word this
// version does not know, with the words it could have been; 0 if all is known.
// The decoder cannot be asked: it takes "Host" for "host".
func unknown(key []string) (n int, known []string) {
	if known = keysOf(file{}); !slices.Contains(known, key[0]) {
		return 1, known
	}
	at := 0
	switch key[0] {
	case "targets":
		at, known = 2, keysOf(fileTarget{})
	case "executor":
		at, known = 2, keysOf(fileExecutor{})
	case "audit":
		at, known = 1, keysOf(fileAudit{})
	case "link":
		at, known = 1, keysOf(fileLink{})
	case "approval":
		at, known = 1, keysOf(fileApproval{})
	case "transfer":
		at, known = 1, keysOf(fileTransfer{})
	}
	if at > 0 && len(key) > at && !slices.Contains(known, key[at]) {
		return at + 1, known
	}
	return 0, nil
}

// dotted writes a key as a person would.
func dotted(parts []string) string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = tomlKey(p)
	}
	return strings.Join(out, ".")
}

// suggest returns "; did you mean X?" if known words are close to word.
func suggest(word string, known []string) string { return target.Suggest(word, known) }
