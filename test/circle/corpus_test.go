//go:build linux

package circle

// seed fills the play directory. $SET NAME VALUE PATH sets an attribute.
const seed = `SET="python3 /run/set"
cat > /run/set <<'PY'
import os, struct, sys
name, value, path = sys.argv[1:]
if value == "ACL": # user::rw- user:5:rw- group::r-- mask::rw- other::r--
    v = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in ((1,6,0xffffffff),(2,6,5),(4,4,0xffffffff),(16,6,0xffffffff),(32,4,0xffffffff)))
else:
    v = os.fsencode(value)
os.setxattr(path, name, v, follow_symlinks=False)
PY
mkdir -p d/e/f empty full/sub links log
echo one > a; echo two > b; chmod 640 b; printf 'x=1\ny=2\nz=3\n' > conf
echo deep > d/e/f/deep; echo mid > d/e/mid; ln -s ../a d/sym; ln -s nowhere dangling; ln -s d cur
for i in 1 2 3 4 5; do echo $i > full/$i; done; echo s > full/sub/s
echo linked > h1; ln h1 h2; ln h1 links/h3; echo pair > p1; ln p1 p2
echo attr > x; $SET user.color blue x; $SET system.posix_acl_access ACL x
echo cap > c; setcap cap_net_raw+ep c; echo own > o; chown 7:8 o; mkfifo pipe; chmod 4755 x
echo 1 > log/app.log; echo 0 > log/app.log.1; echo '* * * * * root true' > cron
`

