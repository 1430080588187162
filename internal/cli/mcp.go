package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/mcp"
)

func newMCPCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "mcp", Short: "Give AI agents hands on targets, without the keys", RunE: noCommand,
		Long: `A Model Context Protocol server: its tools look inside the sandbox, propose changes as
plans, and apply what a person approved elsewhere ('bowline review'). No tool approves.`,
	}
	cmd.AddCommand(newMCPServe(env), newMCPInstall(env), newMCPUninstall(env), newMCPConfig(env))
	return cmd
}

type mcpOptions struct {
	selector  string
	profiles  []string
	roots     []string
	listen    string
	tokenFile string
	client    string
	older     bool
}

func newMCPServe(env *Env) *cobra.Command {
	var o mcpOptions
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve the Model Context Protocol", Args: args(cobra.NoArgs),
		Long: `Serve one client over standard input and output, or with --listen many over HTTP with a
bearer token. Without --target all targets may be used; without --profile those that can
neither write nor use the network; without --root no local file is read or written.

Sessions belong to the client that made them, by the name it gives itself; --client
fixes the name.`,
		Example: "  bowline mcp serve -t web1,web2\n  bowline mcp serve --listen 127.0.0.1:7420 --token-file ~/.config/bowline/mcp-token",
		RunE:    func(cmd *cobra.Command, _ []string) error { return env.serveMCP(cmd.Context(), o) },
	}
	f := cmd.Flags()
	addTargetFlag(cmd, env, &o.selector)
	f.StringArrayVarP(&o.profiles, "profile", "p", nil, "offer this profile; may be repeated")
	f.StringArrayVar(&o.roots, "root", nil, "allow copies from and to this local directory; may be repeated")
	f.StringVar(&o.listen, "listen", "", "serve HTTP at this loopback address, as in 127.0.0.1:7420")
	f.StringVar(&o.tokenFile, "token-file", "", "file that holds the bearer token; made if it does not exist")
	f.StringVar(&o.client, "client", "", "name to record for the client, whatever it calls itself")
	f.BoolVar(&o.older, "older-tools", false, "also offer tools named sandbox_TARGET_PROFILE")
	completeProfiles(cmd, env)
	return cmd
}

func (env *Env) serveMCP(ctx context.Context, o mcpOptions) error {
	roots, err := absoluteDirs(o.roots)
	if err != nil {
		return err
	}
	// It lives long enough to keep links and helpers of its own.
	c, err := bowline.Open(ctx, bowline.Config{
		Surface: bowline.SurfaceMCP, DialAttempts: 3, Notify: func(note string) { env.note("%s", note) },
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	err = env.serveMCPWith(ctx, c, mcp.Config{
		Client: c, Version: env.Version, Selector: o.selector, Profiles: o.profiles, Roots: roots, Older: o.older, Name: o.client,
		Logger: slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, o)
	stop()
	return errors.Join(err, c.Close())
}

func (env *Env) serveMCPWith(ctx context.Context, c *bowline.Client, cfg mcp.Config, o mcpOptions) error {
	s, err := mcp.New(ctx, cfg)
	if err != nil {
		return err
	}
	if o.listen == "" {
		if o.tokenFile != "" {
			return diag.New(diag.Usage, "serve MCP", "add --listen 127.0.0.1:7420, or leave --token-file out", "--token-file is for --listen")
		}
		if env.Terminal(env.Stderr) {
			env.note("waiting for a client on standard input; 'bowline mcp config' prints what its configuration needs")
		}
		err := s.ServeStdio(ctx, env.Stdin, env.Stdout)
		if ctx.Err() != nil || errors.Is(err, io.EOF) {
			return nil // the client left
		}
		return err
	}
	if err := loopback(o.listen); err != nil {
		return err
	}
	file := o.tokenFile
	if file == "" {
		dir := filepath.Dir(c.Paths().Store)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return diag.New(diag.Usage, "make token", "name a file with --token-file", "%w", err)
		}
		file = filepath.Join(dir, "mcp-token")
	}
	token, err := bearerToken(file)
	if err != nil {
		return err
	}
	return env.listenMCP(ctx, s.Handler(token), o.listen, file)
}

// absoluteDirs checks that dirs are directories.
func absoluteDirs(dirs []string) ([]string, error) {
	var out []string
	for _, d := range dirs {
		abs, err := filepath.Abs(d)
		if err == nil {
			var fi os.FileInfo
			if fi, err = os.Stat(abs); err == nil && !fi.IsDir() {
				err = fmt.Errorf("%s is not a directory", abs)
			}
		}
		if err != nil {
			return nil, diag.New(diag.Usage, "read --root", "", "%w", err)
		}
		out = append(out, abs)
	}
	return out, nil
}

// bearerToken reads a token that only its owner can read, or makes one.
func bearerToken(file string) (string, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		token := rand.Text() + rand.Text()
		_, err = f.WriteString(token + "\n")
		return token, errors.Join(err, f.Close())
	}
	if !errors.Is(err, os.ErrExist) {
		return "", diag.New(diag.Usage, "make token", "name a file with --token-file", "%w", err)
	}
	fi, err := os.Stat(file)
	if err != nil {
		return "", diag.New(diag.Usage, "read token", "", "%w", err)
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return "", diag.New(diag.Denied, "read token", "'chmod 600 "+file+"', and put a new token in it", "others can read %s", file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", diag.New(diag.Usage, "read token", "", "%w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < 20 {
		return "", diag.New(diag.Usage, "read token", "delete the file, and one is made", "the token in %s is too short", file)
	}
	return token, nil
}

// loopback refuses addresses that others can reach: there is no TLS here.
func loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return diag.New(diag.Usage, "serve MCP", "listen at 127.0.0.1:7420, and reach it from elsewhere with 'ssh -L'", "%q is not a loopback address with a port, and there is no TLS here", addr)
	}
	return nil
}

func (env *Env) listenMCP(ctx context.Context, h http.Handler, addr, tokenFile string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return diag.New(diag.Usage, "serve MCP", "choose another port", "%w", err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	env.say("MCP at http://%s, token in %s", l.Addr(), tokenFile)
	stopped := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stopped()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
