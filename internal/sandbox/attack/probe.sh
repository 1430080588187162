# The attacks, one function body each; "#: NAME GOAL" starts one. They run inside
# the sandbox, after the prelude, each in a subshell, with A set to the name.
# Each must say held or broke at least once. What they do is harmless where it
# works: files are opened and not written, values are set to what they are.

#: prelude
nl="
"
held() { printf "%s\n" "+ $A $*"; }
broke() { printf "%s\n" "- $A $*"; }
# must_fail WHAT COMMAND... runs COMMAND, which must fail; the end of its first line is the detail.
must_fail() {
  what=$1; shift
  if said=$( { "$@"; } 2>&1 ); then broke "$what worked"; else said=${said%%"$nl"*}; held "$what: ${said##*: }"; fi
}
# have PROGRAM reports whether it can be run here.
have() { command -v "$1" >/dev/null 2>&1; }
# opened FILE opens it for writing and writes nothing.
opened() { : >>"$1"; }
# lists LIST ITEM reports whether ITEM is a line of LIST.
lists() { case "$nl$1$nl" in *"$nl$2$nl"*) return 0;; esac; return 1; }
# status FIELD prints a field of our status.
status() { while read -r k v; do [ "$k" = "$1:" ] && echo "$v"; done </proc/self/status; }
# is_host PID:START reports whether /proc shows that process of the host.
is_host() {
  line=
  { read -r line </proc/${1%:*}/stat; } 2>/dev/null
  line=${line##*) }
  set -- "$1" $line
  shift 20 2>/dev/null || return 1
  [ "$1" = "${HOST_PID#*:}" ]
}
# host_pids prints the processes of the host that /proc shows.
host_pids() { for HOST_PID in $PIDS; do is_host "$HOST_PID" && echo "${HOST_PID%:*}"; done; }
# private DIR reports whether DIR is on a file system that the host has not got.
mounts=$(cat /proc/self/mountinfo)
private() {
  best= dev=
  while read -r x x fs x at x; do
    case "$1/" in "${at%/}"/*) [ ${#at} -ge ${#best} ] && best=$at dev=$fs;; esac
  done <<EOF
$mounts
EOF
  ! lists "$DEVS" "$dev"
}
# write_files FILE... opens each that exists for writing.
write_files() { for f; do [ -f "$f" ] && must_fail "write to $f" opened "$f"; done; }

#: kill-host signal a process of the host
for HOST_PID in $PIDS; do
  p=${HOST_PID%:*}
  [ "$p" -gt 32 ] && [ "$p" != $$ ] && must_fail "signal process $p of the host" kill -0 "$p"
done
[ "$(readlink /proc/self/ns/pid)" = "$NS_pid" ] && broke "the host's process ids are in use" || held "process ids are private"

#: namespaces-apart share a namespace with the host
for k in mnt pid net ipc uts user; do
  eval "host=\$NS_$k"
  [ "$(readlink /proc/self/ns/$k)" = "$host" ] && broke "the $k namespace is the host's" || held "the $k namespace is our own"
done

#: core-pattern run a program as root on the host by way of a kernel setting
write_files /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/hotplug /proc/sys/kernel/poweroff_cmd \
  /proc/sys/fs/binfmt_misc/register /proc/sys/kernel/cad_pid /proc/sys/fs/suid_dumpable /proc/sys/kernel/yama/ptrace_scope

#: sysrq crash or reboot the host by /proc/sysrq-trigger
if [ -e /proc/sysrq-trigger ]; then write_files /proc/sysrq-trigger; else held "there is no /proc/sysrq-trigger"; fi
write_files /proc/sys/kernel/sysrq

#: proc-writes change the host by any other file of /proc
for f in /proc/[!0-9s]* /proc/s[!e]* /proc/sys/vm/* /proc/sys/fs/* /proc/sys/net/core/* /proc/irq/*/smp_affinity /proc/acpi/* /proc/bus/pci/*/* /proc/driver/* /proc/dynamic_debug/*; do
  [ -f "$f" ] && [ -w "$f" ] && must_fail "write to $f" opened "$f"
done
write_files /proc/1/oom_score_adj /proc/sys/vm/drop_caches

#: cgroup run a program as root on the host by release_agent, or lift limits
if [ -d /sys/fs/cgroup ]; then
  for d in /sys/fs/cgroup /sys/fs/cgroup/*; do
    for f in release_agent cgroup.procs tasks notify_on_release memory.max pids.max devices.allow; do [ -f $d/$f ] && must_fail "write to $d/$f" opened $d/$f; done
    [ -d $d ] && must_fail "make a cgroup in $d" mkdir $d/$MARK
    rmdir $d/$MARK 2>/dev/null
  done
else
  held "no cgroup file is visible"
fi

#: mount mount something
if have mount; then
  for t in tmpfs proc sysfs cgroup cgroup2 devtmpfs; do must_fail "mount -t $t" mount -t $t none /tmp; done
  must_fail "mount --bind" mount --bind / /tmp
  must_fail "umount /etc" umount /etc
  held "mount(8) tried"
else
  [ "$(status CapEff)" = 0000000000000000 ] && held "no capability to mount, and no mount(8)" || broke "there are capabilities, and no mount(8) to try them"
fi

#: remount make a read-only mount writable
while read -r x x x x m options x; do
  case $options in ro|ro,*) ;; *) continue;; esac
  have mount && must_fail "remount $m writable" mount -o remount,bind,rw "$m" || held "no mount(8)"
done <<EOF
$(printf "%s\n" "$mounts" | head -n 12)
EOF
held "remounting tried"

#: unix-sockets talk to a service of the host
n=0
for s in $SOCKETS; do [ -S "$s" ] && ! private "$s" && n=$((n + 1)); done
[ "$(status Seccomp)" = 2 ] && held "a filter watches socket(2); sockets of the host that can be seen: $n" || { [ $n = 0 ] && held "no socket of the host can be seen" || broke "no filter, and $n sockets of the host can be seen"; }
case "$SOCKETS" in *@*) [ "$(readlink /proc/self/ns/net)" = "$NS_net" ] && broke "abstract sockets of the host can be reached";; esac

#: tiocsti type into the terminal of whoever started us
if ( : </dev/tty ) 2>/dev/null; then broke "there is a controlling terminal"; else held "there is no controlling terminal"; fi

#: descriptors use a descriptor that was left open
for fd in $(ls /proc/self/fd); do
  at=$(readlink /proc/self/fd/$fd 2>/dev/null)
  case $fd:$at in
    0:pipe:*|0:socket:*|[12]:*) ;;
    *:/proc/*/fd|*:) ;;
    0:/dev/null) if [ -O /dev/null ] && have python3; then :; fi;;
    *) broke "descriptor $fd is $at";;
  esac
