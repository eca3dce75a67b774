package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mtasts-server/internal/sendercheck/sendertest"
)

const worldPolicy = "version: STSv1\r\nmode: %s\r\nmx: *.mx.example\r\nmax_age: 1209600\r\n"

// verifyWorld is the internet of the scripts for verify: good.example and ours.example
// are as they should be, of testing.example the mode tells, redirect.example and
// expired.example are broken, silent.example's mail server does not answer, and
// nothing.example publishes nothing.
func verifyWorld(t *testing.T) *sendertest.World {
	w, err := sendertest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	last := byte(0)
	address := func() netip.Addr { // one that scripts can rest on
		last++
		return netip.AddrFrom4([4]byte{127, 78, 0, last})
	}
	mail := func(name string, l sendertest.Leaf) {
		addr := address()
		l.Names = []string{name}
		cert, err := w.Issue(l)
		must(err)
		must(w.MXHost(addr, &sendertest.MXHost{TLS: sendertest.Server(cert)}))
		must(w.Publish(fmt.Sprintf("%s. A %s", name, addr)))
	}
	mail("a.mx.example", sendertest.Leaf{})
	mail("b.mx.example", sendertest.Leaf{})
	mail("old.mx.example", sendertest.Leaf{NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2020, 2, 1, 0, 0, 0, 0, time.UTC)})
	must(w.Publish("silent.mx.example. A " + address().String()))
	domain := func(name, mx string, handler http.Handler) {
		addr := address()
		cert, err := w.Issue(sendertest.Leaf{Names: []string{"mta-sts." + name}})
		must(err)
		must(w.PolicyHost(addr, sendertest.Server(cert), handler))
		publishDomain(t, w, name, mx, addr)
	}
	domain("good.example", "a", sendertest.Text(fmt.Sprintf(worldPolicy, "enforce")))
	domain("testing.example", "b", sendertest.Text(fmt.Sprintf(worldPolicy, "testing")))
	domain("redirect.example", "a", http.RedirectHandler("https://www.redirect.example/", http.StatusFound))
	domain("expired.example", "old", sendertest.Text(fmt.Sprintf(worldPolicy, "enforce")))
	domain("expired-too.example", "old", sendertest.Text(fmt.Sprintf(worldPolicy, "enforce")))
	domain("silent.example", "silent", sendertest.Text(fmt.Sprintf(worldPolicy, "enforce")))
	domain("ours.example", "a", sendertest.Text(fmt.Sprintf(worldPolicy, "enforce")))
	must(w.Publish("nothing.example. MX 10 a.mx.example."))
	return w
}

func publishDomain(t *testing.T, w *sendertest.World, name, mx string, addr netip.Addr) {
	err := w.Publish(name+". MX 10 "+mx+".mx.example.", fmt.Sprintf("mta-sts.%s. A %s", name, addr),
		fmt.Sprintf("_mta-sts.%s. TXT %q", name, "v=STSv1; id=1;"), fmt.Sprintf("_smtp._tls.%s. TXT %q", name, "v=TLSRPTv1; rua=mailto:tlsrpt@"+name))
	if err != nil {
		t.Fatal(err)
	}
}

// lookInto gives a script what verify needs to look into the world.
func lookInto(w *sendertest.World, env *testscript.Env) error {
	env.Setenv("RESOLVER", w.Resolver)
	env.Setenv("HTTPS_PORT", strconv.Itoa(w.HTTPSPort))
	env.Setenv("SMTP_PORT", strconv.Itoa(w.SMTPPort))
	return os.WriteFile(env.WorkDir+"/world.pem", w.RootPEM, 0o600)
}

func verifies(ts *testscript.TestScript, neg bool, args []string) {
	exits(ts, neg, append([]string{
		args[0], "mtasts-server", "verify", "--private", "--resolver=" + ts.Getenv("RESOLVER"), "--https-port=" + ts.Getenv("HTTPS_PORT"),
		"--smtp-port=" + ts.Getenv("SMTP_PORT"), "--roots=" + ts.MkAbs("world.pem"),
	}, args[1:]...))
}
