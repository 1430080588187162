package ssh

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// proxyWord is what a host or login may consist of to stand in a shell
// command. Those of a target are checked when it is parsed; those of
// ssh_config are not.
var proxyWord = regexp.MustCompile(`^[A-Za-z0-9_.:%@+][A-Za-z0-9_.:%@+-]*$`)

// expandProxyCommand replaces the tokens that ssh_config(5) allows in a
// ProxyCommand: %h, %n, %p, %r and %%. Another token, or a value that the
// shell could read as more than a word, is an error.
func expandProxyCommand(command string, e endpoint) (string, error) {
	values := map[byte]string{'h': e.host, 'n': e.original, 'p': strconv.Itoa(e.port), 'r': e.user}
	var b strings.Builder
	for i := 0; i < len(command); i++ {
		if command[i] != '%' {
			b.WriteByte(command[i])
			continue
		}
		i++
		if i == len(command) {
			return "", fmt.Errorf("ProxyCommand ends with a single %%")
		}
		if command[i] == '%' {
			b.WriteByte('%')
			continue
		}
		value, ok := values[command[i]]
		if !ok {
			return "", fmt.Errorf("ProxyCommand has the unknown token %q", "%"+string(rune(command[i])))
		}
		if !proxyWord.MatchString(value) {
			return "", fmt.Errorf("ProxyCommand would pass %q to a shell", value)
		}
		b.WriteString(value)
	}
	if strings.TrimSpace(b.String()) == "" {
		return "", fmt.Errorf("ProxyCommand is empty")
	}
	if strings.ContainsRune(b.String(), 0) {
		return "", fmt.Errorf("ProxyCommand holds a NUL byte")
	}
	return b.String(), nil
}
