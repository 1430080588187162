package helper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bowline-sh/bowline/internal/durable"
)

// What makes a host go on with open windows after a restart, for as long as there is
// one. systemd reads its directory at boot (systemd.unit(5)), cron its own (crontab(5));
// only root can ask either. Without both the next connection finds what is open.
const (
	systemdRuns = "/run/systemd/system" // sd_booted(3)
	systemdDir  = "/etc/systemd/system"
	cronDir     = "/etc/cron.d"
	bootUnit    = "bowline-confirm.service"
	bootCron    = "bowline-confirm"
)

const unitText = `[Unit]
Description=Takes back changes by bowline that nobody confirmed in time
[Service]
ExecStart=%s supervise %s
[Install]
WantedBy=multi-user.target
`

// watchBoot asks the host to call Supervise after a restart.
func watchBoot(parent string) error {
	self, err := os.Executable()
	if err != nil || os.Geteuid() != 0 || !plain(self) || !plain(parent) {
		return err
	}
	if isDir(systemdRuns) {
		unit := filepath.Join(systemdDir, bootUnit)
		wants := filepath.Join(systemdDir, "multi-user.target.wants")
		err := durable.WriteFile(unit, fmt.Appendf(nil, unitText, self, parent), 0o644)
		if err == nil {
			err = os.MkdirAll(wants, 0o755)
		}
		if err == nil {
			err = os.Symlink(unit, filepath.Join(wants, bootUnit))
		}
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
		return err
	}
	if isDir(cronDir) {
		return durable.WriteFile(filepath.Join(cronDir, bootCron), fmt.Appendf(nil, "@reboot root %s supervise %s\n", self, parent), 0o644)
	}
	return nil
}

// unwatchBoot takes that back when no window is open any more.
func unwatchBoot(parent string) error {
	if os.Geteuid() != 0 || len(unsettled(parent)) > 0 {
		return nil
	}
	var errs []error
	for _, f := range []string{filepath.Join(systemdDir, "multi-user.target.wants", bootUnit), filepath.Join(systemdDir, bootUnit), filepath.Join(cronDir, bootCron)} {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// plain reports whether a path needs no quoting for systemd or cron.
func plain(path string) bool {
	return strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == ""
}
