package wire

import (
	"context"
	"maps"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
)

// acts counts what is on record, and makes spans of it: an intent begins one, its outcome
// ends it. Where the context has no trace, there are no spans.
type acts struct {
	mu    sync.Mutex // guards what follows
	open  map[string]act
	ended map[Act]uint64
}

// act is one under way. span is nil if nobody traces it.
type act struct {
	verb string
	span trace.Span
}

// Act is a kind of act and how it ended, as the audit log says both.
type Act struct{ Verb, Status string }

func (a *acts) begin(ctx context.Context, id string, in audit.Intent) {
	x := act{in.Verb, spanOf(ctx, id, in)}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		a.open, a.ended = map[string]act{}, map[Act]uint64{}
	}
	a.open[id] = x
}

// spanOf opens the span of an act. It holds no argument and no text.
func spanOf(ctx context.Context, id string, in audit.Intent) trace.Span {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsSampled() {
		return nil
	}
	_, span := parent.TracerProvider().Tracer("github.com/bowline-sh/bowline").Start(ctx, "bowline "+in.Verb)
	for name, value := range map[string]string{"bowline.verb": in.Verb, "bowline.target": in.Target, "bowline.session": in.Session, "bowline.profile": in.Profile, "bowline.audit_id": id} {
		if value != "" {
			span.SetAttributes(attribute.String(name, value))
		}
	}
	return span
}

func (a *acts) end(id string, out audit.Outcome) {
	a.mu.Lock()
	x, ok := a.open[id]
	if delete(a.open, id); ok {
		a.ended[Act{x.verb, string(out.Ended())}]++
	}
	a.mu.Unlock()
	if x.span != nil {
		endSpan(x.span, out)
	}
}

// counts are how many acts ended, since the process began.
func (a *acts) counts() map[Act]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.ended)
}

// endSpan says of an error only the kind.
func endSpan(span trace.Span, out audit.Outcome) {
	if out.Session != "" {
		span.SetAttributes(attribute.String("bowline.session", out.Session))
	}
	if out.ExitCode != nil {
		span.SetAttributes(attribute.Int("bowline.exit_code", *out.ExitCode))
	}
	if out.Err != nil {
		span.SetAttributes(attribute.String("error.type", string(diag.KindOf(out.Err))))
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// Acts are how many acts ended, and how, since the process began.
func (p *Parts) Acts() map[Act]uint64 { return p.log.acts.counts() }

// OpenLinks is how many links to targets there are.
func (p *Parts) OpenLinks() int { return p.links.Len() }
