// Command echo listens on loopback and answers each connection with what it read, once the
// other side has ended its half.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Println("up")
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer c.Close()
			if b, err := io.ReadAll(c); err == nil {
				c.Write(b)
			}
		}()
	}
}
