package intake_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
)

// patience is what a test waits for what comes at once.
const patience = time.Minute

// office is a Mail under test and what it delivered.
type office struct {
	t    *testing.T
	mail *intake.Mail
	addr string
	cert *x509.Certificate

	mu       sync.Mutex
	arrivals []*reports.Arrival
}

// startMail serves SMTP on loopback, and at the end sees that nothing is left of it.
func startMail(t *testing.T, change func(*intake.MailOptions)) *office {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	o := &office{t: t}
	config, cert := selfSigned(t)
	o.cert = cert
	options := intake.MailOptions{
		Hostname: "mx.example.net", Addresses: []string{"tlsrpt@reports.example.net"}, TLS: config,
		Authenticator: newAuthenticator(t, records{}), Deliver: o.keep, Now: func() time.Time { return today },
	}
	if change != nil {
		change(&options)
	}
	var err error
	if o.mail, err = intake.NewMail(options); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = l.Addr().String()
	o.serve(func() error { return o.mail.ServeSMTP(l) })
	return o
}

// serve runs until the end of the test.
func (o *office) serve(run func() error) {
	ended := make(chan error, 1)
	go func() { ended <- run() }()
	o.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := o.mail.Shutdown(ctx); err != nil {
			o.t.Errorf("Shutdown: %v", err)
		}
		if err := <-ended; err != nil {
			o.t.Errorf("serving ended with: %v", err)
		}
	})
}

func (o *office) keep(_ context.Context, a *reports.Arrival) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.arrivals = append(o.arrivals, a)
	return nil
}

// delivered is what came so far.
func (o *office) delivered() []*reports.Arrival {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.arrivals
}

// one is the one that came.
func (o *office) one() *reports.Arrival {
	o.t.Helper()
	all := o.delivered()
	if len(all) != 1 {
		o.t.Fatalf("%d mails were delivered, want one", len(all))
	}
	return all[0]
}

// counted is a metric's value.
func (o *office) counted(name, label string) float64 {
	o.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(o.mail); err != nil {
		o.t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		o.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && (label == "" || m.Label[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	o.t.Fatalf("there is no metric %s of %q", name, label)
	return 0
}

func (o *office) outcome(label string) float64 {
	return o.counted("mtasts_reportmail_messages_total", label)
}

// waitFor waits until a metric has a value.
func (o *office) waitFor(name, label string, want float64) {
	o.t.Helper()
	for end := time.Now().Add(patience); o.counted(name, label) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			o.t.Fatalf("%s of %q is %v, want %v", name, label, o.counted(name, label), want)
		}
	}
}

func selfSigned(t testing.TB) (*tls.Config, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.net"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: today.Add(-time.Hour), NotAfter: today.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	served := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return served, nil }}, cert
}

// talk is a connection of a sender.
type talk struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// call connects, and reads the greeting.
func (o *office) call() *talk {
	o.t.Helper()
	tk := dial(o.t, "tcp", o.addr)
	tk.expect("220 mx.example.net ESMTP")
	return tk
}

// greeted is a call after EHLO.
func (o *office) greeted() *talk {
	o.t.Helper()
	tk := o.call()
	tk.say("EHLO sender.example", "250")
	return tk
}

func dial(t testing.TB, network, addr string) *talk {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &talk{t, conn, bufio.NewReader(conn)}
}

func (tk *talk) send(text string) {
	tk.t.Helper()
	_ = tk.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(tk.conn, text); err != nil {
		tk.t.Fatalf("sending %.40q: %v", text, err)
	}
}

// reply reads an answer, all its lines.
func (tk *talk) reply() (string, error) {
	_ = tk.conn.SetDeadline(time.Now().Add(patience))
	var all strings.Builder
	for {
		line, err := tk.r.ReadString('\n')
		all.WriteString(line)
		if err != nil || len(line) < 4 || line[3] != '-' {
			return all.String(), err
		}
	}
}

func (tk *talk) expect(prefix string) string {
	tk.t.Helper()
	reply, err := tk.reply()
	if err != nil || !strings.HasPrefix(reply, prefix) {
		tk.t.Fatalf("the answer is %q, %v; want %q", reply, err, prefix)
	}
	return reply
}

func (tk *talk) say(command, prefix string) string {
	tk.t.Helper()
	tk.send(command + "\r\n")
	reply, err := tk.reply()
	if err != nil || !strings.HasPrefix(reply, prefix) {
		tk.t.Fatalf("the answer to %.60q is %q, %v; want %q", command, reply, err, prefix)
	}
	return reply
}

// ended reads to the end of the connection, which comes.
func (tk *talk) ended() string {
	tk.t.Helper()
	_ = tk.conn.SetDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(tk.r)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		tk.t.Fatalf("the connection goes on, after %q", rest)
	}
	return string(rest)
}

// begin says who the mail is from and for.
func (tk *talk) begin(to ...string) {
	tk.t.Helper()
	tk.say("MAIL FROM:<>", "250")
	for _, rcpt := range to {
		tk.say("RCPT TO:<"+rcpt+">", "250")
	}
}

const ourAddress = "tlsrpt@reports.example.net"

// deliver brings a mail and returns what became of it.
func (tk *talk) deliver(mail, prefix string) string {
	tk.t.Helper()
	tk.begin(ourAddress)
	tk.say("DATA", "354")
	return tk.say(mail+".", prefix)
}

// secure goes on in TLS.
func (tk *talk) secure(cert *x509.Certificate) *talk {
	tk.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	conn := tls.Client(tk.conn, &tls.Config{ServerName: "mx.example.net", RootCAs: roots})
	if err := conn.Handshake(); err != nil {
		tk.t.Fatal(err)
	}
	return &talk{tk.t, conn, bufio.NewReader(conn)}
}
