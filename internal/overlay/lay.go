//go:build linux

package overlay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// view is the tree the script sees, as it lies in the scratch tmpfs.
type view struct {
	scratch string
	root    string   // where it is put together
	meet    string   // becomes [meet]
	points  []string // every path of the view where a mount begins
}

// point reports whether a mount of the view begins at p.
func (v *view) point(p string) bool { return slices.Contains(v.points, p) }

// covers reports whether a mount of the view begins at p or below it.
func (v *view) covers(p string) bool {
	return slices.ContainsFunc(v.points, func(q string) bool { return within(q, p) })
}

// divides reports whether a mount of the view begins below p.
func (v *view) divides(p string) bool {
	return slices.ContainsFunc(v.points, func(q string) bool { return q != p && within(q, p) })
}

// layer is one writable mount of the view.
type layer struct {
	point  string // path in the view, and of what is below it on the host
	file   bool   // a private copy of a file, not an overlay
	copied bool   // a private copy of a tree, not an overlay
	upper  string // directory of the overlay, or the copy
	work   string
	stubs  string // directory that lies over the base, or ""
	mode   uint32 // of the root of upper, if alien
	alien  bool   // the root of upper could not be given its owner
	flags  uintptr
}

// fresh are the directories that get a file system of their own.
var fresh = []string{"/proc", "/sys", "/dev"}

func (s *stage) lay() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := parseMounts(f)
	if err != nil {
		return err
	}
	mounts := visible(all)
	if len(mounts) == 0 || mounts[0].point != "/" {
		return errors.New("the root directory is not a mount point")
	}
	if err := s.makeScratch(); err != nil {
		return err
	}
	if err := s.divide(mounts); err != nil {
		return err
	}
	if err := s.placeStubs(); err != nil {
		return err
	}
	for _, l := range s.layers {
		if _, err := os.Lstat(l.point); os.IsNotExist(err) {
			continue
		}
		if err := s.layOne(l); err != nil {
			return err
		}
	}
	if err := s.laySpecial(); err != nil {
		return err
	}
	s.withholdAll()
	if s.Mode == plan.User {
		// Skeletons alone: the layers are mounts of their own.
		if err := unix.Mount("", s.view.root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
			return fmt.Errorf("make skeletons read-only: %w", err)
		}
	}
	if !s.HostNet {
		return loopback()
	}
	s.label("the network of the host is shared; abstract sockets of the host can be reached")
	return nil
}

// inodes bounds the entries of the scratch tmpfs: one for 1 KiB, and enough for
// the smallest sensible size.
func inodes(bytes int64) int64 { return max(bytes/1024, 1<<16) }

