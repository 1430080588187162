#!/bin/sh
# Makes a server ready for boxes: Podman, its socket, and who may use it.
#
#   setup-server.sh [--user NAME] [--rootless] [--check]
#   setup-server.sh --print
#
# On Debian, Ubuntu, Fedora and their kin, as root. It changes what is not yet as it should
# be and nothing else, so it may run again. 'bowline box setup -t TARGET' plans this very
# file as a reviewed change; by hand it is
#
#   ssh TARGET sudo sh -s -- --user "$USER" --check <setup-server.sh
#
#   --user NAME  the account that Bowline logs in with
#   --rootless   NAME runs its own Podman, and the system's socket stays as it is
#   --check      say at the end whether the socket answers
#   --print      print this file
set -eu

# Where the files are; another root is for tests.
root=${BOWLINE_SETUP_ROOT:-}
user='' rootless='' check='' changed=''

fail() {
	echo "setup-server: $1" >&2
	exit 1
}

while [ $# -gt 0 ]; do
	case $1 in
	--print) exec cat "$0" ;;
	--user) [ $# -ge 2 ] || fail "--user needs a name"; user=$2; shift ;;
	--rootless) rootless=yes ;;
	--check) check=yes ;;
	*) fail "$1 is no option; see the head of this file" ;;
	esac
	shift
done
case $user in
-* | *[!A-Za-z0-9._-]*) fail "'$user' is no name of an account" ;;
esac
[ "$user" != root ] || user=''
[ -z "$rootless" ] || [ -n "$user" ] || fail "--rootless needs --user NAME, which is not root"
[ "$(id -u)" = 0 ] || fail "run it as root"

# put FILE: standard input becomes its content, with mode 0644, unless it is that already.
put() {
	new=$(cat)
	if [ -f "$root$1" ] && [ "$(cat "$root$1")" = "$new" ]; then
		return
	fi
	mkdir -p "$root$(dirname "$1")"
	printf '%s\n' "$new" >"$root$1"
	chmod 644 "$root$1"
	changed=yes
	echo "wrote $1"
}

# family: debian or fedora.
family() {
	ids=''
	while IFS='=' read -r key value; do
		case $key in ID | ID_LIKE) ids="$ids $(echo "$value" | sed 's/"//g')" ;; esac
	done <"$root/etc/os-release"
	for id in $ids; do
		case $id in
		debian | ubuntu) echo debian; return ;;
		fedora | rhel | centos) echo fedora; return ;;
		esac
	done
	fail "this is$ids; only Debian, Ubuntu, Fedora and their kin are known: install podman and slirp4netns by hand"
}

# The group and its members come first: packages that are installed may add groups, too.
group() {
	getent group podman >/dev/null || groupadd --system podman
	[ -n "$user" ] || return 0
	case " $(id -nG "$user") " in
	*" podman "*) ;;
	*) usermod -aG podman "$user"; echo "$user is in the group podman from the next login on" ;;
	esac
}

# Who may use the socket is root on this server. systemd gives the socket to the group; the
# directory would be closed to it again at each start of the system by the package's own
# rule, before which this one sorts.
permissions() {
	put /etc/systemd/system/podman.socket.d/bowline.conf <<-'END'
		# Boxes of Bowline: the group podman may use the socket.
		[Socket]
		SocketMode=0660
		SocketGroup=podman
	END
	put /etc/tmpfiles.d/bowline-podman.conf <<-'END'
		# Boxes of Bowline: the group podman may reach the socket.
		d /run/podman 0750 root podman -
	END
}

packages() {
	missing=''
	# Boxes are kept apart by a network stack of their own each.
	for program in podman slirp4netns; do
		command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
	done
	if [ "$1" = debian ] && [ -n "$rootless" ] && ! command -v newuidmap >/dev/null 2>&1; then
		missing="$missing uidmap"
	fi
	[ -n "$missing" ] || return 0
	# shellcheck disable=SC2086 # words on purpose
	if [ "$1" = debian ]; then
		apt-get update
		DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
	else
		dnf install -y $missing
	fi
}

# subordinate: does NAME have ids for what runs in its containers?
subordinate() {
	for file in /etc/subuid /etc/subgid; do
		grep -q "^$user:" "$root$file" 2>/dev/null ||
			fail "$user has no line in $file; add one: 'usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $user', with numbers that nobody else has there"
	done
}

# ready: does the socket stand as it should, now and after the next start of the system?
ready() {
	[ -z "$changed" ] || return 1
	if [ -n "$rootless" ]; then
		home=$(getent passwd "$user" | sed 's/^\([^:]*:\)\{5\}//; s/:.*//')
		[ -e "$root/var/lib/systemd/linger/$user" ] && [ -S "$root$socket" ] && [ -e "$root$home/.config/systemd/user/sockets.target.wants/podman.socket" ]
		return
	fi
	systemctl is-enabled --quiet podman.socket 2>/dev/null && systemctl is-active --quiet podman.socket 2>/dev/null || return 1
	[ "$(stat -c %G "$root$socket" "$root/run/podman" 2>/dev/null)" = "podman
podman" ]
}

sockets() {
	if ready; then
		echo "there is nothing to do"
		return
	fi
	if [ -n "$rootless" ]; then
		loginctl enable-linger "$user"
		systemctl --user --machine="$user@.host" enable --now podman.socket
		return
	fi
	systemctl daemon-reload
	systemd-tmpfiles --create /etc/tmpfiles.d/bowline-podman.conf
	systemctl enable --now podman.socket
	# With its group, where it ran before.
	[ -z "$changed" ] || systemctl restart podman.socket
}

socket=/run/podman/podman.sock
[ -z "$rootless" ] || socket=/run/user/$(id -u "$user")/podman/podman.sock

kin=$(family)
if [ -n "$rootless" ]; then
	subordinate
else
	group
	permissions
fi
packages "$kin"
sockets
if [ -n "$check" ]; then
	[ -S "$root$socket" ] || fail "there is no socket at $socket; see 'systemctl status podman.socket'"
	podman version
fi
echo "Podman's socket is $socket"
echo "next, on your machine: 'bowline target add NAME ${user:-root}@$(uname -n)', then 'bowline target test NAME'"
