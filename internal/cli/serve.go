package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/login"
	"github.com/bowline-sh/bowline/internal/serve"
	"github.com/bowline-sh/bowline/internal/spans"
)

type serveOptions struct {
	listen     string
	store      string
	cert, key  string
	selfSigned bool
	hosts      []string
	grace      time.Duration
	logJSON    bool
	hostMode   bool
	link       bool
	url        string

	given func(flag string) bool // on the command line
}

func newServeCommand(env *Env) *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve a team: API, review page, MCP and metrics", Args: args(cobra.NoArgs),
		Long: `One process that a team shares: the review page at /, the API below /api/v1 (described at
/openapi.json), MCP at /mcp, metrics at /metrics. Everybody shows a token, which
'bowline token create' makes; people sign in with theirs at /login.

It listens on loopback unless told otherwise. Any other address needs TLS, from files or
with a certificate of its own whose fingerprint clients pin, and at least one token or
person who may sign in.

The table [serve] of config.toml says the same as the flags, which come first; people sign in
through the OpenID Connect provider of [serve.oidc]. See docs/operations.md.`,
		Example: "  bowline serve\n  bowline serve --listen 10.0.0.5:7440 --self-signed --host-name bowline.example.com",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.given = cmd.Flags().Changed
			return env.serve(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:7440", "address and port")
	f.StringVar(&o.store, "store", "", "sqlite:PATH, or postgres://USER@HOST/DB for several processes (default: that of the configuration)")
	f.StringVar(&o.cert, "tls-cert", "", "file with the certificate chain, PEM")
	f.StringVar(&o.key, "tls-key", "", "file with its key, PEM")
	f.BoolVar(&o.selfSigned, "self-signed", false, "use a certificate of its own, made once")
	f.StringArrayVar(&o.hosts, "host-name", nil, "name under which browsers reach it; may be repeated")
	f.BoolVar(&o.hostMode, "host-mode", false, "lend this machine to tokens of the scope host; needs TLS")
	f.DurationVar(&o.grace, "grace", 30*time.Second, "how long requests under way may take when it stops")
	f.BoolVar(&o.link, "sign-in-link", false, "print a link to sign in with once, also where standard output is no terminal")
	f.BoolVar(&o.logJSON, "log-json", false, "write the log as JSON")
	f.StringVar(&o.url, "url", "", "address as browsers reach it, if a proxy stands before it")
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	cmd.MarkFlagsMutuallyExclusive("tls-cert", "self-signed")
	return cmd
}

func (env *Env) serve(ctx context.Context, o serveOptions) error {
	c, err := bowline.Open(ctx, bowline.Config{
		Surface: "api", DialAttempts: 3, Store: o.store, Notify: func(note string) { env.note("%s", note) },
	})
	if err != nil {
		return err
	}
	return errors.Join(env.serveWith(ctx, c, o), c.Close())
}

func (env *Env) serveWith(ctx context.Context, c *bowline.Client, o serveOptions) (err error) {
	table, err := c.Serving()
	if err != nil {
		return err
	}
	o = o.over(table)
	if u, err := url.Parse(o.url); err == nil && u.Hostname() != "" {
		o.hosts = append(slices.Clone(o.hosts), u.Hostname())
	}
	secure, err := o.tls(c)
	if err != nil {
		return err
	}
	if err := o.allowed(ctx, c, secure != nil, len(table.People) > 0); err != nil {
		return err
	}
	if err := c.Ping(ctx); err != nil { // before anybody is told where it is
		return err
	}
	once := &login.Once{User: c.Login()}
	log := env.logger(o)
	traces, err := spans.FromEnv(table.OTLP, os.Getenv)
	if err != nil {
		return diag.New(diag.Usage, "serve", "see docs/operations.md", "%w", err)
	}
	traces.Version, traces.Logger = env.Version, log
	var tracer *spans.Tracer
	if traces.Wanted() {
		tracer = spans.New(traces)
		defer func() { err = errors.Join(err, tracer.Close()) }()
	}
	s, err := serve.New(ctx, serve.Config{Once: once, Spans: tracer, Client: c, Version: env.Version, Logger: log, Hosts: o.hosts, URL: o.url, Secure: secure != nil || strings.HasPrefix(o.url, "https://"), Host: o.hostMode})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return diag.New(diag.Usage, "serve", "choose another address with --listen", "%w", err)
	}
	scheme := "http"
	if secure != nil {
		scheme = "https"
		env.note("certificate %s", serve.Fingerprint(secure.Certificates[0]))
		l = tls.NewListener(l, secure)
	}
	address := fmt.Sprintf("%s://%s", scheme, l.Addr())
	fmt.Fprintln(env.Stdout, address)
	if o.link || env.Terminal(env.Stdout) {
		env.note("sign in once, within ten minutes: %s/login?once=%s", address, once.Code())
	}
	return serveAll(ctx, c, s, l, o, log)
}

