package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/smtp"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/internal/database"
	"mtasts-server/internal/ledger"
	"mtasts-server/internal/review"
	"mtasts-server/internal/sendercheck/sendertest"
	"mtasts-server/mtasts"
)

// This file is the world of a domain on its way from testing to enforce: BIND has its zone,
// Postfix is its MX hosts, and another Postfix brings reports and takes alerts.

// Where the parties are, beside the mailer and the intake of TestReportsByPostfix.
const (
	rolloutDomain = "tenant.test" // as in tenantZone
	rolloutHost   = "127.44.2.1"  // of policies
	rolloutMX     = "127.25.1.1"
	rolloutMX2    = "127.25.1.2"
	smarthost     = "127.0.0.1:2525"
	opsLMTP       = "127.25.1.9:24" // who is told of alerts
)

// rolloutSite is the program in that world.
type rolloutSite struct {
	*site
	dns    string // BIND, which all ask
	roots  *x509.CertPool
	key    *rsa.PrivateKey // of the sender of reports
	mailer *mailer
	hook   *hook
	ops    *inbox
}

// newRolloutSite starts all but the program, in a network of its own.
func newRolloutSite(t *testing.T, more string) *rolloutSite {
	t.Helper()
	ca, err := sendertest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	w := &rolloutSite{site: newSite(t), roots: x509.NewCertPool(), hook: startHook(t), ops: startInbox(t, opsLMTP)}
	w.roots.AppendCertsFromPEM(ca.RootPEM)
	w.write("ca.pem", string(ca.RootPEM))
	t.Setenv("SSL_CERT_FILE", w.path("ca.pem"))
	issue := func(name string) tls.Certificate {
		cert, err := ca.Issue(sendertest.Leaf{Names: []string{name}})
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	for _, name := range []string{"mta-sts." + rolloutDomain, reportsAt} {
		text, err := certPEM(issue(name))
		if err != nil {
			t.Fatal(err)
		}
		w.write("certs/"+name+".pem", text)
	}
	w.startDNS(t)
	startPostfix(t, []postfixHost{{addr: rolloutMX, cert: issue("mx." + rolloutDomain)}, {addr: rolloutMX2, cert: issue("mx2." + rolloutDomain)}})
	w.startMailer(t)
	w.write("mtasts-server.toml", fmt.Sprintf(rolloutConfig, rolloutHost, w.dns, testTSIG, intakeSMTP, w.hook.url, smarthost)+more)
	return w
}

const rolloutConfig = `
policies = ["policies/*.toml"]
state = "state"
[listen]
https = ["%[1]s:443"]
admin = "127.0.0.1:0"
[certificates]
source = "files"
files = "certs"
[log]
format = "json"
[dns]
target = ["%[1]s"]
resolvers = ["%[2]s"]
private = true
ttl = "1s"
[dns.update]
server = "%[2]s"
key = { name = "mtasts-server", secret = "%[3]s" }
[reports]
host = "reports.example.net"
addresses = ["tlsrpt@reports.test"]
smtp = ["%[4]s"]
[review]
roots = "ca.pem"
[alerts.webhook]
url = "%[5]s"
secret = "of the hook"
[alerts.mail]
server = "%[6]s"
tls = "none"
from = "mtasts@sender.test"
to = ["postmaster@ops.test"]
`

// startDNS starts BIND with the domain's zone, and that of who reports.
func (w *rolloutSite) startDNS(t *testing.T) {
	t.Helper()
	var err error
	if w.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(w.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := base64.StdEncoding.EncodeToString(der)
	w.dns = startNamed(t, fmt.Sprintf("key \"mtasts-server\" { algorithm hmac-sha256; secret %q; };", testTSIG), "update-policy { grant mtasts-server zonesub ANY; };",
		map[string]string{
			rolloutDomain: strings.Replace(tenantZone, "$TTL 60", "$TTL 0", 1) + "mx IN A " + rolloutMX + "\nmx2 IN A " + rolloutMX2 + "\n",
			"sender.test": fmt.Sprintf("%s@ NS root.ns.test.\nrsa._domainkey TXT \"v=DKIM1; k=rsa; \" \"p=%s\" \"%s\"\n", soa, public[:200], public[200:]),
		})
	eventually(t, "BIND answers", func() error {
		_, err := texts(w.dns, rolloutDomain)
		return err
	})
}

// update changes the domain's zone by hand, as its owner would.
func (w *rolloutSite) update(insert, remove string) {
	w.t.Helper()
	m := new(dns.Msg).SetUpdate(rolloutDomain + ".")
	for text, add := range map[string]func([]dns.RR){insert: m.Insert, remove: m.Remove} {
		if text == "" {
			continue
		}
		rr, err := dns.NewRR(text)
		if err != nil {
			w.t.Fatal(err)
		}
		add([]dns.RR{rr})
	}
	m.SetTsig("mtasts-server.", dns.HmacSHA256, 300, time.Now().Unix())
	answer, _, err := (&dns.Client{Net: "tcp", TsigSecret: map[string]string{"mtasts-server.": testTSIG}}).Exchange(m, w.dns)
	if err != nil || answer.Rcode != dns.RcodeSuccess {
		w.t.Fatalf("updating the zone: %v %v", answer, err)
	}
}

// startMailer starts the Postfix that brings reports, and is our smarthost.
func (w *rolloutSite) startMailer(t *testing.T) {
	t.Helper()
	w.mailer = &mailer{t, postfixDir(t)}
	writeZone(t, filepath.Join(w.mailer.dir, "roots.pem"), w.read(w.path("ca.pem")))
	conf := fmt.Sprintf(mailerMain, w.mailer.dir, reportsAt, "/nowhere")
	conf = strings.Replace(conf, "{sender.test=discard:}", "{ops.test=lmtp:inet:"+opsLMTP+"}", 1)
	runPostfix(t, w.mailer.dir, conf, smarthost+" inet n - n - - smtpd\n"+mailerServices)
	eventually(t, "the mailer answers", func() error {
		conn, err := net.Dial("tcp", smarthost)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// table is the domain's policy file; more are lines of its table.
func (w *rolloutSite) table(mode, maxAge, more string) string {
	return fmt.Sprintf(`[domains.%q]
mode = %q
max_age = %q
mx = ["mx.%s"]
tlsrpt = ["mailto:tlsrpt@reports.test"]
owners = { policy = "mail team", dns = "dns team", mx = "mail team" }
%s
`, rolloutDomain, mode, maxAge, rolloutDomain, more)
}

// rolloutBody is the policy that such a table says.
func rolloutBody(mode mtasts.Mode, maxAge time.Duration) []byte {
	return mtasts.Policy{Mode: mode, MaxAge: int(maxAge.Seconds()), MX: []mtasts.MXPattern{"mx." + rolloutDomain}}.Body()
}

// servedSince has the state say that a policy has been served since then, and that the
// domain looked well all the time: as it would if the program had run.
func (w *rolloutSite) servedSince(at time.Time, body []byte) {
	w.t.Helper()
	book, err := ledger.Open(w.path("state/ledger"))
	if err != nil {
		w.t.Fatal(err)
	}
	p := ledger.Publication{Domain: rolloutDomain, ID: mtasts.ID(body), Body: body, Source: w.path("policies/a.toml")}
	if err := book.Publish(at, []ledger.Publication{p}); err != nil {
		w.t.Fatal(err)
	}
	w.database(func(ctx context.Context, db *database.DB) error {
		looks, err := review.NewStore(review.StoreOptions{DB: db, Now: time.Now})
		if err == nil {
			_, err = looks.Record(ctx, rolloutDomain, review.Look{At: at, Known: true, MX: []string{"mx." + rolloutDomain}, TLSRPT: true})
		}
		return err
	})
}

// database opens what the program keeps, beside it.
func (w *rolloutSite) database(use func(ctx context.Context, db *database.DB) error) {
	w.t.Helper()
	db, err := database.Open(database.Options{File: w.path("state/reports/reports.db")})
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), programPatience)
	defer cancel()
	if err := use(ctx, db); err != nil {
		w.t.Fatal(err)
	}
}

// later has the review believe that the time until the next look is over, and has it look:
// a test cannot wait for minutes. It returns when the look is stored.
func (w *rolloutSite) later(p *program) {
	w.t.Helper()
	var looked int64
	w.database(func(ctx context.Context, db *database.DB) error {
		if _, err := db.ExecContext(ctx, "UPDATE review_findings SET missed = missed - 700 WHERE missed > 0"); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, "UPDATE review_findings SET last_seen = last_seen - 700"); err != nil {
			return err
		}
		return db.QueryRowContext(ctx, "UPDATE review_domains SET due = 1, looked = looked - 700 WHERE domain = ? RETURNING looked", rolloutDomain).Scan(&looked)
	})
	p.signal(syscall.SIGHUP)
	eventually(w.t, "the domain is looked at", func() (err error) {
		w.database(func(ctx context.Context, db *database.DB) error {
			var now int64
			if fault := db.QueryRowContext(ctx, "SELECT looked FROM review_domains WHERE domain = ?", rolloutDomain).Scan(&now); fault != nil {
				return fault
			}
			if now <= looked {
				err = errors.New("not yet")
			}
			return nil
		})
		return err
	})
}

// report brings a report of success on a day by mail.
func (w *rolloutSite) report(name string, day time.Time, body []byte) {
	w.t.Helper()
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(body), "\r", "")), "\n")
	text := reportOf(day, lines, rolloutDomain, name, 5, 0)
	mail := signReport(w.tt(), fmt.Sprintf(reportMail, text), w.key, "sender.test", "rsa")
	if err := smtp.SendMail(mailerAddr, nil, "tlsrpt@sender.test", []string{"tlsrpt+" + name + "@reports.test"}, []byte(mail)); err != nil {
		w.t.Fatalf("handing %s to Postfix: %v", name, err)
	}
	w.mailer.says(name, sent)
}

