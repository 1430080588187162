package profile

// DefaultHidden lists what is masked in every profile that would show it,
// unless a bind names that path or one below it. "*" matches within one name.
// It is a net for the common secrets, not a list of all: a profile that binds
// the whole root shows what this list does not know.
func DefaultHidden() []string {
	hidden := []string{
		"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers", "/etc/sudoers.d",
		"/etc/security/opasswd", "/etc/ssh/*_key", "/etc/ssl/private", "/etc/pki/tls/private", "/etc/letsencrypt",
		"/etc/wireguard", "/etc/krb5.keytab", "/etc/NetworkManager/system-connections",
		"/run", "/tmp/ssh-*", "/var/lib/systemd/credential.secret",
	}
	for _, home := range []string{"/root", "/home/*"} {
		for _, f := range []string{
			".ssh", ".gnupg", ".aws", ".azure", ".kube", ".config/gcloud", ".docker/config.json", ".netrc", ".pgpass",
			".my.cnf", ".git-credentials", ".vault-token", ".bash_history", ".zsh_history", ".local/share/keyrings",
		} {
			hidden = append(hidden, home+"/"+f)
		}
	}
	return hidden
}
