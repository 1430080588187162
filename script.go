package bowline

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/executor"
)

// interpreters read a program from standard input with these arguments before
// the program's own.
func stdinArgs(interpreter string) ([]string, bool) {
	switch name := strings.TrimRight(path.Base(interpreter), "0123456789."); name {
	case "sh", "bash", "dash", "ash", "ksh", "mksh", "zsh":
		return []string{"-s", "--"}, true
	case "python", "perl", "ruby", "node":
		return []string{"-"}, true
	case "php":
		return []string{"--"}, true
	default:
		return nil, false
	}
}

// ScriptArgv returns the argument vector that makes the interpreter named in
// the first line of script ("#!/bin/bash -eu", "#!/usr/bin/env python3"; without
// such a line, sh) read the script from its standard input, with args for the
// script. An interpreter that cannot do that is an error of kind usage.
func ScriptArgv(script []byte, args []string) ([]string, error) {
	interpreter, err := shebang(script)
	if err != nil {
		return nil, err
	}
	flags, ok := stdinArgs(interpreter[0])
	if !ok {
		return nil, diag.New(diag.Usage, "run script", "send it to its interpreter yourself: 'bowline run --stdin -- INTERPRETER ... < FILE'",
			"the interpreter %q is not known to read a script from standard input", interpreter[0])
	}
	return slices.Concat(interpreter, flags, args), nil
}

func shebang(script []byte) ([]string, error) {
	line, _, _ := bytes.Cut(script, []byte("\n"))
	rest, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\r"), "#!")
	if !ok {
		return []string{"sh"}, nil
	}
	if strings.HasSuffix(string(line), "\r") {
		return nil, diag.New(diag.Usage, "run script", "convert it: 'sed -i s/\\\\r$// FILE'", "its lines end with CR LF, which Linux takes as part of the interpreter's name")
	}
	fields := strings.Fields(rest)
	if len(fields) > 1 && path.Base(fields[0]) == "env" {
		fields = fields[1:]
		if fields[0] == "-S" {
			fields = fields[1:]
		}
	}
	if len(fields) == 0 || strings.HasPrefix(fields[0], "-") {
		return nil, diag.New(diag.Usage, "run script", "", "its first line %q names no interpreter", clip(string(line), 80))
	}
	return fields, nil
}

func clip(s string, max int) string {
	if len(s) <= max {
		return s
	}
	return fmt.Sprintf("%s...", s[:max])
}

// upload is the script of a request that is to be placed on the target; nil where
// nothing is.
func upload(req RunRequest) (*executor.Upload, error) {
	if !req.Upload {
		return nil, nil
	}
	const op = "upload script"
	switch {
	case len(req.Script) == 0:
		return nil, diag.New(diag.Usage, op, "name a local file: 'bowline run --script FILE --upload'", "there is no script to upload")
	case bytes.HasPrefix(req.Script, []byte("\x7fELF")):
		return nil, diag.New(diag.Usage, op, "copy it with 'bowline cp' and name it in a profile", "it is a program, not a script")
	}
	interpreter, err := shebang(req.Script)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(req.Script, []byte("#!")) {
		interpreter = nil
	}
	return &executor.Upload{Data: req.Script, Name: req.File, Interpreter: interpreter}, nil
}

// digests identifies the script in the audit log.
func digests(req RunRequest) map[string]string {
	if req.Script == nil {
		return nil
	}
	sum := sha256.Sum256(req.Script)
	return map[string]string{"script": "sha256:" + hex.EncodeToString(sum[:])}
}
