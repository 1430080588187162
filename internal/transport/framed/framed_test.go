//go:build unix

package framed_test

import (
	"net"
	"testing"

	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/framed"
	"github.com/bowline-sh/bowline/internal/transport/local"
	"github.com/bowline-sh/bowline/internal/transport/transporttest"
)

func TestContract(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) transport.Conn {
		here, there := net.Pipe()
		far := local.Dial()
		served := make(chan error, 1)
		go func() { served <- framed.Serve(t.Context(), there, far) }()
		t.Cleanup(func() {
			if err := <-served; err != nil {
				t.Errorf("Serve = %v", err)
			}
			_ = there.Close()
			_ = far.Close()
		})
		c, err := framed.NewConn(here, here, transport.Info{Address: "pipe", Login: "me"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
}
