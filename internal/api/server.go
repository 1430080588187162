package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/login"
)

// Prefix begins the paths of the API.
const Prefix = "/api/v1"

// maxBody bounds a request, in bytes: a script of some MiB in JSON, with its escapes.
const maxBody = 16 << 20

// Config is what a Server is made of; every field is required.
type Config struct {
	Client  *bowline.Client
	Desk    login.Desk
	Version string
}

// Server answers the requests of the API. It is safe for concurrent use.
type Server struct {
	cfg    Config
	routes []route
	doc    []byte
}

// New returns a Server.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg}
	s.routes = s.table()
	doc, err := describe(s.routes, cfg.Version)
	if err != nil {
		return nil, fmt.Errorf("describe API: %w", err)
	}
	s.doc, err = json.MarshalIndent(doc, "", " ")
	return s, err
}

// Register adds the API, its description and its problems to mux.
func (s *Server) Register(mux *http.ServeMux) {
	for _, r := range s.routes {
		mux.Handle(r.method+" "+Prefix+r.path, s.cfg.Desk.Let(r.scope, "api", s.handler(r), WriteProblem))
	}
	mux.HandleFunc(Prefix+"/", func(w http.ResponseWriter, r *http.Request) {
		WriteProblem(w, r, diag.New(diag.Usage, r.Method+" "+r.URL.Path, "GET /openapi.json describes the API", "%w", errMissing))
	})
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
		_, _ = w.Write(s.doc)
	})
	mux.HandleFunc("GET /problems/{kind}", func(w http.ResponseWriter, r *http.Request) {
		p, known := statuses[diag.Kind(r.PathValue("kind"))]
		if !known {
			WriteProblem(w, r, diag.New(diag.Usage, "read about a problem", "", "%w", errMissing))
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "%s: %s.\n", r.PathValue("kind"), p.title)
	})
}

// route is one operation of the API.
type route struct {
	method, path string
	id           string // operationId
	summary      string
	scope        bowline.Scope
	query        []param
	header       []param
	in, out      any  // zero values of the bodies; nil for none
	events       bool // also as text/event-stream
	status       int  // 0 for 200
	file         bool // the answer is bytes, not JSON
	upload       bool // the request is bytes, not JSON
	do           func(c *call) (any, error)
}

type param struct{ name, text, kind string }

// call is one request under way.
type call struct {
	context.Context
	*bowline.Client
	visitor login.Visitor
	request *http.Request
	w       http.ResponseWriter
	events  *events // nil unless they were asked for
}

func (s *Server) handler(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c := &call{Context: req.Context(), Client: s.cfg.Client, visitor: login.From(req.Context()), request: req, w: w}
		if !r.upload {
			req.Body = http.MaxBytesReader(w, req.Body, maxBody)
		}
		if r.events && strings.Contains(req.Header.Get("Accept"), "text/event-stream") {
			c.events = newEvents(w)
		}
		out, err := r.do(c)
		switch {
		case c.events != nil && c.events.began:
			c.events.end(out, err)
		case err != nil:
			WriteProblem(w, req, err)
		case r.file:
		case out == nil:
			w.WriteHeader(http.StatusNoContent)
		case c.events != nil:
			c.events.end(out, nil)
		default:
			answer(w, cmp.Or(r.status, http.StatusOK), out)
		}
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(true)
	_ = e.Encode(v) // the reader is gone: nobody to tell
}

// body reads the request into v, which must hold no more than v knows. An empty body is
// an empty document.
func body[T any](c *call) (T, error) {
	var v T
	d := json.NewDecoder(c.request.Body)
	d.DisallowUnknownFields()
	err := d.Decode(&v)
	if errors.Is(err, io.EOF) {
		return v, nil
	}
	if err == nil && d.More() {
		err = errors.New("there is something after the document")
	}
	if err != nil {
		return v, diag.New(diag.Usage, "read request", "GET /openapi.json describes it", "%w", err)
	}
	return v, nil
}

// maxPage and defaultPage bound a list, in members.
const (
	defaultPage = 50
	maxPage     = 500
)

// limit reads the parameter of that name.
func (c *call) limit() (int, error) {
	text := c.request.URL.Query().Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, diag.New(diag.Usage, "read limit", "as in ?limit=100", "%q is no number from 1 to %d", text, maxPage)
	}
	return n, nil
}

func (c *call) query(name string) string { return c.request.URL.Query().Get(name) }
func (c *call) path(name string) string  { return c.request.PathValue(name) }

// sees reports that the visitor may know of a target, or an error as for none.
func (c *call) sees(target string) error {
	if !c.visitor.Sees()(target) {
		return diag.New(diag.Usage, "find target", "GET "+Prefix+"/targets lists them", "%w", errMissing)
	}
	return nil
}