func (w *rolloutSite) tt() *testing.T { return w.mailer.t }

// dig is what DNS says of the id, to everybody.
func (w *rolloutSite) dig() (string, error) {
	host, port, err := net.SplitHostPort(w.dns)
	if err != nil {
		return "", err
	}
	out, err := exec.Command("dig", "@"+host, "-p", port, "+short", "TXT", mtasts.RecordName(rolloutDomain)).Output()
	return strings.Trim(strings.TrimSpace(string(out)), `"`), err
}

// serves waits until senders get a policy, and DNS announces its id.
func (w *rolloutSite) serves(p *program, body []byte) {
	w.t.Helper()
	eventually(w.t, "the policy is served and announced", func() error {
		got, err := w.policy(p)
		if err != nil {
			return err
		}
		said, err := w.dig()
		if want := (mtasts.Record{ID: mtasts.ID(body)}).String(); err == nil && (got != string(body) || said != want) {
			err = fmt.Errorf("%q is served, and %q announced", got, said)
		}
		return err
	})
}

// policy is what senders get now.
func (w *rolloutSite) policy(p *program) (string, error) {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.https)
		},
		TLSClientConfig: &tls.Config{RootCAs: w.roots}, DisableKeepAlives: true,
	}
	return getPolicy(&http.Client{Transport: tr, Timeout: programPatience}, rolloutDomain)
}

