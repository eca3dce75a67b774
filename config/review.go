package config

import (
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Review says how domains are looked at again and again.
type Review struct {
	On       bool
	SkipMX   bool   // do not connect to MX hosts
	Parallel int    // looks at a time
	Rate     int    // looks a second, at most
	Hello    string // our name in EHLO; "" for the machine's
	Roots    string // PEM file of CAs to trust beside the system's
	HTTPS    int    // port of policy hosts
	SMTP     int    // port of MX hosts
}

// Alerts says whom to tell of what the review finds.
type Alerts struct {
	Webhook *Webhook      // nil for none
	Mail    *AlertMail    // nil for none
	Digest  time.Duration // of the day, UTC, at which what can wait is told
	Owners  bool          // mail goes to owners that are mail addresses, too
}

// Webhook takes alerts as JSON.
type Webhook struct {
	URL        string
	Secret     string
	SecretFile string
}

// AlertMail is how mail is sent.
type AlertMail struct {
	Server       string // "host:port"
	TLS          string // "starttls", "implicit", or "none" for this machine only
	From         string
	To           []string
	Username     string
	PasswordFile string
}

// Sends reports whether anybody is told.
func (a *Alerts) Sends() bool { return a.Webhook != nil || a.Mail != nil }

func readReview(base string, t *table) Review {
	r := Review{Parallel: 16, Rate: 20, HTTPS: 443, SMTP: 25}
	if t == nil {
		return r
	}
	r.On = true
	if on, ok := t.bool("enabled"); ok {
		r.On = on
	}
	if mx, ok := t.bool("mx"); ok {
		r.SkipMX = !mx
	}
	for _, f := range []struct {
		name string
		most int64
		to   *int
	}{{"parallel", 1000, &r.Parallel}, {"rate", 10_000, &r.Rate}, {"https_port", 65535, &r.HTTPS}, {"smtp_port", 65535, &r.SMTP}} {
		if n, ok := t.int(f.name, strconv.Itoa(*f.to)); ok {
			if n < 1 || n > f.most {
				t.errorf(f.name, "", "write "+f.name+" = "+strconv.Itoa(*f.to), "%s: %d is out of range, 1 to %d", f.name, n, f.most)
			}
			*f.to = int(n)
		}
	}
	if s, ok := t.string("hello", `"mail.example.net"`); ok {
		r.Hello, _ = readName(t, "hello", s)
	}
	if s, ok := t.string("roots", `"/etc/ssl/our-ca.pem"`); ok {
		r.Roots = absolute(base, s)
	}
	t.unknown()
	return r
}

func readAlerts(base string, t *table) Alerts {
	a := Alerts{Digest: 7 * time.Hour}
	if t == nil {
		return a
	}
	if s, ok := t.string("digest", `"07:00"`); ok {
		at, err := time.Parse("15:04", s)
		if err != nil {
			t.errorf("digest", "", `write digest = "07:00"`, "digest: %q is no time of the day", s)
		}
		a.Digest = time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute
	}
	a.Owners, _ = t.bool("owners")
	if w := t.sub("webhook"); w != nil {
		a.Webhook = readWebhook(base, w)
		t.failed = t.failed || w.failed
	}
	if m := t.sub("mail"); m != nil {
		a.Mail = readAlertMail(base, m)
		t.failed = t.failed || m.failed
	}
	if !t.failed && !a.Sends() {
		t.errorf("", "", `write [alerts.webhook] or [alerts.mail]`, "alerts go nowhere")
	}
	t.unknown()
	return a
}

func readWebhook(base string, t *table) *Webhook {
	w := &Webhook{}
	if text, ok := readHookURL(t, "https://hooks.example.net/mtasts"); ok {
		w.URL = text
	} else if !t.failed {
		t.errorf("", "", `write url = "https://hooks.example.net/mtasts"`, "webhook has no url")
	}
	w.Secret, w.SecretFile = readSecret(base, t)
	if (w.Secret == "") == (w.SecretFile == "") && !t.failed {
		t.errorf("", "", `write secret_file = "/etc/mtasts-server/alerts", which both sides know`, "webhook needs one of secret, secret_file: it is signed")
	}
	t.unknown()
	return w
}

// readHookURL reads url. What is wrong with it is said without it: it may hold a token.
func readHookURL(t *table, example string) (text string, ok bool) {
	text, ok = t.string("url", strconv.Quote(example))
	u, err := url.Parse(text)
	if ok && (err != nil || u.Hostname() == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLocal(u.Hostname()))) {
		t.errorf("url", "", fmt.Sprintf("write url = %q; http is for this machine only", example), "url: it is no https URL")
	}
	return text, ok
}

func isLocal(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func readAlertMail(base string, t *table) *AlertMail {
	m := &AlertMail{TLS: "starttls"}
	m.Server, _ = t.string("server", `"smtp.example.net:587"`)
	host, port, err := net.SplitHostPort(m.Server)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || host == "" || n < 1 || n > 65535 {
		t.errorf("server", "", `write server = "smtp.example.net:587"`, "server: %q is no host and port", m.Server)
	}
	if s, ok := t.string("tls", `"starttls"`); ok {
		t.oneOf("tls", s, []string{"starttls", "implicit", "none"})
		m.TLS = s
	}
	if m.TLS == "none" && !isLocal(host) && !t.failed {
		t.errorf("tls", "RFC 3207", `write tls = "starttls"; "none" is for this machine only`, "tls: alerts would go to %q in the clear", host)
	}
	m.From, _ = t.string("from", `"mtasts@example.net"`)
	m.To, _ = t.strings("to", `"postmaster@example.net"`)
	for _, a := range append(slices.Clone(m.To), m.From) {
		if p, err := mail.ParseAddress(a); err != nil || p.Address != a {
			t.errorf("", "RFC 5321 §4.1.2", `write addresses alone: "postmaster@example.net"`, "mail: %q is no mail address", a)
		}
	}
	if len(m.To) == 0 && !t.failed {
		t.errorf("", "", `write to = ["postmaster@example.net"]`, "mail goes to nobody")
	}
	m.Username, _ = t.string("username", `"mtasts"`)
	if s, ok := t.string("password_file", `"/etc/mtasts-server/smtp"`); ok {
		m.PasswordFile = absolute(base, s)
	}
	if (m.Username == "") != (strings.TrimSpace(m.PasswordFile) == "") {
		t.errorf("", "RFC 4954", `write username and password_file, or neither`, "mail has one of username and password_file")
	}
	t.unknown()
	return m
}
