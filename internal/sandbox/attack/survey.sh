# What an attacker would like to reach, listed on the target outside any
# sandbox; it changes nothing. Every line is "KIND VALUE". Only builtins and
# common programs are used; what is missing is left out.

for k in mnt pid net ipc uts user; do echo "ns $k $(readlink /proc/self/ns/$k)"; done
echo "host $(cat /proc/sys/kernel/hostname)"
echo "core $(cat /proc/sys/kernel/core_pattern)"
echo "devnull $(ls -lL /dev/null | cut -c1-10)"

# Devices of mounts: a file system inside with another one is private.
while read -r x x dev x; do echo "dev $dev"; done </proc/self/mountinfo | sort -u

# Processes with a command line, ours first, then by age; identity is the time of start.
n=0
for d in /proc/[0-9]*; do
  p=${d#/proc/}
  [ "$p" = $$ ] && continue
  [ -n "$(head -c 1 $d/cmdline 2>/dev/null | tr '\0' x)" ] || continue
  read -r line <$d/stat || continue
  line=${line##*) }
  set -- $line
  shift 19
  if [ -O $d ]; then echo "0 $1 process $p:$1"; else echo "1 $1 process $p:$1"; fi
done 2>/dev/null | sort -k 1,1n -k 2,2n | while read -r x x line; do n=$((n + 1)); [ $n -gt 12 ] || echo "$line"; done

# Sockets: paths, and abstract names with their "@".
n=0
while read -r x x x x x x x path; do
  case $path in /*|@*) n=$((n + 1)); [ $n -gt 60 ] || echo "socket $path";; esac
done </proc/net/unix

# Listeners on TCP, as port numbers.
for f in /proc/net/tcp /proc/net/tcp6; do
  while read -r x local x state x; do
    [ "$state" = 0A ] && echo "port $((0x${local##*:}))"
  done <$f
done 2>/dev/null | sort -u | head -n 20

# Names in the environment of the login.
env | while IFS= read -r line; do
  case $line in [A-Za-z_]*=*) name=${line%%=*}; case $name in *[!A-Za-z0-9_]*) ;; *) echo "env $name";; esac;; esac
done
