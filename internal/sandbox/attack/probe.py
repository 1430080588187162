# Stronger attempts than sh can make: the system calls themselves. A line
# "+ NAME text" says that an attack was turned away, "- NAME text" that it
# worked. Nothing here would harm a host on which it works.
import ctypes, errno, os, platform, socket, sys

libc = ctypes.CDLL(None, use_errno=True)
sockets, ports, pids = ([w for w in a.split("\n") if w] for a in sys.argv[1:4])

# Numbers of system calls: x86_64, and the table that newer architectures share.
NR = {"x86_64": dict(mount=165, fsopen=430, open_tree=428, setns=308, keyctl=250, add_key=248, bpf=321, perf_event_open=298,
                     open_by_handle_at=304, io_uring_setup=425, clone=56, clone3=435, unshare=272, ptrace=101, userfaultfd=323,
                     kexec_load=246, init_module=175, pidfd_open=434, process_vm_readv=310),
      "generic": dict(mount=40, fsopen=430, open_tree=428, setns=268, keyctl=219, add_key=217, bpf=280, perf_event_open=241,
                      open_by_handle_at=265, io_uring_setup=425, clone=220, clone3=435, unshare=97, ptrace=117, userfaultfd=282,
                      kexec_load=104, init_module=105, pidfd_open=434, process_vm_readv=270)}
nr = NR["x86_64" if platform.machine() == "x86_64" and sys.maxsize > 2**32 else "generic"]
NEWUSER, SIGCHLD = 0x10000000, 17


def call(name, *args):
    ctypes.set_errno(0)
    args = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    res = libc.syscall(ctypes.c_long(nr[name]), *args)
    if res < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return res


def attempt(attack, what, fn, *past):
    """Reports whether fn fails, as it must. An errno in past does not count as
    turned away: the call got past the gate and tripped over its arguments."""
    try:
        fn()
    except OSError as e:
        mark = "-" if e.errno in past else "+"
        print(mark, attack, "%s: %s" % (what, e.strerror or e), flush=True)
    except Exception as e:
        print("+", attack, "%s: %s" % (what, e), flush=True)
    else:
        print("-", attack, what + " worked", flush=True)


def child(fn):
    """Runs fn in a child, since it may change the process for good."""
    def run():
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 0
            try:
                fn()
            except OSError as e:
                code = e.errno or 1
            except BaseException:
                code = errno.EINVAL
            os._exit(code)
        os.close(r), os.close(w)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if hasattr(os, "waitstatus_to_exitcode") else os.waitpid(pid, 0)[1] >> 8
        if code != 0:
            raise OSError(abs(code), os.strerror(abs(code)))
    return run


def clone(name):
    def run():
        if name == "clone":
            pid = call("clone", NEWUSER | SIGCHLD, 0, 0, 0, 0)
        else:
            args = (ctypes.c_uint64 * 11)(NEWUSER, 0, 0, 0, SIGCHLD)
            pid = call("clone3", ctypes.byref(args), 88)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    return run


def reach(path):
    def run():
        last = None
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            with socket.socket(socket.AF_UNIX, kind) as s:
                s.settimeout(1)
                try:
                    return s.connect("\0" + path[1:] if path[0] == "@" else path)
                except OSError as e:
                    last = e
        raise last
    return run


def tcp(port):
    def run():
        for host in ("127.0.0.1", "::1"):
            try:
                return socket.create_connection((host, port), timeout=1).close()
            except OSError as e:
                last = e
        raise last
    return run


def dgram_pair():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


def vsock():
    with socket.socket(40, socket.SOCK_STREAM) as s:  # AF_VSOCK; a socket is enough
        pass


def terminal(request):
    def run():
        import fcntl, pty
        m, s = pty.openpty()
        os.setsid()
        fcntl.ioctl(s, 0x540E, 0)  # TIOCSCTTY
        fcntl.ioctl(s, request, b"\n" if request == 0x5412 else b"\x06")
    return run


def into(pid, kind):
    def run():
        fd = os.open("/proc/%s/ns/%s" % (pid, kind), os.O_RDONLY)
        call("setns", fd, 0)
    return run


def pidfd(pid):
    def run():
        os.close(call("pidfd_open", int(pid), 0))
    return run


