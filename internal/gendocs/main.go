// Command gendocs writes docs/cli.md and docs/man from the help texts, so that
// they cannot differ. With -check it changes nothing and fails if they do.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/bowline-sh/bowline/internal/cli"
)

func main() {
	check := flag.Bool("check", false, "fail if a file is not up to date")
	dir := flag.String("dir", "docs", "where the files are")
	flag.Parse()
	if err := run(*dir, *check); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

func run(dir string, check bool) error {
	root := cli.NewRoot(&cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Terminal: func(any) bool { return false }})
	root.DisableAutoGenTag = true
	files := map[string][]byte{}
	var page bytes.Buffer
	page.WriteString("# Command line\n\nGenerated from the help texts by `make docs`; do not edit.\n\n")
	if err := each(root, func(c *cobra.Command) error { return section(&page, c) }); err != nil {
		return err
	}
	files[filepath.Join(dir, "cli.md")] = page.Bytes()
	err := each(root, func(c *cobra.Command) error {
		var man bytes.Buffer
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		err := doc.GenMan(c, &doc.GenManHeader{Title: strings.ToUpper(name), Section: "1", Source: "Bowline", Manual: "Bowline"}, &man)
		files[filepath.Join(dir, "man", name+".1")] = undated(man.Bytes())
		return err
	})
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := put(name, text, check); err != nil {
			return err
		}
	}
	return nil
}

// undated takes the month of generation out of a man page's header.
func undated(man []byte) []byte {
	lines := strings.SplitAfter(string(man), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".TH ") {
			f := strings.SplitN(l, `"`, 9)
			if len(f) > 5 {
				f[5] = ""
			}
			lines[i] = strings.Join(f, `"`)
		}
	}
	return []byte(strings.Join(lines, ""))
}

func each(c *cobra.Command, f func(*cobra.Command) error) error {
	if c.Hidden || c.Name() == "help" {
		return nil
	}
	if err := f(c); err != nil {
		return err
	}
	for _, sub := range c.Commands() {
		if err := each(sub, f); err != nil {
			return err
		}
	}
	return nil
}

func section(w *bytes.Buffer, c *cobra.Command) error {
	depth := strings.Count(c.CommandPath(), " ") + 2
	fmt.Fprintf(w, "%s %s\n\n```text\n", strings.Repeat("#", min(depth, 4)), c.CommandPath())
	c.SetOut(w)
	c.InitDefaultHelpFlag()
	if err := c.Help(); err != nil {
		return err
	}
	w.WriteString("```\n\n")
	return nil
}

func put(name string, text []byte, check bool) error {
	if check {
		have, err := os.ReadFile(name)
		if err == nil && !bytes.Equal(have, text) {
			err = fmt.Errorf("%s differs from the help texts; run 'make docs'", name)
		}
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}