// rolloutLine is what the verb rollout says of the domain, as JSON.
type rolloutLine struct {
	Step  string
	Ready bool
	Next  *struct {
		Mode   mtasts.Mode
		MaxAge int `json:"max_age"`
	}
	Gates []struct {
		Name, Have, Want string
		Passed           bool
	}
	Alarms  []string
	Guarded string
}

// open are the gates that are not passed.
func (l *rolloutLine) open() (names []string) {
	for _, g := range l.Gates {
		if !g.Passed {
			names = append(names, g.Name)
		}
	}
	return names
}

// rollout runs the verb, which must exit with code.
func (w *rolloutSite) rollout(code int, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(w.bin, append([]string{"rollout", "--config", w.path("mtasts-server.toml")}, args...)...)
	var stderr bytes.Buffer
	cmd.Env, cmd.Stderr = programEnv(), &stderr
	out, _ := cmd.Output() // how it ended is looked at
	if cmd.ProcessState.ExitCode() != code {
		w.t.Fatalf("%q: exit code %d, want %d\n%s%s", cmd.Args, cmd.ProcessState.ExitCode(), code, out, stderr.Bytes())
	}
	return string(out)
}

func (w *rolloutSite) line() *rolloutLine {
	w.t.Helper()
	var l rolloutLine
	cmd := exec.Command(w.bin, "rollout", "--config", w.path("mtasts-server.toml"), "--json", rolloutDomain)
	cmd.Env = programEnv()
	out, _ := cmd.Output() // it exits with 1 where it alarms
	if err := json.Unmarshal(out, &l); err != nil {
		w.t.Fatalf("%s: %v", out, err)
	}
	return &l
}

// forgetLooks has the review know nothing.
func forgetLooks(ctx context.Context, db *database.DB) error {
	_, err := db.ExecContext(ctx, "DELETE FROM review_domains")
	_, err2 := db.ExecContext(ctx, "DELETE FROM review_findings")
	return errors.Join(err, err2)
}
