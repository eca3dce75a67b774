package sendercheck_test

import (
	"fmt"
	"strings"
	"time"

	"mtasts-server/internal/sendercheck"
	"mtasts-server/internal/sendercheck/sendertest"
	"mtasts-server/mtasts"
)

func brokenMX() []broken {
	zone := func(lines ...string) func(*scene) { return func(s *scene) { s.zone = lines } }
	mx := func(lines ...string) func(*scene) {
		return func(s *scene) { s.absent, s.zone = append(s.absent, "mx"), append(s.zone, lines...) }
	}
	mail := func(f func(*sendertest.MXHost)) func(*scene) { return func(s *scene) { f(s.mail) } }
	leaf := func(f func(*sendertest.Leaf)) func(*scene) { return func(s *scene) { f(&s.mxLeaf) } }
	hangs := func(at string) func(*scene) {
		return func(s *scene) { s.mail.HangAt, s.options.SMTPTimeout = at, 100*time.Millisecond }
	}
	tlsa := func(record string, proved bool) func(*scene) {
		return func(s *scene) {
			s.zone = []string{"_25._tcp.mx1.example.com. TLSA " + record}
			if proved {
				s.zone = append(s.zone, "AD com.")
			}
		}
	}
	const dead = "3 1 1 0000000000000000000000000000000000000000000000000000000000000000"
	return []broken{
		{"SERVFAIL", zone("SERVFAIL example.com. MX"), "unknown mx-unknown", sendercheck.Undecided},
		{"null MX", mx("example.com. MX 0 ."), "note mx-null", sendercheck.Protected},
		{"neither MX nor address", mx(), "error mx-missing", sendercheck.Broken},
		{"no MX but an address", func(s *scene) {
			s.policy = strings.ReplaceAll(good, "mx1.", "")
			s.absent, s.zone = []string{"mx"}, []string{"example.com. A " + s.mx.String()}
			s.mxLeaf.Names = []string{"example.com"}
		}, "note mx-implicit", sendercheck.Protected},
		{"thirty", func(s *scene) {
			s.policy = strings.ReplaceAll(good, "mx1.", "*.mx.")
			s.mxLeaf.Names = []string{"*.mx.example.com"}
			s.absent = []string{"mx"}
			for i := range 30 {
				s.zone = append(s.zone, fmt.Sprintf("example.com. MX 10 h%d.mx.example.com.", i), fmt.Sprintf("h%d.mx.example.com. A %s", i, s.mx))
			}
		}, "unknown mx-too-many", sendercheck.Undecided},
		{"an address as a name", mx("example.com. MX 10 192.0.2.1."), "error mx-name-invalid, note mx-pattern-unused", sendercheck.Broken},
		{"null MX and another", mx("example.com. MX 0 .", "example.com. MX 10 mx1.example.com."), "error mx-name-invalid", sendercheck.Broken},
		{"an alias", func(s *scene) {
			s.absent, s.zone = []string{"mx1"}, []string{"mx1.example.com. CNAME mail.example.net.", "mail.example.net. A " + s.mx.String()}
		}, "warning mx-alias", sendercheck.Protected},
		{"an alias in a circle", func(s *scene) {
			s.absent, s.zone = []string{"mx1"}, []string{"mx1.example.com. CNAME mx1.example.com."}
		}, "error mx-host-missing", sendercheck.Broken},
		{"one that the policy does not name", func(s *scene) {
			s.zone = []string{"example.com. MX 20 mx2.example.com.", "mx2.example.com. A " + s.mx.String()}
			s.mxLeaf.Names = []string{"*.example.com"}
		}, "error mx-not-in-policy", sendercheck.Broken},
		{"a wildcard does not match two labels", func(s *scene) {
			s.policy = strings.ReplaceAll(good, "mx1.", "*.mail.")
			s.absent, s.zone = []string{"mx"}, []string{"example.com. MX 20 a.b.mail.example.com.", "a.b.mail.example.com. A " + s.mx.String()}
			s.mxLeaf.Names = []string{"a.b.mail.example.com"}
		}, "error mx-not-in-policy, note mx-pattern-unused", sendercheck.Broken},
		{"SERVFAIL for its address", zone("SERVFAIL mx1.example.com. A"), "unknown mx-host-unknown", sendercheck.Undecided},
		{"no such host", func(s *scene) { s.absent = []string{"mx1", "tlsa"} }, "error mx-host-missing", sendercheck.Broken},
		{"no address", func(s *scene) { s.absent = []string{"mx1"} }, "error mx-host-missing", sendercheck.Broken},
		{"not to be connected to", func(s *scene) { s.options.SkipMX = true }, "note mx-skipped", sendercheck.Unprobed},
		{"no way there", func(s *scene) { s.absent, s.zone = []string{"mx1"}, []string{"mx1.example.com. A 255.255.255.255"} }, "unknown mx-no-route", sendercheck.Undecided},
		{"no way to one of two", zone("mx1.example.com. A 255.255.255.255"), "note mx-no-route", sendercheck.Protected},
		{"nobody listens", func(s *scene) { s.noMail = true }, "unknown mx-not-probed", sendercheck.Undecided},
		{"not for us", mail(func(h *sendertest.MXHost) { h.Greeting = "554 5.7.1 no dynamic addresses" }), "unknown mx-refused", sendercheck.Undecided},
		{"busy", mail(func(h *sendertest.MXHost) { h.EHLO = "421 too many connections" }), "unknown mx-refused", sendercheck.Undecided},
		{"no greeting", hangs("greeting"), "unknown mx-smtp-failed", sendercheck.Undecided},
		{"silence after EHLO", hangs("EHLO"), "unknown mx-smtp-failed", sendercheck.Undecided},
		{"closes", mail(func(h *sendertest.MXHost) { h.CloseAt = "greeting" }), "unknown mx-smtp-failed", sendercheck.Undecided},
		{"HTTP", mail(func(h *sendertest.MXHost) { h.Greeting = "HTTP/1.1 400 Bad Request" }), "unknown mx-smtp-failed", sendercheck.Undecided},
		{"a line without end", mail(func(h *sendertest.MXHost) { h.Greeting = "220 " + strings.Repeat("x", 5000) }), "unknown mx-smtp-failed", sendercheck.Undecided},
		{"lines without end", mail(func(h *sendertest.MXHost) { h.EHLO = strings.Repeat("250-X\r\n", 200) + "250 X" }), "unknown mx-smtp-failed", sendercheck.Undecided},
		{"no STARTTLS", mail(func(h *sendertest.MXHost) { h.EHLO = "250-mx\r\n250 8BITMIME" }), "error mx-no-starttls", sendercheck.Broken},
		{"STARTTLS stripped", mail(func(h *sendertest.MXHost) { h.EHLO = "250-mx\r\n250-XXXXXXXX\r\n250 8BITMIME" }), "error mx-no-starttls", sendercheck.Broken},
		{"no EHLO", mail(func(h *sendertest.MXHost) { h.EHLO = "502 what?" }), "error mx-no-starttls", sendercheck.Broken},
		{"STARTTLS refused", mail(func(h *sendertest.MXHost) { h.STARTTLS = "454 TLS not available" }), "error mx-starttls-refused", sendercheck.Broken},
		{"more in clear", mail(func(h *sendertest.MXHost) { h.After = "250 injected" }), "error mx-starttls-refused", sendercheck.Broken},
		{"silence after STARTTLS", hangs("STARTTLS"), "error mx-starttls-refused", sendercheck.Broken},
		{"no TLS after STARTTLS", func(s *scene) {
			s.mail.TLS = s.issue(s.mxLeaf)
			s.mail.TLS.Certificates = nil
			s.mail.TLS.GetCertificate = noCertificate
		}, "error mx-tls-failed", sendercheck.Broken},
		{"TLS 1.0", func(s *scene) {
			s.mail.TLS = s.issue(s.mxLeaf)
			s.mail.TLS.MinVersion, s.mail.TLS.MaxVersion = 0x0301, 0x0301
		}, "error mx-tls-old", sendercheck.Broken},
		{"another name", leaf(func(l *sendertest.Leaf) { l.Names = []string{"mail.example.net"} }), "error mx-cert-name", sendercheck.Broken},
		{"the policy's pattern is not enough", func(s *scene) {
			s.policy = strings.ReplaceAll(good, "mx1.", "*.mx.")
			s.absent, s.zone = []string{"mx"}, []string{"example.com. MX 1 a.mx.example.com.", "a.mx.example.com. A " + s.mx.String()}
			s.mxLeaf.Names = []string{"b.mx.example.com"}
		}, "error mx-cert-name", sendercheck.Broken},
		{"common name only", leaf(func(l *sendertest.Leaf) { l.Names, l.CommonName = nil, "mx1.example.com" }), "error mx-cert-name", sendercheck.Broken},
		{"expired", leaf(func(l *sendertest.Leaf) { l.NotBefore, l.NotAfter = time.Now().Add(-48*hour), time.Now().Add(-hour) }), "error mx-cert-expired", sendercheck.Broken},
		{"signed by itself", leaf(func(l *sendertest.Leaf) { l.SelfSigned = true }), "error mx-cert-untrusted", sendercheck.Broken},
		{"expires soon", leaf(func(l *sendertest.Leaf) {
			l.NotBefore, l.NotAfter = time.Now().Add(-80*24*hour), time.Now().Add(10*24*hour)
		}), "warning mx-cert-expires-soon", sendercheck.Protected},
		{"where no policy asks for it, it is a warning", func(s *scene) {
			s.absent = []string{"txt", "host", "tlsrpt"}
			s.mail.EHLO = "250 mx"
		}, "warning not-published, warning mx-no-starttls", sendercheck.Unpublished},
		{"DANE, and it fits", func(s *scene) {
			cfg := s.issue(s.mxLeaf)
			s.mail.TLS = cfg
			tlsa(sendertest.TLSA(cfg.Certificates[0]), true)(s)
		}, "note dane", sendercheck.Protected},
		{"DANE, and it does not", tlsa(dead, true), "note dane, error dane-mismatch", sendercheck.Broken},
		{"TLSA without DNSSEC", tlsa(dead, false), "note dane-unsigned", sendercheck.Protected},
		{"SERVFAIL for TLSA", zone("SERVFAIL _25._tcp.mx1.example.com. TLSA"), "warning dane-unknown", sendercheck.Protected},
	}
}

