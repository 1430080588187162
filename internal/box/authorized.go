package box

import (
	"bytes"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
)

// checkKeys refuses what is no list of public keys: a private key that was named by
// mistake must not leave this machine. The error does not repeat what it found.
func checkKeys(keys []byte) error {
	n := 0
	for line := range bytes.Lines(keys) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey(line)
		if err != nil || key.Type() == "ssh-dss" {
			return diag.New(diag.Usage, "read public keys", "name the file that ends in .pub; 'ssh-keygen -y -f KEY' prints a public key", "line %d is no public key that sshd takes", n)
		}
	}
	return nil
}
