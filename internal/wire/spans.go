package wire

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
)

// spans are the acts under way as spans of a trace: what is on record as an intent begins
// one, its outcome ends it. Where the context has no trace, there are none.
type spans struct {
	mu   sync.Mutex // guards open
	open map[string]trace.Span
}

// begin opens the span of an act. It holds no argument and no text.
func (s *spans) begin(ctx context.Context, id string, in audit.Intent) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsSampled() {
		return
	}
	_, span := parent.TracerProvider().Tracer("github.com/bowline-sh/bowline").Start(ctx, "bowline "+in.Verb)
	for name, value := range map[string]string{"bowline.verb": in.Verb, "bowline.target": in.Target, "bowline.session": in.Session, "bowline.profile": in.Profile, "bowline.audit_id": id} {
		if value != "" {
			span.SetAttributes(attribute.String(name, value))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]trace.Span{}
	}
	s.open[id] = span
}

// end closes it. Of an error it says the kind.
func (s *spans) end(id string, out audit.Outcome) {
	s.mu.Lock()
	span := s.open[id]
	delete(s.open, id)
	s.mu.Unlock()
	if span == nil {
		return
	}
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