// corpus are scripts that run in the play directory of a world with that seed.
var corpus = map[string]string{
	"nothing":                       `cat a b > /dev/null; ls -R . > /dev/null; find / -xdev -name '*.conf' > /dev/null 2>&1; true`,
	"append":                        `echo more >> a; echo more >> d/e/mid`,
	"sed in place":                  `sed -i 's/=2/=9/' conf; sed -i.bak '/x/d' conf`,
	"modes and owners":              `chmod 4711 a; chmod 1777 empty; chown -R 3:4 d; chown -h 9:9 dangling; chgrp 5 full; chmod 2775 full; chmod u+s o`,
	"delete":                        `rm -rf d full; rm -f a pipe dangling`,
	"types":                         `rm a; mkdir a; echo q > a/q; rm -rf d; echo d > d; rm b; ln -s conf b; rm -rf empty; mkfifo empty; rm pipe; mknod pipe c 1 3`,
	"rename storm":                  `for i in 1 2 3 4 5 6 7 8 9; do mv d d$i; mkdir d; echo $i > d/$i; mv d/$i d$i/; rmdir d; mv d$i d; done; mv full d/e; mv d/e/full/sub .; mv a b; mv conf a; mv d/e/f/deep conf`,
	"rename swap":                   `mv d t; mv full d; mv t full; mv a t; mv b a; mv t b; echo n > d/n`,
	"opaque":                        `rm -rf full; mkdir full; echo n > full/3; rm -rf d/e; mkdir -p d/e/f; echo z > d/e/f/deep`,
	"hard link farm":                `mkdir farm; for i in 1 2 3 4 5 6 7 8 9; do ln b farm/$i; echo $i > farm/f$i; ln farm/f$i farm/g$i; done; ln farm/f1 top; rm b; cp -al full copy`,
	"hard link write":               `echo more >> h1; chmod 600 p2`,
	"hard link break":               `cp h1 t; mv t h1; echo n >> h1; rm links/h3; ln p1 h4; ln -f p1 x`,
	"hard link gone":                `echo m >> h1; rm h1; mv links away; echo k >> away/h3`,
	"hard link moved":               `mv links away`,
	"hard link moved, then written": `mv links away; echo k >> h1; chmod 600 h2`,
	"hard link written, then moved": `echo k >> h1; mv links away; mkdir links; echo l > links/h3`,
	"hard links moved":              `cp -al full copy; mkdir t; mv links full t/; ln t/links/h3 h4; mv t u; systemctl restart x; mv u v; echo z >> h2`,
	"symlink swap":                  `ln -s full next; mv -T next cur; ln -sfn d cur; ln -s b t; mv -T t dangling; rm d/sym; mkdir d/sym; echo x > d/sym/y; ln -P dangling d2`,
	"attributes":                    `python3 /run/set user.new 1 a; python3 /run/set user.color red x; python3 /run/set user.q d d; python3 /run/set system.posix_acl_default ACL d; touch d/inherits; python3 -c 'import os; os.removexattr("x","system.posix_acl_access"); os.setxattr("b","trusted.t",b"\x00\xff") if False else None'; chmod 600 x`,
	"capabilities":                  `cp /bin/true ping; setcap cap_net_raw,cap_chown+ep ping; echo y >> c; setcap -r x 2>/dev/null; cp -a c c2; setcap cap_chown+ep c2`,
	"times":                         `touch -d 1999-09-09 a new; touch -h -d 1998-08-08 dangling; cp -p old2 x2 2>/dev/null; cp -p b b2; mkdir old; echo x > old/x; touch -d 1997-07-07 old; touch -d 1996-06-06 full; echo z >> conf; touch -d 2040-01-01 conf`,
	"sparse":                        `truncate -s 40M sparse; echo end >> sparse; truncate -s 3 conf; : > a; dd if=/dev/zero of=b bs=1 seek=4096 count=1 2>/dev/null`,
	"in the middle":                 `printf Q | dd of=conf bs=1 seek=2 conv=notrunc 2>/dev/null; exec 3<> a; printf Z >&3`,
	"names":                         `printf x > "$(printf 'new\nline')"; printf y > "$(printf '\033[31m\377\001')"; mkdir 'sp ace,co:mma'; echo z > 'sp ace,co:mma/a\b'; mkdir ... '..x' '-rf'; echo '*' > '*'; ln -s "$(printf 'a\nb\377')" "$(printf 'l\t')"; : > "$(printf 'n%.0s' $(seq 255))"`,
	"deep":                          `p=.; for i in $(seq 40); do p=$p/directory-$i; mkdir $p; echo $i > $p/f; done; mv directory-1 one; rm -rf one/directory-2/directory-3/directory-4/directory-5`,
	"umask":                         `umask 077; echo s > s; mkdir sd; umask 0; echo o > oo; mkdir od; umask 027; cp a ua`,
	"set-group-id":                  `mkdir g; chgrp 5 g; chmod 2775 g; echo x > g/x; mkdir g/s; echo y > g/s/y; mv g/x .; cp o g/`,
	"same again":                    `cp a t; cat t > a; rm t; mv b b2; mv b2 b; chmod 600 conf; chmod 644 conf; touch brief; rm brief`,
	"tar":                           `tar cf t.tar --xattrs --xattrs-include='*' d full h1 h2 links x o; rm -rf d full h1 h2 links; mkdir out; tar xpf t.tar --xattrs --xattrs-include='*' -C out; rm t.tar`,
	"rotate":                        `for n in 3 2 1; do test ! -e log/app.log.$n || mv log/app.log.$n log/app.log.$((n+1)); done; mv log/app.log log/app.log.1; install -m 640 -o 7 -g 8 /dev/null log/app.log; gzip -n log/app.log.2; cp -p log/app.log.1 log/c; : > log/app.log.1`,
	"cron file":                     `mkdir -p /etc/cron.d; printf 'MAILTO=root\n1 2 * * * root /bin/true\n' > /etc/cron.d/circle; chmod 600 /etc/cron.d/circle; sed -i 's/^\*/5/' cron; printf 'x\n' | tee -a cron > /dev/null`,
	"system files":                  `echo 10.0.0.9 circle >> /etc/hosts; echo circle > /etc/issue; rm /etc/motd; ln -sf /usr/share/zoneinfo/UTC /etc/localtime; mkdir -p /etc/systemd/system/x.service.d; printf '[Service]\n' > /etc/systemd/system/x.service.d/o.conf; mkdir /newtop; echo t > /newtop/t; mkdir /var/lib/circle; echo l > /var/log/circle.log; mkdir /var/log/circle.d; echo t > /var/tmp/circle`,
	"system rename":                 `mv /etc/alternatives /etc/alt; mv /etc/init.d /opt/; mkdir /etc/init.d; echo x > /etc/init.d/x; rm -rf /usr/share/doc/tar; cp -a /etc/default /etc/default.bak; rm -r /etc/default`,
	"accounts":                      `groupadd -g 4242 circle; useradd -m -u 4242 -g circle -G adm,tty -s /bin/sh circle; usermod -aG sudo -c 'A Person' circle; groupmod -n circles circle; passwd -l circle > /dev/null; chage -M 90 circle`,
	"account moves":                 `useradd -r -M svc; usermod -d /var/lib/svc -L svc; install -d -o svc -g svc -m 750 /var/lib/svc; su -s /bin/sh svc -c 'echo mine > /var/lib/svc/f'; userdel svc; groupadd other; gpasswd -a root other > /dev/null; groupdel other`,
	"git": `export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE=@1000000000 GIT_COMMITTER_DATE=@1000000000; git config --global user.name x; git config --global user.email x@x
git init -q -b main repo; cd repo; cp ../conf .; git add .; git commit -qm one; echo two >> conf; git commit -qam two; git tag v1; cd ..; git clone -q repo clone; cd clone; git checkout -q -b work; git gc -q; rm .git/index ../repo/.git/index; rm -rf .git/logs`,
	"make":   `printf 'int f(void){return 7;}\n' > f.c; printf 'int f(void);int main(void){return f();}\n' > m.c; printf 'all: m done\nm: m.o f.o\n\tgcc -o $@ $^\n%%.o: %%.c\n\tgcc -c -o $@ $<\ndone: m\n\t./m; test $$? = 7 && echo ok > done\n' > Makefile; make -s -j2; make -s clean 2>/dev/null; rm f.o`,
	"sqlite": `sqlite3 db "create table t(a,b); insert into t values(1,'x'),(2,'y');"; sqlite3 db "begin; update t set b='z'; delete from t where a=2; commit; vacuum; create index i on t(a);"`,
	"python": "#!/usr/bin/python3\n" + `import os, shutil, stat, pathlib
os.chdir("/srv/play")
p = pathlib.Path("venv")
for d in ("bin", "lib/python3/site-packages/pkg", "include"): (p / d).mkdir(parents=True)
(p / "bin/python").symlink_to("/usr/bin/python3")
(p / "bin/activate").write_text("export X=1\n"); (p / "bin/activate").chmod(0o755)
(p / "lib64").symlink_to("lib")
for i in range(60): (p / f"lib/python3/site-packages/pkg/m{i}.py").write_text(f"v={i}\n" * i)
shutil.copytree("d", "dcopy", symlinks=True); shutil.rmtree("full"); shutil.move("links", "venv/links")
os.replace("a", "b"); os.truncate("conf", 5); os.link("x", "y"); os.rename("d/e", "e")
fd = os.open("fd", os.O_CREAT | os.O_RDWR, 0o604); os.pwrite(fd, b"late", 1 << 20); os.fchown(fd, 11, 12); os.fchmod(fd, 0o2604); os.close(fd)
os.utime("p1", ns=(10**17, 10**17 + 123456789))
`,
	"perl": "#!/usr/bin/perl\n" + `chdir "/srv/play"; open F, ">>a"; print F "p"; close F; rename "b", "bb"; link "bb", "bc"; symlink "q" x 200, "long"; unlink "conf", "h1"; mkdir "m", 0700; chmod 0111, "m"; utime 1e8, 1e8, "o"; truncate "x", 1; for (1..50) { open F, ">m/$_"; print F $_ x $_; close F } rename "m", "m2";
`,
	"python exchange": "#!/usr/bin/python3\n" + `import ctypes, os
os.chdir("/srv/play"); l = ctypes.CDLL(None, use_errno=True)
for a, b in ((b"a", b"b"), (b"d", b"full"), (b"conf", b"dangling")):
    if l.renameat2(-100, a, -100, b, 2): raise SystemExit(ctypes.get_errno())
if l.renameat2(-100, b"x", -100, b"x9", 1): raise SystemExit(9)
fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640); os.write(fd, b"anonymous")
if l.linkat(-100, b"/proc/self/fd/%d" % fd, -100, b"named", 0x400): raise SystemExit(ctypes.get_errno())
`,
	"map":              "#!/usr/bin/python3\n" + `import mmap, os; f = open("/srv/play/conf", "r+b"); m = mmap.mmap(f.fileno(), 0); m[0:1] = b"M"; m.flush(); os.posix_fallocate(f.fileno(), 0, 10000)` + "\n",
	"background":       `(echo b > bg) & wait; setsid sh -c 'echo c > bg2' ; (sleep 300 > /dev/null 2>&1 &) ; echo e > end`,
	"fails half way":   `set -e; echo 1 > first; rm a; mkdir half; false; echo 2 > second`,
	"fails late":       `echo 1 > first; mv d q; exit 7`,
	"killed":           `echo 1 > first; chmod 600 a; kill -9 $$; echo 2 > second`,
	"missing program":  `set -e; echo 1 > first; no-such-program; echo 2 > second`,
	"deferred":         `echo 1 > a; systemctl restart x; echo 2 > a; cd d; A='b  c' Z=1 systemctl --no-block reload y 'odd arg' "$(printf 'new\nline')" ''; echo 3 > ../a; systemctl stop x`,
	"deferred types":   `rm a; mkdir a; systemctl restart x; rmdir a; ln -s b a; systemctl restart y; rm a; mkfifo a; systemctl restart z; rm a; echo f > a`,
	"deferred links":   `echo m >> h1; systemctl restart x; echo n >> h2; systemctl stop x; rm h1; echo z >> h2; ln h2 h9; systemctl start x; cp h9 t; mv t h2`,
	"deferred renames": `mv d q; systemctl restart x; mv q r; echo n > r/n; systemctl stop x; mv r d; rm d/n; systemctl start x; mv full d/`,
	"deferred back":    `cp -p a s; echo q > a; systemctl restart x; cp s a; rm s; chmod 600 b; systemctl restart y; chmod 640 b; rm conf; systemctl reload z; echo new > conf`,
	"deferred fails":   `set -e; echo 1 > a; systemctl is-active x > state || true; systemctl restart x; systemctl daemon-reload; echo 2 > b`,
	"deferred crontab": `echo 1 > a; systemctl enable --now x.timer; mkdir -p /etc/systemd/system; printf '[Unit]\n' > /etc/systemd/system/c.service; systemctl daemon-reload; systemctl enable c.service; systemctl start c.service`,
	"deferred by user": `chmod 777 .; su -s /bin/sh daemon -c 'umask 027; echo u > u; systemctl --user restart x; echo v >> u'`,
	"deferred in python": "#!/usr/bin/python3\n" + `import os, subprocess
os.chdir("/srv/play/d"); open("n", "w").write("1")
subprocess.run(["/usr/bin/systemctl", "restart", "x"], env={"Z": "26", "A": "1", "M": "multi\nline"}, cwd="/srv/play/full", check=True)
os.remove("n"); os.makedirs("deep/er"); subprocess.check_call(["/bin/systemctl", "stop", "y"])
`,
}
