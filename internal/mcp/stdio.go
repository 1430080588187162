package mcp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// ServeStdio serves one client, a message a line, until in ends or ctx does. Nothing
// else may write to out. A line that is no message is answered with an error and
// skipped, as JSON-RPC 2.0 section 5.1 has it; the SDK would end the session.
func (s *Server) ServeStdio(ctx context.Context, in io.Reader, out io.Writer) error {
	to := &whole{w: out}
	r, w := io.Pipe()
	defer r.Close()
	go func() { w.CloseWithError(sift(in, w, to)) }()
	return s.mcp.Run(ctx, &mcp.IOTransport{Reader: r, Writer: to, MaxLineLength: maxBody + 1})
}

// whole writes one message at a time.
type whole struct {
	mu sync.Mutex
	w  io.Writer
}

// Write writes p, which is whole lines.
func (w *whole) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

// Close does nothing: the process ends.
func (w *whole) Close() error { return nil }

// sift hands on what is a message, and answers what is not. It returns the error that
// ended in, io.EOF as a rule.
func sift(in io.Reader, to io.Writer, answers io.Writer) error {
	r := bufio.NewReaderSize(in, 64<<10)
	for {
		line, long, err := readLine(r)
		if len(line) > 0 || long {
			if werr := siftLine(line, long, to, answers); werr != nil {
				return werr
			}
		}
		if err != nil {
			return err
		}
	}
}

func siftLine(line []byte, long bool, to, answers io.Writer) error {
	switch {
	case long:
		return answer(answers, jsonrpc.CodeParseError, fmt.Sprintf("the line is longer than %d bytes", maxBody))
	case !json.Valid(line):
		return answer(answers, jsonrpc.CodeParseError, "the line is not one JSON value")
	}
	if _, err := jsonrpc.DecodeMessage(line); err != nil {
		return answer(answers, jsonrpc.CodeInvalidRequest, "no message: "+cut(err.Error(), 200))
	}
	_, err := to.Write(append(line, '\n'))
	return err
}

// answer writes an error to nobody in particular: the request has no id.
func answer(w io.Writer, code int, why string) error {
	b, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": nil, "error": map[string]any{"code": code, "message": why}})
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}

// readLine returns a line without its end. Of one longer than maxBody it keeps nothing.
func readLine(r *bufio.Reader) (line []byte, long bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxBody {
			line, long = nil, true
		}
		if !long {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return trimEnd(line), long, err
		}
	}
}

func trimEnd(line []byte) []byte {
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	return line
}
