#!/usr/bin/env bash
# The main job from end to end, on a throwaway SSH server of this machine with
# its own keys and its own configuration. It leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
bowline=$PWD/bin/bowline

dir=$(mktemp -d "${TMPDIR:-/tmp}/bowline-demo.XXXXXX")
sshd_pid="" site="" serve_pid=""
cleanup() {
	[ -z "$serve_pid" ] || kill "$serve_pid" 2>/dev/null || true
	[ ! -d "$dir/run/bowline" ] || "$bowline" link close --all >/dev/null 2>&1 || true # the process that keeps links
	[ -z "$sshd_pid" ] || kill "$sshd_pid" 2>/dev/null || true
	rm -rf "$dir" ${site:+"$site"}
}
trap cleanup EXIT
trap 'exit 130' INT TERM

export XDG_CONFIG_HOME=$dir/config XDG_STATE_HOME=$dir/state XDG_RUNTIME_DIR=$dir/run
unset SSH_AUTH_SOCK BOWLINE_TARGET
mkdir -p "$dir/run" "$dir/home"

ssh-keygen -q -t ed25519 -N '' -f "$dir/host_key"
ssh-keygen -q -t ed25519 -N '' -f "$dir/client_key"
cp "$dir/client_key.pub" "$dir/authorized_keys"
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
sshd=$(PATH="$PATH:/usr/sbin" command -v sshd)

# start_sshd PORT: true if it listens there.
start_sshd() {
	cat >"$dir/sshd_config" <<-CONF
		Port $1
		ListenAddress 127.0.0.1
		HostKey $dir/host_key
		AuthorizedKeysFile $dir/authorized_keys
		PidFile none
		UsePAM no
		StrictModes no
		PasswordAuthentication no
		PermitRootLogin prohibit-password
		Subsystem sftp internal-sftp
		SetEnv HOME=$dir/home
	CONF
	"$sshd" -D -e -f "$dir/sshd_config" 2>"$dir/sshd.log" &
	sshd_pid=$!
	while kill -0 "$sshd_pid" 2>/dev/null; do
		grep -q 'Server listening' "$dir/sshd.log" && return 0
		sleep 0.05
	done
	return 1
}
port=""
for _ in 1 2 3 4 5 6 7 8 9 10; do
	port=$((20000 + RANDOM % 20000))
	start_sshd "$port" && break
	port=""
done
[ -n "$port" ] || { cat "$dir/sshd.log" >&2; exit 1; }
fingerprint=$(ssh-keygen -lf "$dir/host_key.pub" | cut -d' ' -f2)

if { [ -t 1 ] || [ -n "${FORCE_COLOR:-}" ]; } && [ -z "${NO_COLOR:-}" ]; then dim=$'\e[2m' bold=$'\e[1m' off=$'\e[0m'; else dim="" bold="" off=""; fi
say() { printf '\n%s# %s%s\n' "$dim" "$*" "$off"; }
# show CODE ARG...: types the command, runs it, and insists on its exit code.
show() {
	local want=$1 got=0 word line=""
	shift
	for word in "$@"; do case $word in *[!A-Za-z0-9_./@:=,+-]*) line+=" '${word//$dir/\~}'" ;; *) line+=" ${word//$dir/\~}" ;; esac; done
	printf '%s$ bowline%s%s\n' "$bold" "$line" "$off"
	"$bowline" "$@" </dev/null 2>&1 || got=$?
	[ "$got" = "$want" ] || { echo "demo: expected exit code $want, got $got" >&2; exit 1; }
	[ "$got" = 0 ] || printf '%s(exit code %s)%s\n' "$dim" "$got" "$off"
}

# fetch TOKEN PATH: what the server of the demo answers, over bash's own sockets: no curl
# is needed, and the token is in no argument list.
fetch() {
	exec 3<>"/dev/tcp/127.0.0.1/${address##*:}"
	printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n' "$2" "$1" >&3
	cat <&3
	exec 3<&-
}

# look FILE: what the "host", this machine, has.
look() { printf '%s$ cat %s%s\n' "$bold" "$1" "$off"; cat "$1"; }

