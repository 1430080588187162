// Command bowline-helper runs on a target for as long as the link to it lasts,
// and answers calls on its standard input and output.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/bowline-sh/bowline/internal/helper"
)

func main() {
	if handled, code := helper.Main(os.Args); handled {
		os.Exit(code)
	}
	if len(os.Args) > 1 && os.Args[1] == "version" {
		fmt.Println(helper.Version())
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "supervise" {
		helper.Supervise(os.Args[2])
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := helper.Serve(ctx, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bowline-helper:", err)
		os.Exit(1)
	}
}
