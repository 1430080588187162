package config

import (
	"errors"
	"path/filepath"
	"runtime"
)

// Dirs are where Bowline keeps its files on this machine.
type Dirs struct {
	Config  string // config.toml, profiles/, known_hosts
	State   string // audit/, database
	Runtime string // sockets; "" where the system has no such place
}

// FindDirs computes the places from the environment, by the XDG Base Directory
// Specification (a relative value is ignored, as it demands), with the usual
// places of macOS and Windows where its variables are not set.
func FindDirs(getenv func(string) string, home string) (Dirs, error) {
	if home == "" {
		return Dirs{}, errors.New("there is no home directory; set XDG_CONFIG_HOME and XDG_STATE_HOME")
	}
	configHome, stateHome := filepath.Join(home, ".config"), filepath.Join(home, ".local", "state")
	switch runtime.GOOS {
	case "darwin":
		configHome = filepath.Join(home, "Library", "Application Support")
		stateHome = configHome
	case "windows":
		configHome = filepath.Join(home, "AppData", "Roaming")
		stateHome = filepath.Join(home, "AppData", "Local")
	}
	d := Dirs{
		Config: filepath.Join(absolute(getenv("XDG_CONFIG_HOME"), configHome), "bowline"),
		State:  filepath.Join(absolute(getenv("XDG_STATE_HOME"), stateHome), "bowline"),
	}
	if run := absolute(getenv("XDG_RUNTIME_DIR"), ""); run != "" {
		d.Runtime = filepath.Join(run, "bowline")
	}
	return d, nil
}

func absolute(value, fallback string) string {
	if filepath.IsAbs(value) {
		return filepath.Clean(value)
	}
	return fallback
}
