package wire

import (
	"context"
	"os"
	"os/user"
	"sync"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/store/sqlite"
)

// sessions opens the store when it is first needed: most calls do not.
type sessions struct {
	file string // immutable

	mu    sync.Mutex // guards store; held while it is opened
	store store.Store
}

func (s *sessions) open(ctx context.Context) (store.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store != nil {
		return s.store, nil
	}
	opened, err := sqlite.Open(ctx, s.file)
	if err != nil {
		return nil, err
	}
	s.store = opened
	return opened, nil
}

func (s *sessions) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

// login and hostname say who acts; empty where the system does not know.
func login() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

func hostname() string {
	h, err := os.Hostname()
	if err != nil {
		return ""
	}
	return h
}
