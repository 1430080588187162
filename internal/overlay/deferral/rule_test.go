package deferral

import (
	"slices"
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		argv  string
		class Class
		undo  string
	}{
		{"systemctl", Read, ""},
		{"systemctl status nginx", Read, ""},
		{"systemctl --quiet is-active nginx", Read, ""},
		{"systemctl --no-pager status", Read, ""},
		{"systemctl -n 5 status nginx", Read, ""},
		{"systemctl -p MainPID show nginx", Read, ""},
		{"systemctl list-units --type service", Read, ""},
		{"systemctl --type service list-units", Read, ""},
		{"systemctl cat nginx", Read, ""},
		{"systemctl is-enabled --quiet x", Read, ""},
		{"systemctl --version", Read, ""},
		{"systemctl -H other status", Defer, ""},
		{"systemctl -qH other status", Defer, ""},
		{"systemctl --host=other status", Defer, ""},
		{"systemctl --hos=other status", Defer, ""},
		{"systemctl --root=/x is-enabled x", Defer, ""},
		{"systemctl start nginx", Defer, "systemctl stop nginx"},
		{"systemctl stop nginx", Defer, "systemctl start nginx"},
		{"systemctl --now enable nginx", Defer, "systemctl --now disable nginx"},
		{"systemctl enable --now nginx", Defer, "systemctl disable --now nginx"},
		{"systemctl disable a b", Defer, "systemctl enable a b"},
		{"systemctl mask a", Defer, "systemctl unmask a"},
		{"systemctl restart a", Defer, "systemctl restart a"},
		{"systemctl reload a", Defer, "systemctl reload a"},
		{"systemctl daemon-reload", Defer, "systemctl daemon-reload"},
		{"systemctl -- start start", Defer, "systemctl -- stop start"},
		{"systemctl frobnicate", Defer, ""},
		{"systemctl set-default x", Defer, ""},
		{"service nginx status", Read, ""},
		{"service --status-all", Read, ""},
		{"service nginx start", Defer, "service nginx stop"},
		{"service status", Defer, ""},
		{"loginctl list-sessions", Read, ""},
		{"loginctl enable-linger x", Defer, "loginctl disable-linger x"},
		{"hostnamectl", Read, ""},
		{"hostnamectl hostname", Read, ""},
		{"hostnamectl hostname x", Defer, ""},
		{"timedatectl status", Read, ""},
		{"timedatectl set-time x", Defer, ""},
		{"reboot", Defer, ""},
		{"reboot --help", Defer, ""},
		{"mount", Read, ""},
		{"mount -t ext4", Read, ""},
		{"mount -a", Defer, ""},
		{"mount /dev/x /mnt", Defer, ""},
		{"sysctl net.ipv4.ip_forward", Read, ""},
		{"sysctl -n kernel.x", Read, ""},
		{"sysctl -w a=1", Defer, ""},
		{"sysctl a=1", Defer, ""},
		{"sysctl -p", Defer, ""},
		{"sysctl -qw a", Defer, ""},
		{"sysctl --system", Defer, ""},
		{"iptables -L -n", Read, ""},
		{"iptables -nvL", Defer, ""},
		{"iptables -L --modprobe=/x", Defer, ""},
		{"iptables -A INPUT -j DROP", Defer, ""},
		{"nft list ruleset", Read, ""},
		{"nft -f x", Defer, ""},
		{"nft add table x", Defer, ""},
		{"ufw status verbose", Read, ""},
		{"ufw enable", Defer, "ufw disable"},
		{"firewall-cmd --state", Read, ""},
		{"firewall-cmd --reload", Defer, ""},
		{"firewall-cmd --add-port=80/tcp", Defer, ""},
		{"ip a", Read, ""},
		{"ip -4 addr show dev eth0", Read, ""},
		{"ip -br link", Read, ""},
		{"ip -b x addr", Defer, ""},
		{"ip link set eth0 up", Defer, ""},
		{"ip netns exec x show", Defer, ""},
		{"ip addr add 1.2.3.4 dev show", Defer, ""},
		{"docker ps -a", Read, ""},
		{"docker -H tcp://x ps", Defer, ""},
		{"docker run x", Defer, ""},
		{"docker stop x", Defer, "docker start x"},
		{"podman exec x ps", Defer, ""},
		{"kubectl get pods", Read, ""},
		{"kubectl -n kube get pods", Read, ""},
		{"kubectl --kubeconfig x get pods", Defer, ""},
		{"kubectl apply -f x", Defer, ""},
		{"crontab -l", Read, ""},
		{"crontab -u x -l", Read, ""},
		{"crontab -", Defer, ""},
		{"crontab -r", Defer, ""},
		{"modprobe x", Defer, ""},
		{"swapon --show", Read, ""},
		{"swapoff -a", Defer, ""},
		{"chronyc tracking", Read, ""},
		{"chronyc makestep", Defer, ""},
		{"kill -9 1", Defer, ""},
	} {
		t.Run(tt.argv, func(t *testing.T) {
			argv := strings.Fields(tt.argv)
			rule, ok := Find(Default(), argv[0])
			if !ok {
				t.Fatal("no rule")
			}
			class, undo := Classify(rule, argv)
			if class != tt.class || strings.Join(undo, " ") != tt.undo {
				t.Errorf("%s, undo %q; want %s, %q", class, undo, tt.class, tt.undo)
			}
		})
	}
}

func TestTableHasNoTwins(t *testing.T) {
	var names []string
	for _, r := range Default() {
		if slices.Contains(names, r.Name) {
			t.Errorf("%s stands twice", r.Name)
		}
		names = append(names, r.Name)
	}
}

// FuzzClassify holds the decision to what follows from deferring the unknown: a
// flag that defers always wins.
func FuzzClassify(f *testing.F) {
	f.Add("status\x00nginx", uint8(0))
	f.Fuzz(func(t *testing.T, args string, n uint8) {
		table := Default()
		r := table[int(n)%len(table)]
		argv := append([]string{r.Name}, strings.Split(args, "\x00")...)
		Classify(r, argv)
		if len(r.DeferFlags) > 0 {
			argv = slices.Insert(argv, 1, r.DeferFlags[0])
			if class, _ := Classify(r, argv); class != Defer {
				t.Errorf("%q is a read", argv)
			}
		}
	})
}
