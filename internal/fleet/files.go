package fleet

import "fmt"

const (
	// filesEach is how many open files a target takes until the end of the client: its
	// link, and its helper's where the background process keeps both.
	filesEach = 2
	// filesAtWork is how many more it takes while it is worked on: "ssh -G" or a proxy
	// command with its pipes.
	filesAtWork = 4
	// filesBesides is what the client has open anyway: the audit log, the store, streams.
	filesBesides = 64
)

// CheckFiles reports why n targets cannot be worked on within the limit of open files.
// Without it the last would fail in the middle, and what ran could not be recorded.
func (o Options) CheckFiles(n int) error {
	limit, ok := openFiles()
	if !ok {
		return nil
	}
	fanout := o.Fanout
	if fanout <= 0 {
		fanout = DefaultFanout
	}
	if need := filesBesides + filesEach*n + filesAtWork*min(n, fanout); uint64(need) > limit {
		return fmt.Errorf("%d targets need up to %d open files, and this process may have %d", n, need, limit)
	}
	return nil
}
