package redact

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArgv(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{ // arguments joined by "|"
		{"psql|--password=hunter2|-h|db", "psql|--password=***|-h|db"},
		{"x|--password=a b;c&d", "x|--password=***"},
		{"x|--token|abc|--other|v", "x|--token|***|--other|v"},
		{"x|-password|abc", "x|-password|***"},
		{"x|--token|-hunter", "x|--token|***"},
		{"x|--password|--host|db", "x|--password|--host|db"},
		{"x|--password|-h|db", "x|--password|-h|db"},
		{"x|--client-secret|s|file", "x|--client-secret|***|file"},
		{"x|--api-key|s", "x|--api-key|***"},
		{"mysql|-u|root|-phunter2|db", "mysql|-u|root|-p***|db"},
		{"sudo|-n|/usr/bin/mysqldump|-phunter2", "sudo|-n|/usr/bin/mysqldump|-p***"},
		{"mysql|-p|db", "mysql|-p|db"},
		{"sshpass|-p|hunter2|ssh|h", "sshpass|-p|***|ssh|h"},
		{"redis-cli|-a|hunter2|ping", "redis-cli|-a|***|ping"},
		{"curl|-u|me:hunter2|https://h/", "curl|-u|me:***|https://h/"},
		{"curl|--user=me:hunter2", "curl|--user=me:***"},
		{"curl|-H|Authorization: Bearer abc123|https://h", "curl|-H|Authorization: Bearer ***|https://h"},
		{"curl|-H|X-Api-Key: abc|h", "curl|-H|X-Api-Key: ***|h"},
		{"git|clone|https://me:hunter2@h/r.git", "git|clone|https://me:***@h/r.git"},
		{"git|clone|https://0123456789abcdef0123@h/r.git", "git|clone|https://***@h/r.git"},
		{"env|DB_PASSWORD=hunter2|run", "env|DB_PASSWORD=***|run"},
		{"docker|run|-e|PGPASSWORD=x", "docker|run|-e|PGPASSWORD=***"},
		{"sh|-c|mysql -u r -phunter2 db; ls", "sh|-c|mysql -u r -p*** db; ls"},
		{"sh|-c|x; TOKEN='a b' x --password hunter2 y", "sh|-c|x; TOKEN='***' x --password *** y"},
		{"sh|-c|TOKEN=a b", "sh|-c|TOKEN=***"}, // all of the argument may be the secret
		{"echo|it is s3cr3t!", "echo|it is ***!"},
		{"echo|pin", "echo|***"}, // declared, too short inside text
	} {
		checkArgv(t, tt.in, tt.want)
	}
}

func TestArgvHarmless(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"journalctl|-u|nginx|--since=today",
		"cat|/etc/passwd",
		"ssh|-p|22|-o|PasswordAuthentication=no|-o|NumberOfPasswordPrompts=1|h",
		"x|--password-stdin", "x|--password-file|/run/pw", "x|--token-file=/run/t", "x|--no-password|db",
		"llm|--max-tokens=4096", "llm|--max-tokens|4096", "x|--tokenizer=gpt2", "x|secretary=bob",
		"kubectl|get|secret|db", "passwd|-S|bob", "mkdir|-p|/srv/secret", "cp|-pr|a|b",
		"curl|-u|me|https://h:8443/a@b", "ssh|git@h", "git|clone|ssh://git@h:22/r",
		"x|PWD=/home/me", "x|--public-key=ssh-ed25519 AAAA", "grep|pinned|f", "task-management-system-one", "",
		"sort|-k|2", "x|a=b=c", "x|spin",
	} {
		checkArgv(t, in, in)
	}
}