func (s *stage) makeScratch() error {
	opts := fmt.Sprintf("mode=0700,size=%d,nr_inodes=%d", s.MaxBytes, inodes(s.MaxBytes))
	scratch := string(s.Scratch)
	if err := unix.Mount("bowline", scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		return fmt.Errorf("mount a tmpfs at %q: %w", scratch, err)
	}
	s.view = &view{scratch: scratch, root: scratch + "/root", meet: scratch + "/meet"}
	for _, dir := range []string{"root", "meet", "meet/real", "layer", "dev"} {
		if err := os.Mkdir(scratch+"/"+dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.view.meet+"/empty", nil, 0o444); err != nil {
		return err
	}
	if err := unix.Lsetxattr(s.view.meet+"/empty", "user.bowline", []byte("x"), 0); err != nil {
		if s.Mode == plan.User {
			return fmt.Errorf("a tmpfs without user attributes, which come with Linux 6.6: %w", err)
		}
		s.label("attributes user.* cannot be previewed; they come with Linux 6.6")
	}
	return copyFile("/proc/self/exe", s.view.meet+"/stub", 0o755)
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// pseudo are file systems without files of their own. Any other is tried: the
// kernel says if it cannot be a lower layer.
var pseudo = []string{
	"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "debugfs", "tracefs", "securityfs", "bpf", "pstore",
	"configfs", "fusectl", "binfmt_misc", "rpc_pipefs", "nsfs", "efivarfs", "selinuxfs", "hugetlbfs", "devtmpfs",
	"nfsd", "autofs",
}

// divide decides what each mount of the host becomes.
func (s *stage) divide(mounts []mount) error {
	var real []mount
	for _, m := range mounts {
		if slices.ContainsFunc(fresh, func(d string) bool { return within(m.point, d) }) {
			continue
		}
		if slices.Contains(pseudo, m.fstype) || strings.HasPrefix(m.fstype, "fuse.gvfsd") || m.fstype == "fuse.portal" {
			if rules(s.Volatile).of(m.point) != volatileAll {
				return refuseMount(m, "it is not a file system of files", nil)
			}
			s.label(fmt.Sprintf("%s (%s) is left empty", m.point, m.fstype))
			continue
		}
		real = append(real, m)
	}
	s.view.points = append([]string{meet}, fresh...)
	for _, m := range real {
		s.view.points = append(s.view.points, m.point)
	}
	if s.Mode == plan.User {
		return s.divideUser(real)
	}
	for _, m := range real {
		if err := s.addLayer(m); err != nil {
			return err
		}
	}
	return nil
}

func refuseMount(m mount, why string, err error) error {
	if err != nil {
		why += ": " + err.Error()
	}
	return diag.New(diag.Sandbox, "lay the view", "a dry run shows all of the host or nothing; unmount it for the dry run if it does not matter",
		"%s (%s): %s", m.point, m.fstype, why)
}

func (s *stage) addLayer(m mount) error {
	fi, err := os.Lstat(m.point)
	if os.IsNotExist(err) {
		return nil // unmounted since: the kernel takes mounts off a removed directory
	}
	if err != nil {
		return refuseMount(m, "cannot be read", err)
	}
	if !fi.IsDir() && !fi.Mode().IsRegular() {
		if rules(s.Volatile).of(m.point) == volatileAll {
			s.label(fmt.Sprintf("%s (%s) is left out", m.point, m.fstype))
			return nil
		}
		return refuseMount(m, "neither a directory nor a file", nil)
	}
	l := &layer{point: m.point, file: !fi.IsDir(), flags: mountFlags(m)}
	return s.makeLayer(l)
}

// mountFlags are those of the mount on the host, and no devices.
func mountFlags(m mount) uintptr {
	flags := uintptr(unix.MS_NODEV)
	for option, flag := range map[string]uintptr{
		"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "noexec": unix.MS_NOEXEC, "noatime": unix.MS_NOATIME,
		"nodiratime": unix.MS_NODIRATIME,
	} {
		if m.has(option) {
			flags |= flag
		}
	}
	return flags
}

// makeLayer makes the directories of l and puts it into the order of laying.
func (s *stage) makeLayer(l *layer) error {
	dir := fmt.Sprintf("%s/layer/%d", s.view.scratch, len(s.layers))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	l.upper, l.work, l.stubs = dir+"/upper", dir+"/work", ""
	s.layers = append(s.layers, l)
	if l.file {
		if err := copyFile(l.point, l.upper, 0o600); err != nil {
			return fmt.Errorf("copy %s: %w", l.point, err)
		}
		return s.cloneAttrs(l.point, l.upper, l)
	}
	for _, d := range []string{l.upper, l.work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	// The root of the upper layer gives the mount its mode and owner.
	return s.cloneAttrs(l.point, l.upper, l)
}

// cloneAttrs gives to the mode, owner, xattrs and times of from. Where the owner
// cannot be given, it gives ours the rights that we have; l, if not nil, notes it.
func (s *stage) cloneAttrs(from, to string, l *layer) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return fmt.Errorf("stat %s: %w", from, err)
	}
	mode := st.Mode & 0o7777
	if err := unix.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		if s.Mode != plan.User {
			return fmt.Errorf("chown %s: %w", to, err)
		}
		if !s.ours(st) {
			mode = accessOf(from)
			if l != nil {
				l.mode, l.alien = mode, true
			}
		}
	}
	xattrs, _, err := readXattrs(from, s.Mode)
	if err != nil {
		return err
	}
	for name, value := range xattrs {
		if err := unix.Lsetxattr(to, name, value, 0); err != nil && s.Mode == plan.Root {
			return fmt.Errorf("set %s of %s: %w", name, to, err)
		}
	}
	if err := unix.Chmod(to, mode); err != nil { // after the ACL, which changes it
		return fmt.Errorf("chmod %s: %w", to, err)
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, times, unix.AT_SYMLINK_NOFOLLOW)
}

