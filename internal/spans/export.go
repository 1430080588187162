package spans

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// exporter sends spans as JSON (OpenTelemetry protocol 1.9, "JSON Protobuf Encoding":
// names in lowerCamelCase, ids in hexadecimal, 64-bit numbers as text, enums as numbers).
// It implements sdk.SpanExporter and never fails: what is lost is told to the log.
type exporter struct {
	url    string
	header http.Header
	client *http.Client
	log    *slog.Logger

	mu   sync.Mutex // guards told
	told time.Time
}

const (
	sendTime  = 10 * time.Second // for one try
	sendTries = 3
	tellEvery = time.Minute
)

func newExporter(cfg Config) *exporter {
	to := cfg.URL
	if to == "" {
		to = strings.TrimRight(cfg.Endpoint, "/") + "/v1/traces"
	}
	h := cfg.Headers.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "bowline/"+cfg.Version)
	return &exporter{url: to, header: h, client: &http.Client{Timeout: sendTime, CheckRedirect: stay}, log: cfg.Logger}
}

// stay follows no redirect: the headers are for the collector that was named.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// ExportSpans sends spans. It is called by one goroutine at a time.
func (e *exporter) ExportSpans(ctx context.Context, list []sdk.ReadOnlySpan) error {
	if len(list) == 0 {
		return nil
	}
	body, err := json.Marshal(requestOf(list))
	if err == nil {
		_, err = backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, e.send(ctx, body) }, backoff.WithMaxTries(sendTries))
	}
	if err != nil {
		e.tell(len(list), err)
	}
	return nil
}

// Shutdown has nothing to do.
func (e *exporter) Shutdown(context.Context) error { return nil }

func (e *exporter) send(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return backoff.Permanent(err)
	}
	req.Header = e.header.Clone()
	resp, err := e.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fmt.Errorf("the collector answers %s", resp.Status)
	default:
		return backoff.Permanent(fmt.Errorf("the collector answers %s", resp.Status))
	}
}

// tell says once in a while that spans are lost.
func (e *exporter) tell(n int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.told) >= tellEvery {
		e.told = time.Now()
		e.log.Warn("traces were lost", "spans", n, "err", err)
	}
}

// The messages of opentelemetry/proto/trace/v1/trace.proto that are sent.
type (
	request struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   attributes   `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	attributes struct {
		Attributes []keyValue `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope  `json:"scope"`
		Spans []span `json:"spans"`
	}
	scope struct {
		Name string `json:"name"`
	}
	span struct {
		TraceID    string     `json:"traceId"`
		SpanID     string     `json:"spanId"`
		TraceState string     `json:"traceState,omitempty"`
		Parent     string     `json:"parentSpanId,omitempty"`
		Flags      uint32     `json:"flags"`
		Name       string     `json:"name"`
		Kind       int        `json:"kind"`
		Start      string     `json:"startTimeUnixNano"`
		End        string     `json:"endTimeUnixNano"`
		Attributes []keyValue `json:"attributes"`
		Status     status     `json:"status"`
	}
	status struct {
		Code int `json:"code"`
	}
	keyValue struct {
		Key   string         `json:"key"`
		Value map[string]any `json:"value"`
	}
)

func requestOf(list []sdk.ReadOnlySpan) request {
	first := list[0] // there is one resource and one scope in this program
	s := scopeSpans{Scope: scope{first.InstrumentationScope().Name}}
	for _, x := range list {
		s.Spans = append(s.Spans, spanOf(x))
	}
	return request{[]resourceSpans{{attributes{pairs(first.Resource().Attributes())}, []scopeSpans{s}}}}
}

func spanOf(x sdk.ReadOnlySpan) span {
	c := x.SpanContext()
	out := span{TraceID: c.TraceID().String(), SpanID: c.SpanID().String(), TraceState: c.TraceState().String(), Flags: uint32(c.TraceFlags()), Name: x.Name(),
		Kind: int(x.SpanKind()), Start: nanos(x.StartTime()), End: nanos(x.EndTime()), Attributes: pairs(x.Attributes())}
	if p := x.Parent(); p.HasSpanID() {
		out.Parent = p.SpanID().String()
	}
	if x.Status().Code == codes.Error {
		out.Status.Code = 2 // of the protocol: the library has another number
	}
	return out
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

func pairs(list []attribute.KeyValue) []keyValue {
	out := []keyValue{}
	for _, a := range list {
		v := map[string]any{}
		switch a.Value.Type() {
		case attribute.INT64:
			v["intValue"] = strconv.FormatInt(a.Value.AsInt64(), 10)
		case attribute.BOOL:
			v["boolValue"] = a.Value.AsBool()
		default:
			v["stringValue"] = a.Value.String()
		}
		out = append(out, keyValue{string(a.Key), v})
	}
	return out
}
