package app

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/review"
	"mtasts-server/internal/sendercheck"
	"mtasts-server/mtasts"
)

// resident is a domain of the simulated year: its table, its part of the world outside, and
// what was seen of it.
type resident struct {
	kind  *kind
	n     int // of its kind
	name  string
	start int // the day of the year that its table appears on
	age   int // days since then

	// Its table.
	mode, maxAge string
	mx           []string
	auto         bool
	windows      int    // its own gate; 0: as advised
	extra        string // further lines
	absent       bool   // no file names it
	written      string

	// The world.
	hosts      []string // MX hosts in DNS
	hostsSince time.Time
	trouble    string // the result type of what fails of its sessions today
	silent     bool   // no reporter sends anything
	every      int    // it has mail on each such day
	forged     []forgery
	planned    bool   // it has a plan for its MX hosts
	stages     []move // of a change of MX hosts
	resolved   time.Time

	// What was seen of it.
	eras      []era
	raw       []event // reports that are kept
	yesterday world
	enforced  int // days that it took to enforce; -1: never
}

// forgery is what an attacker sends of a resident each day.
type forgery struct {
	from   string // the domain that signed it; "" over HTTPS
	as     string // who it says it is from
	ok     int
	failed int
}

// move is a stage of a change of MX hosts, and its day.
type move struct {
	kind string
	mx   []string
	at   time.Time
}

// world is what senders met on a day.
type world struct {
	body    []byte
	trouble string
	hosts   []string
	forged  []forgery
}

// era is a time in which the same was served; body is nil where nothing was.
type era struct {
	body  []byte
	mode  mtasts.Mode
	age   time.Duration
	mx    []mtasts.MXPattern
	from  time.Time
	until time.Time // zero for the last
}

// event is a report that came, as the oracle knows it.
type event struct {
	day        time.Time
	from       string // "" for nobody known
	ok, failed int
}

func (r *resident) file() string { return "policies/" + r.name + ".toml" }

// text is the table of r.
func (r *resident) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[domains.%q]\nmode = %q\nmax_age = %q\nmx = [%s]\n", r.name, r.mode, r.maxAge, quoted(r.mx))
	b.WriteString("owners = { policy = \"team\", dns = \"team\", mx = \"team\" }\n")
	if r.auto || r.windows > 0 {
		fmt.Fprintf(&b, "rollout = { auto = %t", r.auto)
		if r.windows > 0 {
			fmt.Fprintf(&b, ", windows = %d, active_windows = 7", r.windows)
		}
		b.WriteString(" }\n")
	}
	return b.String() + r.extra
}

func quoted(list []string) string {
	return `"` + strings.Join(list, `", "`) + `"`
}

// now is what is served.
func (r *resident) now() era {
	if len(r.eras) == 0 {
		return era{}
	}
	return r.eras[len(r.eras)-1]
}

// arrived reports whether what is served is all that the table says.
func (r *resident) arrived() bool {
	return r.mode != "testing" && string(r.now().mode) == r.mode && inUnits(r.now().age) == inUnits(r.goal())
}

func (r *resident) goal() time.Duration {
	switch r.maxAge {
	case "7d":
		return 7 * day
	case "30d":
		return 30 * day
	}
	return day
}

// moveHosts changes the MX hosts in DNS.
func (r *resident) moveHosts(at time.Time, hosts ...string) {
	r.hosts, r.hostsSince = hosts, at
}

// refused are the MX hosts that a policy does not allow.
func refusedBy(mx []mtasts.MXPattern, hosts []string) (bad []string) {
	for _, h := range hosts {
		if !slices.ContainsFunc(mx, func(p mtasts.MXPattern) bool { return p.Match(h) }) {
			bad = append(bad, h)
		}
	}
	return bad
}

// reporters send in turn, so that a window of two weeks has both.
var yearReporters = []string{"big.example", "large.example"}