// ours reports whether this user namespace can name the owner.
func (s *stage) ours(st unix.Stat_t) bool { return int(st.Uid) == s.UID }

// accessOf returns the rights this process has to p, as the owner's and all
// others'.
func accessOf(p string) uint32 {
	var mode uint32
	for bit, want := range map[uint32]uint32{0o444: unix.R_OK, 0o222: unix.W_OK, 0o111: unix.X_OK} {
		if unix.Access(p, want) == nil {
			mode |= bit
		}
	}
	return mode
}

// layOne mounts l below the root of the view.
func (s *stage) layOne(l *layer) error {
	target := s.view.root + l.point
	if l.point == "/" {
		target = s.view.root
	}
	if l.file {
		if err := unix.Mount(l.upper, target, "", unix.MS_BIND, ""); err != nil {
			return refuseMount(mount{point: l.point, fstype: "file"}, "its copy cannot be mounted", err)
		}
		if l.flags&unix.MS_RDONLY != 0 {
			return restrict(target, unix.MOUNT_ATTR_RDONLY)
		}
		return nil
	}
	lower := optionPath(l.point)
	if l.stubs != "" {
		lower = optionPath(l.stubs) + ":" + lower
	}
	base := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, optionPath(l.upper), optionPath(l.work))
	var first error
	for i, extra := range options(s.Mode) {
		err := unix.Mount("overlay", target, "overlay", l.flags, base+extra.text)
		if err == nil {
			if i > 0 {
				s.label(extra.label)
			}
			return nil
		}
		if first == nil {
			first = err
		}
	}
	if first == unix.EINVAL && s.Mode == plan.Root && l.stubs == "" && !s.view.divides(l.point) {
		return s.layCopy(l, target)
	}
	return refuseMount(mount{point: l.point, fstype: "overlay"}, "cannot be overlaid", first)
}

// copyBytes bounds the copy of a file system that cannot be overlaid: an EFI
// system partition, for one, whose names have no case.
const copyBytes = 256 << 20

// layCopy mounts a copy where the kernel has no overlay of it.
func (s *stage) layCopy(l *layer, target string) error {
	m := mount{point: l.point, fstype: "no overlay"}
	var fsys unix.Statfs_t
	if err := unix.Statfs(l.point, &fsys); err != nil {
		return refuseMount(m, "cannot be read", err)
	}
	limit := min(copyBytes, s.MaxBytes/4)
	if used := int64(fsys.Blocks-fsys.Bfree) * fsys.Bsize; used > limit {
		return refuseMount(m, fmt.Sprintf("the kernel cannot overlay it, and with %d bytes it is too large to copy", used), nil)
	}
	left := limit
	if err := s.copyTree(l.point, l.upper, &left); err != nil {
		return refuseMount(m, "the kernel cannot overlay it, nor can it be copied", err)
	}
	l.copied = true
	s.label(l.point + " is a copy; its files have other inode numbers")
	if err := unix.Mount(l.upper, target, "", unix.MS_BIND, ""); err != nil {
		return refuseMount(m, "its copy cannot be mounted", err)
	}
	return unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|l.flags, "")
}

// copyTree copies what is in from, which holds no other mount, to an existing to.
func (s *stage) copyTree(from, to string, left *int64) error {
	names, err := readNames(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		src, dst := path.Join(from, name), path.Join(to, name)
		st, m, err := stat(src, s.Mode)
		if err != nil {
			return err
		}
		switch st.Type {
		case change.Dir:
			if err = os.Mkdir(dst, 0o700); err == nil {
				err = s.copyTree(src, dst, left)
			}
		case change.File:
			if *left -= m.size; *left < 0 || st.NLink > 1 {
				return fmt.Errorf("%q is too large or has hard links", src)
			}
			err = copyFile(src, dst, 0o600)
		case change.Symlink:
			if err := errors.Join(os.Symlink(string(st.Target), dst), os.Lchown(dst, int(st.UID), int(st.GID))); err != nil {
				return err
			}
			continue
		default:
			err = fmt.Errorf("%q is a %s", src, st.Type)
		}
		if err != nil {
			return err
		}
		if err := s.cloneAttrs(src, dst, nil); err != nil {
			return err
		}
	}
	return s.cloneAttrs(from, to, nil)
}

type option struct{ text, label string }

