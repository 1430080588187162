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
	Store           string                  `toml:"store"`
	Groups          map[string][]string     `toml:"groups"`
	Targets         map[string]fileTarget   `toml:"targets"`
	Executor        map[string]fileExecutor `toml:"executor"`
	Audit           fileAudit               `toml:"audit"`
	Approval        fileApproval            `toml:"approval"`
	Link            fileLink                `toml:"link"`
	Transfer        fileTransfer            `toml:"transfer"`
	Policy          filePolicy              `toml:"policy"`
	Notify          fileNotify              `toml:"notify"`
	Serve           fileServe               `toml:"serve"`
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
	TokenFile     string            `toml:"token_file"`
	Fingerprint   string            `toml:"fingerprint"`
	Box           *fileBox          `toml:"box"`
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

type filePolicy struct {
	Rule   []fileRule   `toml:"rule"`
	Limit  []fileLimit  `toml:"limit"`
	Effect []fileEffect `toml:"effect"`
}

type fileRule struct {
	Name     string   `toml:"name"`
	Who      []string `toml:"who"`
	Do       []string `toml:"do"`
	On       string   `toml:"on"`
	Profiles []string `toml:"profiles"`
	Commands []string `toml:"commands"`
	Writes   []string `toml:"writes"`
	Decision string   `toml:"decision"`
	Reason   string   `toml:"reason"`
}

type fileLimit struct {
	Name       string   `toml:"name"`
	Who        []string `toml:"who"`
	Do         []string `toml:"do"`
	Rate       string   `toml:"rate"`
	Concurrent int      `toml:"concurrent"`
}

type fileEffect struct {
	Name         string   `toml:"name"`
	Who          []string `toml:"who"`
	On           string   `toml:"on"`
	Paths        []string `toml:"paths"`
	Kinds        []string `toml:"kinds"`
	Setuid       *bool    `toml:"setuid"`
	MaxDeletions *int     `toml:"max_deletions"`
	MaxChanges   *int     `toml:"max_changes"`
	Packages     []string `toml:"packages"`
	Users        []string `toml:"users"`
	Units        []string `toml:"units"`
	Commands     []string `toml:"commands"`
	Classes      []string `toml:"classes"`
	Severity     string   `toml:"severity"`
	Decision     string   `toml:"decision"`
	Reason       string   `toml:"reason"`
}

type fileNotify struct {
	Command []string `toml:"command"`
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
		if at, known = 2, keysOf(fileTarget{}); len(key) > 3 && key[2] == "box" {
			at, known = 3, keysOf(fileBox{})
		}
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
	case "notify":
		at, known = 1, keysOf(fileNotify{})
	case "policy":
		return unknownInPolicy(key)
	case "serve":
		return unknownInServe(key)
	}
	if at > 0 && len(key) > at && !slices.Contains(known, key[at]) {
		return at + 1, known
	}
	return 0, nil
}

// unknownInPolicy is unknown for the lists of tables below [policy].
func unknownInPolicy(key []string) (n int, known []string) {
	if len(key) < 2 {
		return 0, nil
	}
	if known = keysOf(filePolicy{}); !slices.Contains(known, key[1]) {
		return 2, known
	}
	tables := map[string]any{"rule": fileRule{}, "limit": fileLimit{}, "effect": fileEffect{}}
	if known = keysOf(tables[key[1]]); len(key) > 2 && !slices.Contains(known, key[2]) {
		return 3, known
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