say "A host nobody has vouched for is refused, and nothing is written."
show 11 target add web1 "$(id -un)@127.0.0.1:$port" --key "$dir/client_key"
say "With the fingerprint its administrator gave us, it becomes a target."
show 0 target add web1 "$(id -un)@127.0.0.1:$port" --key "$dir/client_key" --fingerprint "$fingerprint" --label env=demo
show 0 target test web1

say "Look without touching: a command under bubblewrap on the host. No agent, nothing installed there."
show 0 run -t web1 -- head -n 2 /etc/os-release
say "It cannot write, see secrets, reach the network or run what the profile does not list."
show 1 run -t web1 -- touch /usr/local/hello
show 126 run -t web1 -- rm -rf /
show 1 run -t web1 -- cat /etc/shadow
say "A deadline reaches the far side: the command is killed there."
show 124 run -t web1 --timeout 1s -- sleep 600
say "A local script runs there, in the same confinement; exit codes come back."
printf '#!/bin/sh\necho "hello from $(uname -s), $# arguments"; exit 42\n' >"$dir/check.sh"
show 42 run -t web1 -p script --script "$dir/check.sh" -- one two
say "Every program can read the answer."
show 0 run -t web1 --json -- cat /etc/hostname
# A throwaway directory of the "host".
if [ "$(id -u)" = 0 ]; then site=$(mktemp -d /srv/bowline-demo.XXXXXX); else site=$(mktemp -d "$HOME/bowline-demo.XXXXXX"); fi
printf 'workers=1\nport=80\n' >"$site/app.conf"
chmod 755 "$site"
cat >"$dir/fix.sh" <<-SCRIPT
	#!/bin/sh
	set -e
	cd $site
	sed -i s/workers=1/workers=4/ app.conf
	mkdir conf.d
	echo 'log=debug' > conf.d/log.conf
SCRIPT
say "Now the second promise: a real script, run against a copy-on-write view of the real host."
show 0 plan -t web1 --note 'more workers' "$dir/fix.sh"
id=$("$bowline" session list --limit 1 --json | sed 's/.*"id":"\([^"]*\)".*/\1/')
say "Nothing has changed yet, and nothing can be applied before a person has approved exactly this."
look "$site/app.conf"
show 12 apply "$id"
show 0 diff "$id"
show 0 approve "$id" --yes
say "Apply replays the captured bytes; the script never runs a second time."
show 0 apply "$id"
look "$site/app.conf"
say "And back, exactly."
show 0 rollback "$id" --yes
look "$site/app.conf"

say "A receipt tells it all, and is checked with nothing else."
show 0 session export "$id" -o "$dir/receipt.json"
show 0 session verify "$dir/receipt.json"
say "Everything is on record, in a log that shows any edit."
show 0 audit list --limit 6
show 0 audit verify

say "A team reviews in a browser: one more plan waits on the page of a server."
show 0 plan -t web1 --note 'debug log' -- sh -c "echo log=trace >> $site/app.conf"
: >"$dir/serve.out"
"$bowline" serve --listen 127.0.0.1:0 --sign-in-link >"$dir/serve.out" 2>"$dir/serve.log" &
serve_pid=$!
address=""
while [ -z "$address" ] && kill -0 "$serve_pid" 2>/dev/null; do
	read -r address <"$dir/serve.out" || sleep 0.05
done
[ -n "$address" ] || { cat "$dir/serve.log" >&2; exit 1; }
echo "$address"
token=$("$bowline" token create --name demo --scope read 2>/dev/null)
waiting=$(fetch "$token" "/api/v1/sessions?status=pending")
case $waiting in
*'"status":"pending"'*) ;;
*) echo "demo: the server does not show what waits: $waiting" >&2; exit 1 ;;
esac
if [ -t 0 ] && [ -t 1 ]; then
	sed -n 's/^bowline: //p' "$dir/serve.log"
	printf '%sLeave it running, to look at it in a browser? [y/N] %s' "$bold" "$off"
	read -r answer || answer=n
	case $answer in
	y* | Y*) printf 'Follow the link above. Enter ends it all. '; read -r _ || true ;;
	esac
else
	echo "(at a terminal the demo offers to leave it running, with a link to sign in once)"
fi
kill -INT "$serve_pid" && wait "$serve_pid"
serve_pid=""