func brokenIntents() []broken {
	old := strings.ReplaceAll(good, "mx1", "old")
	return []broken{
		{"the id is old", func(s *scene) { s.want = &sendercheck.Want{Body: []byte(good), ID: "2"} }, "error id-differs", sendercheck.Broken},
		{"the id is new, the policy old", func(s *scene) {
			s.want = &sendercheck.Want{Body: []byte(old), ID: "1"}
		}, "error id-early, error served-differs", sendercheck.Broken},
		{"both are old", func(s *scene) {
			s.absent = []string{"txt"}
			s.zone = []string{fmt.Sprintf("_mta-sts.example.com. TXT %q", mtasts.Record{ID: mtasts.ID([]byte(good))})}
			s.want = &sendercheck.Want{Body: []byte(old), ID: "2"}
		}, "error id-differs, error served-differs", sendercheck.Broken},
		{"one address is old", func(s *scene) {
			other := s.Address()
			s.zone = []string{"mta-sts.example.com. A " + other.String()}
			s.at(other, sendertest.Text(old))
			s.want = &sendercheck.Want{Body: []byte(good), ID: "1"}
		}, "error id-early, error served-differs, warning policy-differs", sendercheck.Broken},
		{"the host is down, and the policy that is meant does not fit", func(s *scene) {
			s.noHost = true
			s.want = &sendercheck.Want{Body: []byte(old), ID: "1"}
		}, "error policy-connect-failed, error mx-not-in-policy, note mx-pattern-unused", sendercheck.Broken},
		{"elsewhere", func(s *scene) {
			s.want = &sendercheck.Want{Body: []byte(good), ID: "1", Target: []string{"192.0.2.1", "web.example.net"}}
		}, "error host-elsewhere", sendercheck.Broken},
		{"other reports", func(s *scene) {
			s.want = &sendercheck.Want{Body: []byte(good), ID: "1", RUA: []string{"mailto:other@example.com"}}
		}, "error rua-differs", sendercheck.Broken},
		{"no reports", func(s *scene) {
			s.absent = []string{"tlsrpt"}
			s.want = &sendercheck.Want{Body: []byte(good), ID: "1", RUA: []string{"mailto:other@example.com"}}
		}, "error rua-differs", sendercheck.Broken},
	}
}
