package config

import (
	"errors"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// Dirs are where Bowline keeps its files on this machine.
type Dirs struct {
	Config  string // config.toml, profiles/, known_hosts
	State   string // audit/, database
	Runtime string // sockets
}

// FindDirs computes the places from the environment, by the XDG Base Directory
// Specification (a relative value is ignored, as it demands), with the usual
// places of macOS and Windows where its variables are not set. Where there is
// no directory for sockets that other users cannot write to, they stand below
// State: never in a shared /tmp.
func FindDirs(getenv func(string) string, home string) (Dirs, error) {
	return findDirs(runtime.GOOS, getenv, home)
}

func findDirs(goos string, getenv func(string) string, home string) (Dirs, error) {
	p := places{goos, getenv, home}
	var d Dirs
	switch goos {
	case "darwin":
		d = Dirs{Config: p.home("Library", "Application Support"), State: p.home("Library", "Application Support"), Runtime: p.env("TMPDIR")}
	case "windows":
		local := first(p.env("LOCALAPPDATA"), p.home("AppData", "Local"))
		d = Dirs{Config: first(p.env("APPDATA"), p.home("AppData", "Roaming")), State: local}
	default:
		d = Dirs{Config: p.home(".config"), State: p.home(".local", "state")}
	}
	d.Config = p.join(first(p.env("XDG_CONFIG_HOME"), d.Config), "bowline")
	d.State = p.join(first(p.env("XDG_STATE_HOME"), d.State), "bowline")
	d.Runtime = p.join(first(p.env("XDG_RUNTIME_DIR"), d.Runtime), "bowline")
	if d.Config == "" || d.State == "" {
		return Dirs{}, errors.New("there is no home directory; set XDG_CONFIG_HOME and XDG_STATE_HOME")
	}
	d.Runtime = first(d.Runtime, p.join(d.State, "run"))
	return d, nil
}

// places builds paths for an operating system that may not be this one.
type places struct {
	goos    string
	getenv  func(string) string
	homeDir string
}

// home is a directory below the home directory, "" if there is none.
func (p places) home(parts ...string) string {
	return p.join(p.absolute(p.homeDir), parts...)
}

// env is the value of a variable, "" unless it is an absolute path.
func (p places) env(name string) string { return p.absolute(p.getenv(name)) }

var windowsRoot = regexp.MustCompile(`^([A-Za-z]:[\\/]|\\\\)`)

func (p places) absolute(path string) string {
	if p.goos == "windows" && windowsRoot.MatchString(path) || p.goos != "windows" && strings.HasPrefix(path, "/") {
		return path
	}
	return ""
}

func (p places) join(dir string, parts ...string) string {
	if dir == "" {
		return ""
	}
	if p.goos == runtime.GOOS {
		return filepath.Join(append([]string{dir}, parts...)...)
	}
	separator := "/"
	if p.goos == "windows" {
		separator = `\`
	}
	return strings.Join(append([]string{strings.TrimRight(dir, separator)}, parts...), separator)
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
