//go:build linux

package overlay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/overlay/deferral"
	"github.com/bowline-sh/bowline/plan"
)

// pleaBytes bounds what a stub says besides its input: arguments and environment
// are at most 6 MiB (execve(2)), a third more in base64.
const pleaBytes = 9 << 20

// atOnce bounds the stubs that are served at a time, each of which may take up to
// inputBytes and pleaBytes of memory; the others wait to connect.
const atOnce = 16

// accept serves stubs. The goroutines end with the stubs, which end before the
// stage does.
func (s *stage) accept(fd int) {
	slots := make(chan struct{}, atOnce)
	for {
		slots <- struct{}{}
		conn, err := accept(fd)
		if err != nil {
			s.fail(err)
			return
		}
		go func() {
			defer func() { <-slots }()
			defer conn.Close()
			if err := s.serve(conn); err != nil {
				s.fail(err)
			}
		}()
	}
}

// fail notes that a command may be missing in the plan.
func (s *stage) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = errors.Join(s.failed, fmt.Errorf("record a command: %w", err))
}

// serve answers one stub. An error is of the stage; a stub that ends early, or is
// not one of ours, is told nothing.
func (s *stage) serve(conn *os.File) error {
	who, err := identify(conn)
	if err != nil {
		return err
	}
	enc, dec := json.NewEncoder(conn), json.NewDecoder(io.LimitReader(conn, pleaBytes+inputBytes*3/2))
	var p plea
	if err := dec.Decode(&p); err != nil || len(p.Argv) == 0 {
		return nil
	}
	program, rule, ok := s.programOf(p)
	if !ok {
		return enc.Encode(ruling{Answer: readAnswer{Exit: cannotDefer, Stderr: []byte("bowline: " + string(p.Program) + " is not a deferred program\n")}})
	}
	p.Called = change.Path(program)
	if path.Base(p.Argv[0]) != path.Base(program) {
		p.Argv[0] = program // programs with many names go by it
	}
	class, undo := deferral.Classify(rule, p.Argv)
	if class == deferral.Read {
		return s.read(enc, p, who)
	}
	var input []byte
	if rule.Stdin {
		if err := enc.Encode(ruling{Input: true}); err != nil {
			return nil
		}
		if err := dec.Decode(&input); err != nil {
			return nil
		}
		if len(input) > inputBytes {
			return enc.Encode(ruling{Answer: readAnswer{Exit: cannotDefer, Stderr: []byte("bowline: too much input\n")}})
		}
	}
	cmd := plan.Command{
		Argv: p.Argv, Path: string(p.Called), Cwd: string(p.Cwd), Env: cleanEnv(p.Env), UID: who.uid, GID: who.gid, Groups: who.groups,
		Undo: undo, Answer: rule.Answer,
	}
	if err := s.record(cmd, input); err != nil {
		return err
	}
	_ = enc.Encode(ruling{Answer: readAnswer{Exit: rule.Answer}}) // it may have been killed
	return nil
}

// programOf returns the path of the host that a plea is about, and its rule. The
// script may have made the plea itself, so nothing in it is believed: what is run
// or recorded is a program that a stub stands for, under a name that it has on the
// host and judged by the rule of that name.
func (s *stage) programOf(p plea) (string, deferral.Rule, bool) {
	called := string(p.Called)
	if !path.IsAbs(called) {
		called = path.Join(string(p.Cwd), called)
	}
	for _, name := range []string{path.Clean(called), string(p.Program)} {
		program, ok := s.programAt(name)
		if !ok || !s.stubbed[program] {
			continue
		}
		if rule, ok := deferral.Find(s.Table, path.Base(name)); ok {
			return name, rule, true
		}
	}
	return "", deferral.Rule{}, false
}

func (s *stage) read(enc *json.Encoder, p plea, who identity) error {
	s.mu.Lock()
	if s.deferred > 0 {
		s.warn("%q was answered by the host as it is before the %d commands deferred until then", strings.Join(p.Argv, " "), s.deferred)
	}
	s.mu.Unlock()
	r, err := s.peer.ask(message{Read: &readCall{
		Path: p.Called, Argv: p.Argv, Dir: p.Cwd, UID: who.uid, GID: who.gid, Groups: who.groups, Home: change.Path(envOf(p.Env, "HOME")),
	}})
	if err != nil {
		return err
	}
	_ = enc.Encode(ruling{Answer: r.Read}) // it may have been killed
	return nil
}

// record captures what the script did so far, then the command.
func (s *stage) record(cmd plan.Command, input []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil || s.ended {
		return nil
	}
	if word, ok := notText(cmd); !ok {
		return refuse("the deferred command %q has the argument, variable or path %q, which is not UTF-8: a plan cannot say it", cmd.Argv[0], word)
	}
	if err := s.stretchLocked(); err != nil {
		return err
	}
	if len(input) > 0 {
		var err error
		if cmd.Stdin, err = s.contents.keepBytes(input); err != nil {
			return err
		}
	}
	s.deferred++
	return s.peer.tell(message{Ops: []plan.Operation{{Command: &cmd}}})
}

// notText returns the first text of a command that JSON cannot hold.
func notText(c plan.Command) (word string, ok bool) {
	all := slices.Concat(c.Argv, c.Env, []string{c.Cwd, c.Path})
	if i := slices.IndexFunc(all, func(s string) bool { return !utf8.ValidString(s) }); i >= 0 {
		return all[i], false
	}
	return "", true
}

// session are variables of the login or the shell, which mean nothing later.
var session = []string{"_", "SHLVL", "OLDPWD", "PWD"}

func cleanEnv(env []string) []string {
	out := slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return strings.HasPrefix(name, "SSH_") || slices.Contains(session, name)
	})
	slices.Sort(out)
	return out
}

func envOf(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

type identity struct {
	uid, gid uint32
	groups   []uint32
}

// identify asks the kernel who is at the other end.
func identify(conn *os.File) (identity, error) {
	fd := int(conn.Fd())
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return identity{}, err
	}
	groups, err := peerGroups(fd)
	return identity{cred.Uid, cred.Gid, groups}, err
}
