# The program that /bin/sh runs on the target, for one command; doc.go says how
# it is fed. It uses POSIX sh and its builtins, so that it starts no process but
# bwrap (and, as root, what a read-only /dev and a cgroup need), unless it must
# clean up.
#
# It is sent as one line inside single quotes, to a login shell of any kind:
# no single quote, no exclamation mark but in "$!", and every line must read the same when
# joined to the next by a space. Comments stand on lines of their own.
#
# boot.go puts its prelude before it.
#
# $1 is "i" if the command reads our input, else "n"; $2 is the number of
# seconds after which an "i" run is killed from here.
#
# Descriptors: 3 environment for bwrap; 4 our input; 5 bwrap's status report;
# 6 the real standard output; 7 the seccomp filter.

# A variable that was exported would carry our values, the nonce among them, to
# bwrap.
unset N b c d e f h i k l n o p q r s t u v w x z;
i=$1 t=$2;
exec 4<&0 </dev/null 6>&1;
umask 022;
read -r n u <&4 && IFS= read -r b <&4 && IFS= read -r v <&4 && IFS= read -r o <&4 && IFS= read -r l <&4 && IFS= read -r c <&4 || exit 125;

# a prints options for bwrap.
a() { printf "%s\0" "$@"; };

# m SOURCE TARGET says in h and p how to mask $f, which the bind of SOURCE at
# TARGET shows, if it exists. Paths through links are for the second pass, k=1:
# bwrap must be given the path itself, and no later mount may uncover it.
m() {
  [ -e "$f" ] || return 1;
  s=$1 p=$f q=;
  while [ -n "$p" ]; do if [ -L "$p" ]; then q=1 p=; else p=${p%/*}; fi; done;
  [ "$q" = "$k" ] || return 1;
  if [ -n "$q" ]; then
    f=$(readlink -f -- "$f") && { [ -z "$s" ] || s=$(readlink -f -- "$s"); } || { echo "bowline: cannot resolve a hidden path" >&2; exit 125; };
  fi;
  case $f in "$s"|"$s"/*) p=$2${f#"$s"};; *) return 1;; esac;
  if [ -d "$f" ]; then h=--tmpfs; else h="--ro-bind /dev/null"; fi;
};

# j DIRECTORY FILE VALUE moves us into a cgroup of our own with one limit set.
j() { [ -w "$1/cgroup.procs" ] && { [ -d "$1/bowline-$$" ] || mkdir "$1/bowline-$$"; } && echo "$3" >"$1/bowline-$$/$2" && echo 0 >"$1/bowline-$$/cgroup.procs"; };

# g MEMORY PROCESSES limits the sandbox as a whole, where the login may (root).
# Without it, RLIMIT_DATA and RLIMIT_NPROC remain.
g() {
  r=/sys/fs/cgroup;
  if [ -e $r/cgroup.controllers ]; then v=memory.max q=$r w=$r; else v=memory.limit_in_bytes q=$r/memory w=$r/pids; fi;
  [ "$1" = 0 ] || j $q $v "$1";
  [ "$2" = 0 ] || j $w pids.max "$2";
};

# u PROCESSES sets RLIMIT_NPROC. It counts every thread of the login on the
# host, so all threads there are (proc(5), /proc/loadavg, field 4) come on top.
u() { read -r x x x x z </proc/loadavg && x=${x#*/} && { ulimit -u $((x + $1)) || ulimit -p $((x + $1)); }; };

# d takes the cgroups away. They are busy until the last process has ended.
d() {
  for r in /sys/fs/cgroup /sys/fs/cgroup/memory /sys/fs/cgroup/pids; do
    x=0;
    while [ -d $r/bowline-$$ ] && [ $x -lt 60 ]; do rmdir $r/bowline-$$ || [ $x -lt 20 ] || sleep 0.1 || sleep 1; x=$((x + 1)); done;
  done 2>/dev/null;
};

