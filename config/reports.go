package config

import (
	"fmt"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"mtasts-server/mtasts"
)

// Reports says how TLS reports (RFC 8460) come in and are kept.
type Reports struct {
	Host         string   // takes reports over HTTPS, and is the server's name in mail; "" for none
	Addresses    []string // mail addresses that reports are sent to
	SMTP         []string // addresses to listen on for mail
	LMTP         []string // likewise, for a mail server in front: "address:port", or the path of a socket
	Database     string   // URL of a PostgreSQL; "" for the embedded database
	DatabaseFile string   // file that holds Database
	Spool        int64    // bytes that may wait to be stored
	Keep         Keep
}

// Keep says how long reports are kept.
type Keep struct{ Raw, Details, Sums, Asides time.Duration }

// Receives reports whether reports come in at all.
func (r *Reports) Receives() bool { return r.Host != "" || len(r.SMTP)+len(r.LMTP) > 0 }

const (
	day = 24 * time.Hour

	mebibyte     = 1 << 20
	defaultSpool = 256 * mebibyte
	minSpool     = 32 * mebibyte // the largest mail with a report is half as much
	maxSpool     = 1 << 40

	minKeep = day
	maxKeep = 20 * 365 * day
	// Reports come up to a month late: they must be known by then still.
	minDetails = 35 * day
)

func defaultKeep() Keep {
	return Keep{Raw: 30 * day, Details: 100 * day, Sums: 730 * day, Asides: 30 * day}
}

func readReports(base string, t *table) Reports {
	r := Reports{Spool: defaultSpool, Keep: defaultKeep()}
	if t == nil {
		return r
	}
	if s, ok := t.string("host", `"reports.example.net"`); ok {
		r.Host, _ = readName(t, "host", s)
	}
	r.Addresses = readAddresses(t)
	if list, ok := t.strings("smtp", `":25"`); ok {
		for _, a := range list {
			t.checkAddress("smtp", a)
		}
		r.SMTP = list
	}
	list, _ := t.strings("lmtp", `"/run/mtasts-server/lmtp.sock"`)
	for _, a := range list {
		if strings.Contains(a, "/") || !strings.Contains(a, ":") { // the path of a socket
			a = absolute(base, a)
		} else {
			t.checkAddress("lmtp", a)
		}
		r.LMTP = append(r.LMTP, a)
	}
	r.Database, r.DatabaseFile = readDatabase(base, t)
	if n, ok := t.int("spool_mib", "256"); ok {
		if n < minSpool/mebibyte || n > maxSpool/mebibyte {
			t.errorf("spool_mib", "", "write spool_mib = 256", "spool_mib: %d is out of range, %d to %d", n, minSpool/mebibyte, maxSpool/mebibyte)
		}
		r.Spool = n * mebibyte
	}
	if k := t.sub("keep"); k != nil {
		r.Keep = readKeep(k)
		t.failed = t.failed || k.failed
	}
	switch mails := len(r.SMTP)+len(r.LMTP) > 0; {
	case t.failed:
	case mails && len(r.Addresses) == 0:
		t.errorf("", "RFC 8460 §3", `write addresses = ["tlsrpt@reports.example.net"], what rua of the domains says`, "reports come by mail, and there is no address for them")
	case len(r.SMTP) > 0 && r.Host == "":
		t.errorf("", "RFC 5321 §4.1.3", `write host = "reports.example.net", the name that the MX record of the addresses' domain leads to`, "smtp needs host, the name that the server has")
	}
	t.unknown()
	return r
}

func readAddresses(t *table) []string {
	list, _ := t.strings("addresses", `"tlsrpt@reports.example.net"`)
	for i, s := range list {
		a, err := mail.ParseAddress(s)
		local, domain, _ := strings.Cut(s, "@")
		name, derr := mtasts.ParseDomain(domain)
		if err != nil || derr != nil || a.Address != s || strings.ContainsAny(local, `+"`) {
			t.report("addresses", s, Problem{
				Severity: mtasts.Error, Rule: "RFC 5321 §4.1.2", Message: fmt.Sprintf("addresses: %q", s) + " is no mail address that reports can be sent to",
				Fix: `write addresses as "tlsrpt@reports.example.net"; mail for tlsrpt+TOKEN@ is taken as well`,
			})
			continue
		}
		list[i] = local + "@" + name
	}
	return list
}

func readDatabase(base string, t *table) (database, file string) {
	database, hasURL := t.string("database", `"postgres://mtasts@db.example.net/mtasts"`)
	if hasURL && !t.failed {
		if u, err := url.Parse(database); err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			t.errorf("database", "", `write database = "postgres://user@host/name", or leave it out for the embedded one`, "database is no URL of a PostgreSQL")
		}
	}
	if s, ok := t.string("database_file", `"/etc/mtasts-server/database"`); ok {
		if file = absolute(base, s); hasURL {
			t.errorf("database_file", "", "remove one of them", "database and database_file both say where the database is")
		}
	}
	return database, file
}

func readKeep(t *table) Keep {
	k := defaultKeep()
	for _, f := range []struct {
		name    string
		example string
		least   time.Duration
		to      *time.Duration
	}{{"raw", "30d", minKeep, &k.Raw}, {"details", "100d", minDetails, &k.Details}, {"sums", "730d", minKeep, &k.Sums}, {"asides", "30d", minKeep, &k.Asides}} {
		v, ok := t.duration(f.name, f.example)
		if !ok {
			continue
		}
		if v < f.least || v > maxKeep {
			t.errorf(f.name, "", "write "+f.name+` = "`+f.example+`"`, "%s: %s is out of range, %s to 20 years", f.name, v, f.least)
		}
		*f.to = v
	}
	if k.Sums < k.Details && !t.failed {
		t.errorf("sums", "", `write sums = "730d"`, "sums are kept for %s, and details for %s: sums must be kept for longer", k.Sums, k.Details)
	}
	t.unknown()
	return k
}
