package ssh

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	sshconfig "github.com/kevinburke/ssh_config"

	"github.com/bowline-sh/bowline/diag"
)

// readConfigFiles reads ssh_config where there is no ssh to ask. It knows Host,
// Include and "Match host" and "Match all"; a file with another Match is an
// error, because to pass over it could mean to connect elsewhere.
func readConfigFiles(key settingsKey, config string) (settings, error) {
	files, err := openConfigs(config)
	if err != nil {
		return settings{}, err
	}
	s, err := withoutConfig(settingsKey{host: key.host, user: key.user, port: key.port})
	if err != nil {
		return settings{}, err
	}
	get := func(name string) []string { return lookUp(files, key.host, name) }
	if err := s.apply(key, get); err != nil {
		return settings{}, err
	}
	s.expand(key.host)
	return s, nil
}

// apply takes the options that get finds; what key gives stays.
func (s *settings) apply(key settingsKey, get func(string) []string) error {
	for _, name := range []string{
		"HostKeyAlias", "IdentityAgent", "IdentitiesOnly", "ProxyJump", "ProxyCommand",
		"UserKnownHostsFile", "GlobalKnownHostsFile", "ConnectTimeout", "HostName", "User", "Port",
	} {
		values := get(name)
		if len(values) == 0 || (name == "User" && key.user != "") || (name == "Port" && key.port != 0) {
			continue
		}
		if err := s.set(strings.ToLower(name), values[0]); err != nil {
			return err
		}
	}
	if s.jump != "" { // of the two the first read wins; ssh -G tells, we cannot
		s.proxyCommand = ""
	}
	s.host = strings.NewReplacer("%h", key.host, "%%", "%").Replace(s.host)
	s.identityFiles = append(s.identityFiles, get("IdentityFile")...)
	if len(s.identityFiles) == 0 {
		s.identityFiles = defaultIdentityFiles()
	}
	s.certificateFiles = get("CertificateFile")
	if len(s.knownHosts) == 0 {
		s.knownHosts = defaultKnownHosts()
	}
	return nil
}

// openConfigs parses the configuration files that ssh would read.
func openConfigs(config string) ([]*sshconfig.Config, error) {
	paths := []string{config}
	if config == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		paths = []string{filepath.Join(home, ".ssh", "config"), systemConfig()}
	}
	var files []*sshconfig.Config
	for _, path := range paths {
		f, err := decodeConfig(path)
		if errors.Is(err, fs.ErrNotExist) && config == "" {
			continue
		}
		if err != nil {
			return nil, diag.New(diag.Usage, "", "install the OpenSSH client; Bowline then asks it what the file means",
				"read %q without ssh: %w", path, err)
		}
		files = append(files, f)
	}
	return files, nil
}

func systemConfig() string {
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("PROGRAMDATA"), "ssh", "ssh_config")
	}
	return "/etc/ssh/ssh_config"
}

func decodeConfig(path string) (*sshconfig.Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cfg, err := sshconfig.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	return cfg, nil
}

// lookUp returns the values of an option, in the order in which ssh reads
// them.
func lookUp(files []*sshconfig.Config, host, name string) []string {
	var all []string
	for _, f := range files {
		values, err := f.GetAll(host, name)
		if err != nil {
			continue
		}
		for _, v := range values {
			if unquoted, err := strconv.Unquote(v); err == nil {
				v = unquoted
			}
			all = append(all, v)
		}
	}
	return all
}
