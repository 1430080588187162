//go:build linux

package overlay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/overlay/deferral"
)

// A stub is a script of one line that names our executable as its interpreter and
// the program it stands for. So each has an inode and a content of its own: what
// copies or moves a stub can be told from its content.
const stubMark = "#!" + stubPath + " "

func stubText(program string) string { return stubMark + program + "\n" }

// stubOf returns the program that content is the stub of.
func stubOf(content []byte) (program string, ok bool) {
	if !bytes.HasPrefix(content, []byte(stubMark)) || len(content) > len(stubMark)+4096 {
		return "", false
	}
	program, last := strings.CutSuffix(string(content[len(stubMark):]), "\n")
	ok = true
	return program, ok && last && strings.HasPrefix(program, "/") && !strings.Contains(program, "\n")
}

// binDirs are where programs are looked for, whatever the PATH of the script.
var binDirs = []string{"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"}

// placeStubs lays a stub over every program of the table that the host has.
func (s *stage) placeStubs() error {
	dirs := map[string]*layer{}
	if l := s.layerOf(meet); l != nil {
		if _, err := s.stubDir(l, meet); err != nil {
			return err
		}
		dirs[path.Dir(meet)] = l
	}
	s.stubbed = map[string]bool{}
	for _, r := range s.Table {
		for _, dir := range binDirs {
			program, ok := s.programAt(path.Join(dir, r.Name))
			if !ok || s.stubbed[program] {
				continue
			}
			s.stubbed[program] = true
			l := s.layerOf(program)
			if l == nil {
				continue
			}
			to, err := s.stubDir(l, path.Dir(program))
			if err != nil {
				return fmt.Errorf("stub of %s: %w", program, err)
			}
			dirs[path.Dir(program)] = l
			if err := s.placeStub(program, to+"/"+path.Base(program)); err != nil {
				return fmt.Errorf("stub of %s: %w", program, err)
			}
			if r.Local {
				_ = copyFile(program, s.view.meet+"/real/"+r.Name, 0o755) // it may be there from another directory
			}
		}
	}
	for dir, l := range dirs { // times changed with the entries
		if _, err := os.Lstat(dir); err == nil {
			if err := s.cloneAttrs(dir, l.under(l.stubs, dir), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// programAt returns the path that a stub must cover so that p is caught. A link
// to a program of the table, as reboot to systemctl, is left alone and the program
// covered; a link to any other program, as modprobe to kmod, is covered itself,
// since that program has other names.
func (s *stage) programAt(p string) (string, bool) {
	dir, err := filepath.EvalSymlinks(path.Dir(p))
	if err != nil {
		return "", false
	}
	p = dir + "/" + path.Base(p)
	target, err := filepath.EvalSymlinks(p)
	if err != nil {
		return "", false
	}
	fi, err := os.Stat(target)
	if err != nil || !fi.Mode().IsRegular() || fi.Mode()&0o111 == 0 {
		return "", false
	}
	if _, ok := deferral.Find(s.Table, path.Base(target)); ok {
		return target, true
	}
	return p, true
}

func (s *stage) placeStub(program, to string) error {
	if err := os.WriteFile(to, []byte(stubText(program)), 0o755); err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks(program)
	if err != nil {
		return err
	}
	// A set-user-ID bit has no effect on what has an interpreter.
	return s.cloneAttrs(target, to, nil)
}

// plea is what a stub tells the stage.
type plea struct {
	Argv    words
	Called  change.Path // path it was run as
	Program change.Path // path of the program it stands for
	Cwd     change.Path
	Env     words
	Missed  bool // a local program found nothing to act on in the dry run
}

// verdicts of the stage on a plea.
type ruling struct {
	Input  bool // send the standard input, then wait for another ruling
	Answer readAnswer
}

// inputBytes bounds the standard input of a deferred command.
const inputBytes = 16 << 20

// cannotDefer is the exit code of a stub that cannot reach the stage.
const cannotDefer = 125

func stubMain(args []string) int {
	code, err := stub(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "bowline: %s: %v\n", strings.Join(args[min(len(args), 2):], " "), err)
		return cannotDefer
	}
	return code
}

// stub runs as the interpreter of a stub: args are our path, the program and the
// path it was called by, then the arguments.
func stub(args []string) (int, error) {
	if len(args) < 3 {
		return 0, errors.New("a stub is not called by hand")
	}
	p := plea{Program: change.Path(args[1]), Called: change.Path(args[2]), Cwd: "/", Env: os.Environ()}
	p.Argv = append([]string{calledAs(args[2])}, args[3:]...)
	if real := realPath + "/" + path.Base(args[2]); unix.Access(real, unix.X_OK) == nil {
		if code, done := local(real, p.Argv); done {
			return code, nil
		}
		p.Missed = true
	}
	if cwd, err := os.Getwd(); err == nil {
		p.Cwd = change.Path(cwd)
	}
	conn, err := dial(sockPath)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	enc, dec := json.NewEncoder(conn), json.NewDecoder(conn)
	if err := enc.Encode(p); err != nil {
		return 0, err
	}
	var r ruling
	if err := dec.Decode(&r); err != nil {
		return 0, err
	}
	if r.Input {
		input, err := io.ReadAll(io.LimitReader(os.Stdin, inputBytes+1))
		if err != nil {
			return 0, err
		}
		if err := enc.Encode(input); err != nil {
			return 0, err
		}
		if err := dec.Decode(&r); err != nil {
			return 0, err
		}
	}
	_, err = os.Stdout.Write(r.Answer.Stdout)
	_, err2 := os.Stderr.Write(r.Answer.Stderr)
	return r.Answer.Exit, errors.Join(err, err2)
}

// calledAs guesses argument 0, which the kernel replaces when it starts an
// interpreter: the bare name if that is what PATH leads to.
func calledAs(called string) string {
	name := path.Base(called)
	for _, dir := range strings.Split(os.Getenv("PATH"), ":") {
		p := path.Join(dir, name)
		if unix.Access(p, unix.X_OK) == nil {
			if p == path.Clean(called) {
				return name
			}
			break
		}
	}
	return called
}

// local runs a program on the processes of the dry run. It is done unless it is
// meant for processes of the host.
func local(real string, argv []string) (code int, done bool) {
	if path.Base(real) == "kill" && !slices.ContainsFunc(argv[1:], lives) && !slices.Contains(argv, "-l") && !slices.Contains(argv, "-L") {
		return 0, false
	}
	proc, err := os.StartProcess(real, argv, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, nil}})
	if err != nil {
		return 0, false
	}
	st, err := proc.Wait()
	if err != nil {
		return 0, false
	}
	code = st.ExitCode()
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	// pkill and killall: 1 is that no process matched.
	return code, code != 1 || path.Base(real) == "kill"
}

// lives reports whether arg is the number of a process of the dry run.
func lives(arg string) bool {
	pid, err := strconv.Atoi(arg)
	return err == nil && pid > 0 && unix.Kill(pid, 0) != unix.ESRCH
}