// options are sets of mount options, the most faithful first.
func options(mode plan.Mode) []option {
	if mode == plan.User {
		return []option{{",userxattr,metacopy=off", ""}, {",userxattr", "metacopy cannot be turned off"}}
	}
	return []option{
		{",redirect_dir=on,index=on,metacopy=off,xino=auto", ""},
		{",redirect_dir=on,index=on,metacopy=off", "inode numbers change when a file is first written"},
		{",redirect_dir=on,metacopy=off", "hard links of existing files break when they are written"},
		{",metacopy=off", "directories cannot be renamed and hard links of existing files break when they are written"},
	}
}

// optionPath returns p as it can stand in mount options, where commas and colons
// divide: as it is or as a descriptor, which stays open until the stage ends.
func optionPath(p string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-", r)
	}
	if !strings.ContainsFunc(p, func(r rune) bool { return !plain(r) }) {
		return p
	}
	fd, err := unix.Open(p, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return p // the mount will say what is wrong with it
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd)
}

// devices that a script may open.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// laySpecial mounts /sys, /dev and the meeting place; init mounts /proc.
func (s *stage) laySpecial() error {
	root := s.view.root
	if err := unix.Mount("/sys", root+"/sys", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind /sys: %w", err)
	}
	if err := restrict(root+"/sys", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC); err != nil {
		return err
	}
	if err := s.layDev(root + "/dev"); err != nil {
		return err
	}
	if err := unix.Mount(s.view.meet, root+meet, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", meet, err)
	}
	return restrict(root+meet, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
}

func (s *stage) layDev(dev string) error {
	if err := unix.Mount("dev", dev, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "mode=0755,size=64k,nr_inodes=1k"); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	for _, name := range devices {
		to := dev + "/" + name
		if err := os.WriteFile(to, nil, 0o666); err != nil {
			return err
		}
		if err := unix.Mount("/dev/"+name, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind /dev/%s: %w", name, err)
		}
		// Read-only keeps the mode and owner of the host's node; it can be written.
		if err := restrict(to, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
		"ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, dev+"/"+name); err != nil {
			return err
		}
	}
	for _, dir := range []string{"pts", "shm"} {
		if err := os.Mkdir(dev+"/"+dir, 0o755); err != nil {
			return err
		}
	}
	opts := "newinstance,ptmxmode=0666,mode=0620"
	if s.Mode == plan.Root {
		opts += ",gid=5" // tty, on every distribution
	}
	if err := unix.Mount("devpts", dev+"/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, opts); err != nil {
		return fmt.Errorf("mount /dev/pts: %w", err)
	}
	shm := fmt.Sprintf("mode=1777,size=%d", s.MaxBytes/4)
	if err := unix.Mount("shm", dev+"/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, shm); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	return nil
}

// loopback brings up lo, which the host has up.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	return nil
}

// layerOf returns the layer that holds p.
func (s *stage) layerOf(p string) *layer {
	var best *layer
	for _, l := range s.layers {
		if !l.file && within(p, l.point) && (best == nil || len(l.point) > len(best.point)) {
			best = l
		}
	}
	return best
}

// under joins the path of the view below the layer's root with dir.
func (l *layer) under(dir, p string) string {
	if l.point == "/" {
		return dir + p
	}
	return dir + strings.TrimPrefix(p, l.point)
}

// stubDir makes the directory that shall hold stubs for dir, with the attributes
// of the one it covers: those of the topmost layer count.
func (s *stage) stubDir(l *layer, dir string) (string, error) {
	if l.stubs == "" {
		l.stubs = filepath.Dir(l.upper) + "/stubs"
		if err := os.Mkdir(l.stubs, 0o755); err != nil {
			return "", err
		}
		if err := s.cloneAttrs(l.point, l.stubs, nil); err != nil {
			return "", err
		}
	}
	if dir == l.point {
		return l.stubs, nil
	}
	to := l.under(l.stubs, dir)
	if _, err := os.Lstat(to); err == nil {
		return to, nil
	}
	if _, err := s.stubDir(l, path.Dir(dir)); err != nil {
		return "", err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return "", err
	}
	if _, err := os.Lstat(dir); err != nil {
		return to, nil // the meeting place is on no host
	}
	return to, s.cloneAttrs(dir, to, nil)
}