done
held "none beyond the standard ones"

#: host-processes look into a process of the host
n=0
for p in $(host_pids); do
  n=$((n + 1))
  for f in environ maps auxv; do
    c=$(head -c 1 /proc/$p/$f 2>/dev/null | wc -c)
    [ $c = 0 ] || broke "/proc/$p/$f can be read"
  done
  for l in root cwd exe fd/0 ns/mnt; do
    at=$(readlink /proc/$p/$l 2>/dev/null) && broke "/proc/$p/$l leads to $at"
  done
  ls /proc/$p/root/ >/dev/null 2>&1 && broke "/proc/$p/root can be listed"
done
[ $n = 0 ] && held "none is visible" || held "$n are visible, and none opens"
[ "$HOST_PROC" = 0 ] && [ $n != 0 ] && broke "$n processes of the host are visible"

#: no-new-privileges gain rights from a setuid file
[ "$(status NoNewPrivs)" = 1 ] && held "NoNewPrivs is set" || broke "NoNewPrivs is not set"
suid=$(printf "%s\n" "$mounts" | while read -r x x x x m options x; do
  case $m in /proc*|/sys*) continue;; esac
  case ,$options, in *,nosuid,*) ;; *) echo "$m";; esac; done)
[ -z "$suid" ] && held "every mount is nosuid" || broke "mounts that honour setuid:" $suid

#: user-namespace regain capabilities in a new user namespace
if have unshare; then
  must_fail "unshare --user" unshare --user true
  must_fail "unshare --user --map-root-user --mount" unshare --user --map-root-user --mount true
else
  [ "$(status Seccomp)" = 2 ] && held "a filter is in place, and no unshare(1)" || broke "no filter"
fi

#: namespaces-entered join a namespace of the host
if have nsenter; then
  for p in $(host_pids) 1; do must_fail "nsenter to process $p" nsenter -t $p -m -p true; done
else
  held "no nsenter(1)"
fi

#: capabilities hold a capability
for k in CapInh CapPrm CapEff CapBnd CapAmb; do
  v=$(status $k)
  [ "$v" = 0000000000000000 ] && held "$k is empty" || broke "$k is $v"
done

#: chroot change the root
if have chroot; then must_fail "chroot" chroot /tmp true; must_fail "chroot /" chroot / true; else held "no chroot(8)"; fi

#: devices reach a device of the host
if have mknod; then
  must_fail "mknod, a disk" mknod /tmp/$MARK b 8 0
  must_fail "mknod, memory" mknod /tmp/$MARK c 1 1
  rm -f /tmp/$MARK