def memory(pid):
    def run():
        with open("/proc/%s/mem" % pid, "rb"):
            pass
    return run


def handle():
    # A handle of the root directory of the file system below "/usr".
    buf = ctypes.create_string_buffer(b"\x08\0\0\0\1\0\0\0" + b"\2\0\0\0\0\0\0\0", 136)
    fd = os.open("/usr", os.O_RDONLY)
    os.close(call("open_by_handle_at", fd, buf, 0))


attempt("mount", "mount(2)", child(lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None)))
attempt("mount", "fsopen(2)", lambda: call("fsopen", b"tmpfs", 0))
attempt("mount", "open_tree(2)", lambda: call("open_tree", -100, b"/", 1), errno.ENOENT)
attempt("unix-sockets", "socket(AF_UNIX)", lambda: socket.socket(socket.AF_UNIX).close())
attempt("unix-sockets", "socketpair(SOCK_DGRAM)", dgram_pair)
for path in sockets:
    attempt("unix-sockets", "connect to " + path, reach(path))
attempt("tiocsti", "TIOCSTI", child(terminal(0x5412)))
attempt("tiocsti", "TIOCLINUX", child(terminal(0x541C)))
attempt("user-namespace", "unshare(CLONE_NEWUSER)", child(lambda: call("unshare", NEWUSER)))
attempt("user-namespace", "clone(CLONE_NEWUSER)", clone("clone"))
attempt("user-namespace", "clone3(CLONE_NEWUSER)", clone("clone3"))
attempt("namespaces-entered", "setns(2)", child(into("self", "uts")), errno.EINVAL)
for pid in pids:
    attempt("namespaces-entered", "setns to process " + pid, child(into(pid, "mnt")))
    attempt("host-processes", "open memory of process " + pid, memory(pid))
attempt("chroot", "chroot(2)", child(lambda: os.chroot("/tmp")))
attempt("devices", "mknod(2)", lambda: os.mknod("/tmp/.bowline-node", 0o600 | 0o060000, os.makedev(8, 0)))
if os.geteuid() == 0:
    for fd in (0, 1, 2):
        import stat
        st = os.fstat(fd)
        if stat.S_ISCHR(st.st_mode):
            attempt("descriptors", "change the mode of descriptor %d, a device" % fd, lambda: os.fchmod(fd, stat.S_IMODE(st.st_mode)))
for port in ports:
    attempt("network", "connect to port " + port, tcp(int(port)))
attempt("network", "socket(AF_VSOCK)", vsock)
attempt("network", "socket(AF_PACKET)", lambda: socket.socket(17, socket.SOCK_RAW).close())
attempt("no-new-privileges", "prctl(PR_SET_NO_NEW_PRIVS, 0)", lambda: (_ for _ in ()).throw(OSError(errno.EINVAL, "Invalid argument")) if libc.prctl(38, 0, 0, 0, 0) else None)
attempt("keyring", "add_key(2)", lambda: call("add_key", b"user", b"bowline", b"x", 1, -2))
attempt("keyring", "keyctl(2)", lambda: call("keyctl", 0, -3, 1))
attempt("kernel-calls", "io_uring_setup(2)", lambda: call("io_uring_setup", 1, ctypes.create_string_buffer(120)), errno.EFAULT, errno.EINVAL)
attempt("kernel-calls", "bpf(2)", lambda: call("bpf", 0, ctypes.create_string_buffer(128), 128), errno.EINVAL)
attempt("kernel-calls", "perf_event_open(2)", lambda: call("perf_event_open", ctypes.create_string_buffer(128), 0, -1, -1, 0), errno.EINVAL, errno.E2BIG, errno.ENOENT)
attempt("kernel-calls", "userfaultfd(2)", lambda: os.close(call("userfaultfd", 1)))
attempt("kernel-calls", "open_by_handle_at(2)", handle, errno.ESTALE)
attempt("kernel-calls", "kexec_load(2)", lambda: call("kexec_load", 0, 0, None, 0x80000000))
attempt("kernel-calls", "init_module(2)", lambda: call("init_module", None, 0, b""), errno.ENOEXEC, errno.EFAULT)
attempt("host-name", "sethostname(2)", lambda: socket.sethostname(socket.gethostname()))
