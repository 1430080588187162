#!/bin/sh
# Installs what a make target needs and is missing, with apt as root or through
# sudo; else says exactly what to install. Usage: scripts/deps.sh demo|test|check|bench
set -eu

# need COMMAND PACKAGE...: remembers the package if the command is missing.
missing=""
need() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }

have_pg() { [ -n "$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || command -v initdb >/dev/null 2>&1; }
need bwrap bubblewrap
need sshd openssh-server
need ssh openssh-client
case ${1:?which target} in
test|check|bench)
	need fish fish
	need dash dash
	need zsh zsh
	need tcsh tcsh
	need busybox busybox
	need python3 python3
	need ssh-audit ssh-audit
	need ncat ncat
	need tmux tmux
	# Real tools whose changes the risks of a plan are tested on.
	need visudo sudo
	need crontab cron
	need openssl openssl
	need setcap libcap2-bin
	need setfacl acl
	need nft nftables
	need iptables-save iptables
	need ufw ufw
	need logrotate logrotate
	need update-ca-certificates ca-certificates
	need git git
	need make make
	need gcc gcc
	need perl perl
	need sqlite3 sqlite3
	need npm npm
	need chromium chromium
	need debootstrap debootstrap
	have_pg || missing="$missing postgresql" # its programs are not in PATH
	need podman "podman crun conmon netavark aardvark-dns"
	;;
esac
case $1 in
check) need gcc gcc ;;
bench)
	need rsync rsync
	need ansible ansible-core
	need clush clustershell
	need parallel-ssh pssh
	/usr/bin/python3 -c 'import asyncssh' 2>/dev/null || missing="$missing python3-asyncssh"
	;;
esac

[ -n "$missing" ] || exit 0
echo "installing:$missing" >&2
run=""
if [ "$(id -u)" != 0 ]; then
	if command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
		run="sudo"
	else
		echo "These packages are missing and there is no root to install them:$missing" >&2
		echo "Install them, for example with: apt-get install$missing" >&2
		exit 1
	fi
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo "There is no apt-get here. Install these with your package manager:$missing" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# A machine that installs a server for a test must not start it.
policy=/usr/sbin/policy-rc.d
made=""
if [ ! -e $policy ] && [ "$(id -u)" = 0 ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
	made=1
fi
trap '[ -z "$made" ] || rm -f $policy' EXIT
log=$(mktemp)
if ! { $run apt-get update -qq && $run apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
	cat "$log" >&2
	rm -f "$log"
	exit 1
fi
rm -f "$log"
