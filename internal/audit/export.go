package audit

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/internal/redact"
)

// Format is a format of Export.
type Format string

const (
	JSONL Format = "jsonl" // the stored lines, byte for byte: their hashes can be checked
	CSV   Format = "csv"   // for spreadsheets; cells are bounded and never formulas
)

// Export writes the entries that f selects. It stops at a line that is no
// entry: an export with holes would pass for the whole.
func (r *Reader) Export(ctx context.Context, w io.Writer, f Filter, format Format) error {
	var write func(Entry) error
	flush := func() error { return nil }
	switch format {
	case JSONL:
		write = func(e Entry) error {
			_, err := w.Write(append(e.Raw(), '\n'))
			return err
		}
	case CSV:
		c := csv.NewWriter(w)
		if err := c.Write(csvHeader()); err != nil {
			return err
		}
		write = func(e Entry) error { return c.Write(csvRow(e)) }
		flush = func() error { c.Flush(); return c.Error() }
	default:
		return fmt.Errorf("export format %q: use jsonl or csv", format)
	}
	for e, err := range r.List(ctx, f) {
		if err == nil {
			err = write(e)
		}
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return flush()
}

func csvHeader() []string {
	return []string{
		"seq", "time", "id", "event", "verb", "user", "host", "pid", "surface", "client", "session", "target", "address", "login",
		"host_key", "key_id", "profile", "argv", "cwd", "env", "digests", "attempt", "text", "status", "kind", "exit_code", "signal",
		"duration_ms", "timed_out", "truncated", "stdout_bytes", "stderr_bytes", "error", "prev", "hash",
	}
}

func csvRow(e Entry) []string {
	row := []string{
		strconv.FormatUint(e.Seq, 10), e.Time.Format(time.RFC3339Nano), e.ID, string(e.Event), e.Verb, e.Actor.User, e.Actor.Host,
		strconv.Itoa(e.Actor.PID), e.Actor.Surface, e.Actor.Client, e.Session, e.Target, e.Address, e.Login, e.HostKey, e.KeyID,
		e.Profile, jsonCell(e.Argv), e.Cwd, strings.Join(e.Env, " "), digestCell(e.Digests), strconv.Itoa(e.Attempt), e.Text,
	}
	row = append(row, resultCells(e.Result)...)
	row = append(row, e.Prev, e.Hash)
	for i, c := range row {
		row[i] = cell(c)
	}
	return row
}

func resultCells(r *Result) []string {
	if r == nil {
		return make([]string, 10)
	}
	code := ""
	if r.ExitCode != nil {
		code = strconv.Itoa(*r.ExitCode)
	}
	return []string{
		string(r.Status), string(r.Kind), code, r.Signal, strconv.FormatInt(r.DurationMS, 10), strconv.FormatBool(r.TimedOut),
		strconv.FormatBool(r.Truncated), strconv.FormatInt(r.StdoutBytes, 10), strconv.FormatInt(r.StderrBytes, 10), r.Error,
	}
}

func jsonCell(argv []string) string {
	if len(argv) == 0 {
		return ""
	}
	b, err := json.Marshal(argv)
	if err != nil {
		return ""
	}
	return string(b)
}

func digestCell(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, " ")
}

// maxCell is what spreadsheets take in a cell.
const maxCell = 32767

// cell makes text safe for a spreadsheet, which runs cells that start like a
// formula (OWASP, CSV Injection).
func cell(s string) string {
	s = redact.Clean(s, maxCell-1)
	if s != "" && strings.IndexByte("=+-@", s[0]) >= 0 {
		return "'" + s
	}
	return s
}