// serveAll answers at l and carries out durable work until ctx ends, or either fails.
func serveAll(ctx context.Context, c *bowline.Client, s *serve.Server, l net.Listener, o serveOptions, log *slog.Logger) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	worked := make(chan error, 1)
	go func() {
		defer stop()
		worked <- c.ServeWork(ctx, bowline.WorkOptions{Grace: o.grace, Note: func(text string) { log.Warn(text) }})
	}()
	err := s.Serve(ctx, l, o.grace)
	stop()
	return errors.Join(err, <-worked)
}

func (env *Env) logger(o serveOptions) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if env.verbose {
		opts.Level = slog.LevelDebug
	}
	if o.logJSON {
		return slog.New(slog.NewJSONHandler(env.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(env.Stderr, opts))
}

// tls returns what connections are secured with, nil for nothing.
func (o serveOptions) tls(c *bowline.Client) (*tls.Config, error) {
	var cert tls.Certificate
	var err error
	switch {
	case o.cert != "":
		cert, err = tls.LoadX509KeyPair(o.cert, o.key)
	case o.selfSigned:
		cert, err = serve.OwnCertificate(filepath.Join(filepath.Dir(c.Paths().Store), "tls"), o.names())
	default:
		return nil, nil
	}
	if err != nil {
		return nil, diag.New(diag.Usage, "read certificate", "name PEM files with --tls-cert and --tls-key, or use --self-signed", "%w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}, nil
}

// names are those that a certificate of its own is for.
func (o serveOptions) names() []string {
	names := slices.Clone(o.hosts)
	if host, _, err := net.SplitHostPort(o.listen); err == nil && host != "" {
		names = append(names, host)
	}
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	return append(names, "localhost", "127.0.0.1", "::1")
}

// allowed refuses to be open to others without TLS or without anybody who could get in.
func (o serveOptions) allowed(ctx context.Context, c *bowline.Client, secure, people bool) error {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return diag.New(diag.Usage, "serve", "as in --listen 127.0.0.1:7440", "%w", err)
	}
	if o.hostMode && !secure {
		return diag.New(diag.Usage, "serve", "add --self-signed, or --tls-cert FILE --tls-key FILE", "--host-mode needs TLS: clients pin its certificate")
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	if !secure {
		return diag.New(diag.Usage, "serve", "add --self-signed, or --tls-cert FILE --tls-key FILE; or listen at 127.0.0.1:7440 behind a proxy", "others can reach %s, and tokens must not cross a network in the clear", o.listen)
	}
	if people {
		return nil
	}
	list, err := c.Tokens(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	if !slices.ContainsFunc(list, func(t bowline.Token) bool { return t.Revoked.IsZero() && t.Expires.After(now) }) {
		return diag.New(diag.Usage, "serve", "'bowline token create --name admin --scope admin'", "others can reach %s, and there is no token yet", o.listen)
	}
	return nil
}