# f kills what is left of the sandbox, which has our mark among its arguments:
# bwrap asks to die with its parent only when it has set all up, and has left our
# process group by then (do_init in bubblewrap.c); if it was killed before, its
# inner process goes on. The status of grep says nothing: processes come and go
# under it, which is an error to it.
f() {
  x=0;
  while [ $x -lt 50 ] && q=$(grep -ls "[b]owline_$u" /proc/[0-9]*/cmdline || :) && [ -n "$q" ]; do
    for p in $q; do p=${p#/proc/}; kill -9 "${p%/cmdline}"; done;
    x=$((x + 1));
  done 2>/dev/null;
};

# y ends all, ourselves last, so as to take away the cgroups.
y() { trap "" TERM; kill -TERM 0; f; d; kill -9 0; };

# Our process group, which need not be our own if the login shell is a wrapper.
read -r x x x x q x </proc/$$/stat && [ "$q" -gt 1 ] || q=$$;
echo "$n" $$ $q;
echo "$n" >&2;

# The switch that stops all work on this host, see package freeze: whatever is there
# counts, and a directory that nobody can look into.
k=;
[ -e /etc/bowline/freeze ] && k=1;
[ -L /etc/bowline/freeze ] && k=1;
[ -d /etc/bowline ] && { [ -x /etc/bowline ] || k=1; };
if [ "$k" ]; then
  echo "bowline: frozen" >&2;
  [ -f /etc/bowline/freeze ] && command dd if=/etc/bowline/freeze bs=4096 count=1 >&2 2>/dev/null;
  echo >&2;
  echo "$n" 125 >&2;
  exit 125;
fi;

# Without input of its own, the command lives as long as the link: our input
# ends when it drops. With input, the end of our parent (sshd) says so, and a
# timer.
case $i in
  n) (read -r x <&4; y) >/dev/null 2>&1 6>&- & w=$!;;
  *) (
    trap "kill \$q; exit" TERM;
    read -r x x x z x </proc/$$/stat;
    while sleep 1 & q=$!; wait $q; t=$((t - 1)); read -r x x x r x </proc/$$/stat && [ "$r" = "$z" ] && [ $t -gt 0 ]; do :; done;
    y) >/dev/null 2>&1 4<&- 6>&- & w=$!;;
esac;

# The command reads end of file from the drained pipe of its environment: a
# /dev/null opened out here would let root change the mode of the host's own.
#
# The devices that bwrap --dev binds are the host's too. Where they are ours,
# /dev is made read-only first; bwrap itself has no option for it.
s=$({ printf "$b" | {
  exec 7<&0;
  { eval "$v"; } | {
    set --; k=; eval "$o";
    { eval "$l"; } 2>/dev/null;
    exec 3<&0;
    case $i in i) exec <&4;; esac;
    eval "$c";
    if [ -O /dev/null ] || [ -O /dev/zero ] || [ -O /dev/full ] || [ -O /dev/random ] || [ -O /dev/urandom ] || [ -O /dev/tty ]; then
      exec unshare -m /bin/sh -c "set +aCefuvx; unset -f mount bwrap; mount -o remount,bind,ro /dev 2>/dev/null || { mount --rbind /dev /dev && mount -o remount,bind,ro /dev; } || exit 125; exec \"\$@\"" bowline bwrap "$@" 4<&- >&6 6>&-;
    fi;
    exec bwrap "$@" 4<&- >&6 6>&-;
  };
}; } 5>&1);
e=$?;
kill $w 2>/dev/null;
[ $e -lt 128 ] || f;
d;

# What the login says when it ends is none of the output. The command may have
# left our standard error in non-blocking mode; a line this short is written
# whole or not at all (pipe(7), PIPE_BUF).
echo "$n" 2>/dev/null;
x=0;
until echo "$n" $e $s >&2 2>/dev/null || [ $x -gt 50 ]; do { sleep 0.1 || sleep 1; } 2>/dev/null; x=$((x + 1)); done;
exit $e
