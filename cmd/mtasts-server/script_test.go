package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"mtasts-server/mtasts"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mtasts-server": main})
}

// patience is how long the scripts wait for what must come.
const patience = 20 * time.Second

// TestScripts runs the program as people do. A script has the variables $HTTPS,
// $PLAIN and $ADMIN, three addresses that are free, $DNS, a name server that knows what
// scriptZone says, $EXAMPLES, a copy of the examples, and $AGO0 to $AGO59, days from today
// back; beside the usual commands it has these:
//
//	exits CODE COMMAND...   runs the command and wants this exit code
//	expand FILE...          replaces the variables in files
//	ready                   waits until a server answers on $ADMIN
//	await DOMAIN FILE       waits until the domain's policy is as in the file
//	served DOMAIN FILE      wants it to be so now
//	silent DOMAIN           waits until the domain is refused in the handshake
//	says PATH REGEXP        waits until the admin listener says so
//	verifies CODE ARG...    runs verify in the world of verifyWorld and wants this exit code
func TestScripts(t *testing.T) {
	ns, world := scriptDNS(t), verifyWorld(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"HTTPS", "PLAIN", "ADMIN"} {
				addr, err := freeAddress()
				if err != nil {
					return err
				}
				env.Setenv(name, addr)
			}
			env.Setenv("DNS", ns)
			for n := range 60 {
				env.Setenv(fmt.Sprintf("AGO%d", n), time.Now().UTC().AddDate(0, 0, -n).Format(time.DateOnly))
			}
			examples := filepath.Join(env.WorkDir, "examples")
			env.Setenv("EXAMPLES", examples)
			return errors.Join(lookInto(world, env), os.CopyFS(examples, os.DirFS("../../examples")))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "expand": expand, "ready": ready, "await": await, "served": served, "silent": silent, "says": says, "verifies": verifies,
		},
	})
}

// scriptZone is all that there is in DNS.
const scriptZone = `
hosted.test. 300 IN MX 1 SMTP.Google.com.
own.test. 300 IN MX 20 mx2.own.test.
own.test. 300 IN MX 10 mx1.own.test.
null.test. 300 IN MX 0 .
implicit.test. 300 IN A 192.0.2.1
odd.test. 300 IN MX 10 mx_1.odd.test.
mta-sts.own.test. 300 IN CNAME elsewhere.test.
_mta-sts.own.test. 300 IN TXT "v=STSv1; id=20260101;"
_smtp._tls.own.test. 300 IN TXT "v=TLSRPTv1; rua=mailto:tlsrpt@own.test"
`

// scriptDNS is a name server that knows scriptZone.
func scriptDNS(t *testing.T) (addr string) {
	names, sets := map[string]bool{}, map[dns.Question][]dns.RR{}
	zp := dns.NewZoneParser(strings.NewReader(scriptZone), "", "")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		q := dns.Question{Name: rr.Header().Name, Qtype: rr.Header().Rrtype, Qclass: dns.ClassINET}
		names[q.Name], sets[q] = true, append(sets[q], rr)
	}
	if err := zp.Err(); err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, ended := make(chan struct{}), make(chan error, 1)
	s := &dns.Server{
		PacketConn:        p,
		NotifyStartedFunc: func() { close(started) },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			if m.Answer = sets[q.Question[0]]; !names[q.Question[0].Name] {
				m.Rcode = dns.RcodeNameError
			}
			_ = w.WriteMsg(m)
		}),
	}
	go func() { ended <- s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(), <-ended); err != nil {
			t.Error(err)
		}
	})
	return p.LocalAddr().String()
}

// freeAddress is free now, and most likely still is when the script needs it.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func expand(ts *testscript.TestScript, _ bool, files []string) {
	for _, file := range files {
		text := os.Expand(ts.ReadFile(file), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o600))
	}
}

func ready(ts *testscript.TestScript, _ bool, _ []string) {
	poll(ts, func() error {
		_, err := adminGet(ts, "/readyz")
		return err
	})
}

func await(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, func() error { return isServed(ts, args[0], args[1]) })
}

func served(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(isServed(ts, args[0], args[1]))
}

func silent(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, func() error {
		if body, err := fetch(ts, args[0]); err == nil {
			return fmt.Errorf("still served: %q", body)
		}
		return nil
	})
}

func says(ts *testscript.TestScript, _ bool, args []string) {
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	poll(ts, func() error {
		text, err := adminGet(ts, args[0])
		if err == nil && !want.MatchString(text) {
			err = fmt.Errorf("%s says:\n%s", args[0], text)
		}
		return err
	})
}

// poll calls f until it returns nil.
func poll(ts *testscript.TestScript, f func() error) {
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("in vain: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func isServed(ts *testscript.TestScript, domain, file string) error {
	body, err := fetch(ts, domain)
	if err != nil {
		return err
	}
	p, err := mtasts.Parse([]byte(body))
	if err != nil {
		return err
	}
	if want := ts.ReadFile(file); string(p.Body()) != body || lf(body) != want {
		return fmt.Errorf("%s is served %q, want %q", domain, lf(body), want)
	}
	return nil
}

// lf is the body with the line ends of the script.
func lf(body string) string {
	var b []byte
	for i := range len(body) {
		if body[i] != '\r' {
			b = append(b, body[i])
		}
	}
	return string(b)
}

// fetch gets a policy as a sender does, trusting the local CA.
func fetch(ts *testscript.TestScript, domain string) (string, error) {
	pem, err := os.ReadFile(ts.MkAbs("state/certs/certmagic/local/root.pem"))
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	tr := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, ts.Getenv("HTTPS"))
		},
	}
	return getText(&http.Client{Transport: tr, Timeout: patience}, mtasts.PolicyURL(domain))
}

func adminGet(ts *testscript.TestScript, path string) (string, error) {
	return getText(&http.Client{Timeout: patience}, "http://"+ts.Getenv("ADMIN")+path)
}

func getText(c *http.Client, url string) (string, error) {
	res, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", url, res.Status)
	}
	return string(body), nil
}