func checkArgv(t *testing.T, in, want string) {
	t.Helper()
	r := testRedactor(t)
	got := strings.Join(r.Argv(strings.Split(in, "|")), "|")
	if got != want {
		t.Errorf("Argv(%s)\n got %s\nwant %s", in, got, want)
	}
	if again := strings.Join(r.Argv(strings.Split(got, "|")), "|"); again != got {
		t.Errorf("Argv(%s) again = %s, want it unchanged", got, again)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	key := "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\nNzaC1\n-----END OPENSSH PRIVATE KEY-----"
	for _, tt := range []struct{ in, want string }{
		{"connect: password=hunter2 refused", "connect: password=*** refused"},
		{`{"user":"me","password":"hun\"ter2","n":1}`, `{"user":"me","password":"***","n":1}`},
		{"Uid=sa;Pwd=hunter2;Server=h", "Uid=sa;Pwd=***;Server=h"},
		{"GET /?token=abc&x=1 500", "GET /?token=***&x=1 500"},
		{"password: hunter2", "password: ***"},
		{"password=a&b;c,d end", "password=*** end"},
		{"accessKey: abc", "accessKey: ***"},
		{"Proxy-Authorization: Basic dTpw\r\nHost: h", "Proxy-Authorization: Basic ***\r\nHost: h"},
		{`Authorization: Digest username="u", response="r"` + "\nX: y", "Authorization: Digest ***\nX: y"},
		{"got bearer abc123 back", "got bearer *** back"},
		{"Set-Cookie: sid=1; Path=/\nX: y", "Set-Cookie: ***\nX: y"},
		{"key:\n" + key + "\nend", "key:\n***\nend"},
		{key[:50], "***"},
		{"id AKIAIOSFODNN7EXAMPLE ok", "id *** ok"},
		{"ghp_0123456789abcdefghij0123456789ABCDEF", "***"},
		{"glpat-0123456789abcdefghij.", "***"},
		{"xoxb-1234567890-abcdef", "***"},
		{"sk-proj-0123456789abcdef", "***"},
		{"jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln ok", "jwt *** ok"},
		{"root:hunter2@tcp(db:3306)/x", "root:***@tcp(db:3306)/x"},
		{"postgres://u:p@ss@h/db", "postgres://u:***@h/db"},
		{"ALTER USER u IDENTIFIED BY 'x y'", "ALTER USER u IDENTIFIED BY ***"},
		{"see s3cr3t and s3cr3t-long", "see *** and ***"},
		{"case CUST-42 open", "case *** open"},
		{"my_pin_code=1234", "my_pin_code=***"},
		{"my.PIN-CODE = 1234", "my.PIN-CODE = ***"},
		{"password=token x", "password=*** x"},
	} {
		r := testRedactor(t)
		if got := r.Text(tt.in); got != tt.want {
			t.Errorf("Text(%q)\n got %q\nwant %q", tt.in, got, tt.want)
		}
		if again := r.Text(tt.want); again != tt.want {
			t.Errorf("Text(%q) = %q, want it unchanged", tt.want, again)
		}
	}
}

func TestTextHarmless(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "Permission denied (publickey,password).", "bob's password:", "password:\nnext line",
		"open /etc/passwd: permission denied", "basic authentication required", "bearer of bad news",
		"dial tcp 10.0.0.1:22: i/o timeout", "http://h:80/p@q", "a=b; c=d", "disk-0123456789abcdefghi",
		"SHA256:uNiVztksCsDhcc0u9e8BrqiVjX6u1ZV2Q0V0WmJ3Y2M", "the secret is safe", "keys=3 tokens=12",
		"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----", "\x00\xff\u202e",
	} {
		if got := testRedactor(t).Text(in); got != in {
			t.Errorf("Text(%q) = %q, want it unchanged", in, got)
		}
	}
}