// report returns the reports of a day on r, and notes them for the oracle.
func (r *resident) reports(date, now time.Time) (list []*reports.Arrival) {
	w := r.yesterday
	p, err := mtasts.Parse(w.body)
	if err != nil || p.Mode == mtasts.ModeNone {
		return nil
	}
	put := func(from, as string, ok, failed int, result string) {
		a := &reports.Arrival{Channel: reports.SMTP, Received: now, Submitter: from, MediaType: "application/tlsrpt+json"}
		if from == "" {
			a.Channel, a.Unauthenticated = reports.HTTPS, reports.NoAuthentication
		}
		a.Data = reportOn(r.name, date, as, w.body, ok, failed, result)
		list = append(list, a)
		r.raw = append(r.raw, event{date, from, ok, failed})
	}
	for _, f := range w.forged {
		put(f.from, f.as, f.ok, f.failed, "validation-failure")
	}
	if r.silent || !r.hasMail() {
		return list
	}
	result, failed := w.trouble, 0
	if len(refusedBy(p.MX, w.hosts)) > 0 {
		result = "validation-failure"
	}
	if result != "" {
		failed = 3
	}
	from := yearReporters[(r.age+r.age/3)%2]
	put(from, from, 20, failed, result)
	return list
}

// hasMail: who enforces has little mail here, only to keep the test quick.
func (r *resident) hasMail() bool {
	if r.every == 0 && r.now().mode == mtasts.ModeEnforce {
		return r.age%6 == 0
	}
	if r.every == 0 {
		return r.age%3 != 0
	}
	return r.age%7 == 1 || r.age%7 == 4
}

func reportOn(domain string, date time.Time, from string, body []byte, ok, failed int, result string) []byte {
	var details string
	if failed > 0 {
		details = fmt.Sprintf(`,"failure-details":[{"result-type":%q,"failed-session-count":%d,"receiving-mx-hostname":"mx.%s"}]`, result, failed, domain)
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(body), "\r\n", "\n")), "\n")
	return fmt.Appendf(nil, `{"organization-name":%q,"date-range":{"start-datetime":%q,"end-datetime":%q},"contact-info":"tlsrpt@%s","report-id":"%s_%s_%s",`+
		`"policies":[{"policy":{"policy-type":"sts","policy-string":[%s],"policy-domain":%q},"summary":{"total-successful-session-count":%d,"total-failure-session-count":%d}%s}]}`,
		from, date.Format(time.RFC3339), date.Add(day-time.Second).Format(time.RFC3339), from, date.Format(time.DateOnly), domain, from, quoted(lines), domain, ok, failed, details)
}

// glance is what a look as senders look shows of r.
func (r *resident) glance(at time.Time) review.Look {
	l := review.Look{At: at, Known: true, MX: slices.Sorted(slices.Values(r.hosts)), TLSRPT: true}
	find := func(code, subject string, owner review.Owner) {
		l.Problems = append(l.Problems, review.Problem{Code: code, Subject: subject, Severity: review.Error, Owner: owner, Text: code, Fix: "mend it"})
	}
	switch r.trouble {
	case "certificate-expired":
		find(sendercheck.MXCertExpired, r.hosts[0], review.MXOwner)
	case "certificate-not-trusted":
		find(sendercheck.MXCertUntrusted, r.hosts[0], review.MXOwner)
	}
	if e := r.now(); e.mode == mtasts.ModeEnforce || e.mode == mtasts.ModeTesting {
		for _, host := range refusedBy(e.mx, r.hosts) {
			find(sendercheck.MXNotInPolicy, host, review.PolicyOwner)
		}
	}
	return l
}

// see notes what is served now. It returns the era before, and whether it is another one.
func (r *resident) see(body []byte, at time.Time) (before era, changed bool) {
	before = r.now()
	if bytes.Equal(before.body, body) {
		return before, false
	}
	if n := len(r.eras); n > 0 {
		r.eras[n-1].until = at
	}
	e := era{body: body, from: at}
	if p, err := mtasts.Parse(body); err == nil {
		e.mode, e.age, e.mx = p.Mode, time.Duration(p.MaxAge)*time.Second, p.MX
	}
	r.eras = append(r.eras, e)
	if r.enforced < 0 && e.mode == mtasts.ModeEnforce {
		r.enforced = r.age
	}
	return before, true
}