else
  held "no mknod(1)"
fi
for f in /dev/*; do
  case ${f#/dev/} in
    null|zero|full|random|urandom|tty)
      [ -O $f ] && { case $f in */tty) m=666;; *) m=$DEVNULL;; esac; must_fail "change the mode of the host's $f" chmod "$m" $f; };;
    console|fd|stdin|stdout|stderr|core|pts|ptmx|shm|mqueue) ;;
    *) broke "$f is there";;
  esac
done
held "/dev holds only the harmless ones"

#: writes write to a file system of the host
dirs=$(printf "%s\n" "$mounts" | while read -r x x x x m x; do echo "$m"; done)
for d in $dirs / /etc /usr /usr/bin /usr/lib /bin /sbin /lib /opt /srv /root /home /boot /var /var/log /var/lib /var/tmp /var/spool/cron /run /tmp /dev/shm; do
  [ -d "$d" ] || continue
  if ( : >"$d/$MARK" ) 2>/dev/null; then
    rm -f "$d/$MARK"
    private "$d" && held "$d is private" || broke "write to $d worked"
  else
    held "write to $d turned away"
  fi
done

#: symlink write through a link to where we may not
mkdir /tmp/$MARK 2>/dev/null
for at in /etc/passwd /usr/$MARK /proc/sys/kernel/core_pattern /proc/1/root/etc/passwd /../../../etc/passwd; do
  ln -s $at /tmp/$MARK/link && must_fail "write through a link to $at" opened /tmp/$MARK/link
  rm -f /tmp/$MARK/link
done
rm -rf /tmp/$MARK
held "links tried"

#: secrets read what is hidden by default
for f in $SECRETS; do
  for m in "" $(printf "%s\n" "$mounts" | while read -r x x x root m x; do [ "$root" = / ] && [ "$m" != / ] && echo "$m"; done); do
    at=$m$f
    lists "$NAMED" "$at" && continue
    if [ -d "$at" ]; then
      [ -z "$(ls -A "$at" 2>/dev/null)" ] || private "$m$f" || broke "$m$f can be listed"
    elif [ -e "$at" ]; then
      [ "$(head -c 1 "$at" 2>/dev/null | wc -c)" -eq 0 ] && held "$at cannot be read" || broke "$at can be read"
    fi
  done
done
held "nothing of the kind can be read"

#: environment read the environment of the login
for v in $(env | while IFS= read -r l; do case $l in [A-Za-z_]*=*) echo "${l%%=*}";; esac; done); do
  lists "$ENVS" "$v" && broke "$v of the login is set"
done
held "nothing of the login's is set"

#: network reach the network
while read -r dev x; do
  case $dev in *:*) dev=${dev%%:*}; [ "$dev" = lo ] || broke "there is an interface $dev";; esac
done </proc/self/net/dev
held "there is no interface but lo"
if have bash; then for p in $PORTS; do must_fail "connect to port $p" bash -c ": </dev/tcp/127.0.0.1/$p"; done; fi

#: sys-writes change the host by /sys
if [ -d /sys/kernel ]; then
  write_files /sys/kernel/uevent_helper /sys/power/state /sys/power/disk /sys/kernel/mm/transparent_hugepage/enabled /sys/kernel/mm/ksm/run \
    /sys/class/net/*/ifalias /sys/block/*/queue/scheduler /sys/module/*/parameters/* /sys/kernel/profiling /sys/firmware/efi/efivars/*
  held "writes below /sys tried"
else
  held "there is no /sys"
fi

#: keyring use keys of the login
if have keyctl; then must_fail "keyctl show" keyctl show; fi
[ "$(head -c 1 /proc/keys 2>/dev/null | wc -c)" -eq 0 ] && held "/proc/keys cannot be read" || broke "/proc/keys can be read"

#: kernel-memory read the memory of the kernel
for f in /proc/kcore /dev/mem /dev/kmem /dev/kmsg /proc/kmsg /proc/kallsyms; do
  must_fail "read $f" head -c 1 $f
done

#: kernel-calls use a system call that no reading command needs
[ "$(status Seccomp)" = 2 ] && held "a filter is in place" || broke "no seccomp filter"
if [ "$HOST_PROC" = 0 ]; then
  while read -r k v; do case $k:$v in Seccomp:0|Seccomp::0) broke "process 1 has no seccomp filter";; esac; done </proc/1/status
fi

#: host-name change the name of the host
if have hostname; then
  [ "$(readlink /proc/self/ns/uts)" = "$NS_uts" ] && must_fail "hostname" hostname "$HOST" || held "the name is our own"
else
  held "no hostname(1)"
fi