func TestEnv(t *testing.T) {
	t.Parallel()
	r := testRedactor(t)
	in := map[string]string{
		"DB_PASSWORD": "a b", "TOKEN": "", "PATH": "/bin", "URL": "https://u:p@h/", "NOTE": "s3cr3t", "PIN": "pin", "MYSQL_PWD": "x", "PWD": "/home",
	}
	want := map[string]string{
		"DB_PASSWORD": "***", "TOKEN": "", "PATH": "/bin", "URL": "https://u:***@h/", "NOTE": "***", "PIN": "***", "MYSQL_PWD": "***", "PWD": "/home",
	}
	if diff := cmp.Diff(want, r.Env(in)); diff != "" {
		t.Error(diff)
	}
	if in["DB_PASSWORD"] != "a b" {
		t.Error("Env changed its argument")
	}
	if got := r.SecretEnv(in); !slices.Equal(got, []string{"a b", "x"}) {
		t.Errorf("SecretEnv = %q", got)
	}
	if r.Env(nil) != nil || r.Argv(nil) != nil {
		t.Error("nil did not stay nil")
	}
}

func TestNilRedactor(t *testing.T) {
	t.Parallel()
	var r *Redactor
	if got := r.Text("password=x"); got != "password=***" {
		t.Errorf("nil Redactor: Text = %q", got)
	}
	if got := r.WithValues("longer").Text("a longer way"); got != "a *** way" {
		t.Errorf("WithValues on nil: Text = %q", got)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, d := range []string{"", "--", "/(/", "/x*/", "//"} {
		if _, err := New(Config{Declared: []string{d}}); err == nil {
			t.Errorf("New with %q = nil error", d)
		}
	}
}

func testRedactor(t testing.TB) *Redactor {
	t.Helper()
	r, err := New(Config{Declared: []string{"pin-code", `/CUST-[0-9]+/`}, Values: []string{"s3cr3t", "s3cr3t-long", "pin", ""}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// FuzzText holds Text, Argv and Env to their invariants: they do not panic,
// are idempotent, keep the shape and show no declared value.
func FuzzText(f *testing.F) {
	for _, s := range []string{"--password x", "password=\"a\\", "Authorization: Bearer a=b", "mysql -pxyz", "=***", "a=***&b=c",
		"https://u:p@h", "curl|-u|a:b", "token: 'x", "-----BEGIN PRIVATE KEY-----"} {
		f.Add(s, "=***")
		f.Add(s, "hunter2")
	}
	f.Fuzz(func(t *testing.T, s, secret string) {
		r := testRedactor(t).WithValues(secret)
		text := r.Text(s)
		argv := r.Argv(strings.Split(s, "|"))
		env := r.Env(map[string]string{"A": s, "TOKEN": s})
		if again := r.Text(text); again != text {
			t.Errorf("Text(%q) = %q, again %q", s, text, again)
		}
		if again := r.Argv(argv); !slices.Equal(again, argv) {
			t.Errorf("Argv(%q) = %q, again %q", s, argv, again)
		}
		if len(argv) != strings.Count(s, "|")+1 {
			t.Errorf("Argv(%q) changed the number of arguments: %q", s, argv)
		}
		out := append(argv, text, env["A"], env["TOKEN"])
		for _, o := range out {
			if len(secret) >= MinValue && strings.Contains(o, secret) {
				t.Errorf("%q holds the declared %q", o, secret)
			}
		}
	})
}

func BenchmarkArgv(b *testing.B) {
	r := testRedactor(b)
	argv := strings.Fields("journalctl -u nginx --since today --no-pager -o json --lines 500")
	b.ReportAllocs()
	for b.Loop() {
		r.Argv(argv)
	}
}

// Text comes from targets, so its cost must stay near linear.
func BenchmarkTextHostile(b *testing.B) {
	for _, unit := range []string{"token=,", "mysql -p ", "a&a", "bearer ", "https://a:", "-----BEGIN PRIVATE KEY", "\"", "token=\""} {
		b.Run(unit, func(b *testing.B) {
			s := strings.Repeat(unit, 64<<10/len(unit))
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				(*Redactor)(nil).Text(s)
			}
		})
	}
}
