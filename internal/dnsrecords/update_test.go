package dnsrecords_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"mtasts-server/internal/dnsrecords"
	"mtasts-server/mtasts"
)

// This file has updates sent to a name server that says what a test wants. What real ones
// make of them is in internal/e2e.

const (
	keyName  = "updater."
	policyAt = "_mta-sts.example.com."
)

var keySecret = base64.StdEncoding.EncodeToString([]byte("a secret of thirty-two bytes....."))

// primary is a name server for example.com, which has these records and does no updates.
type primary struct {
	records map[string][]string // "TXT name" and lines
	zones   map[string]string   // that other names lie in, for the zone example.com
	update  int                 // what it says to an update
	answer  func(w dns.ResponseWriter, q, m *dns.Msg) *dns.Msg

	mu      sync.Mutex
	updates []*dns.Msg
}

// start returns its address.
func (p *primary) start(t *testing.T) string {
	t.Helper()
	l, c := sockets(t)
	secrets := map[string]string{keyName: keySecret}
	for _, s := range []*dns.Server{{PacketConn: c, Handler: p, TsigSecret: secrets, MsgAcceptFunc: acceptAll}, {Listener: l, Handler: p, TsigSecret: secrets, MsgAcceptFunc: acceptAll}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		ended := make(chan error, 1)
		go func() { ended <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			_ = s.Shutdown()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	return l.Addr().String()
}

func acceptAll(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }

func (p *primary) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	question := q.Question[0]
	if q.Opcode == dns.OpcodeUpdate {
		p.mu.Lock()
		p.updates = append(p.updates, q)
		p.mu.Unlock()
		m.Rcode = p.update
	} else {
		for _, line := range p.records[dns.TypeToString[question.Qtype]+" "+question.Name] {
			rr, err := dns.NewRR(line)
			if err != nil {
				panic(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		if len(m.Answer) == 0 {
			zone := "example.com."
			if z := p.zones[question.Name]; z != "" {
				zone = z
			}
			m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60}, Ns: "ns.example.com.", Mbox: "h.example.com."}}
		}
	}
	if t := q.IsTsig(); t != nil && w.TsigStatus() == nil {
		m.SetTsig(t.Hdr.Name, t.Algorithm, 300, time.Now().Unix())
	}
	if p.answer != nil {
		m = p.answer(w, q, m)
	}
	if m != nil {
		_ = w.WriteMsg(m)
	}
}

// sent are the updates that came, as lines.
func (p *primary) sent() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	for _, m := range p.updates {
		lines = append(lines, "zone "+m.Question[0].Name)
		for _, rr := range m.Answer {
			lines = append(lines, "if "+dns.Class(rr.Header().Class).String()+" "+short(rr))
		}
		for _, rr := range m.Ns {
			lines = append(lines, map[uint16]string{dns.ClassINET: "add ", dns.ClassNONE: "delete "}[rr.Header().Class]+short(rr))
		}
	}
	return lines
}

func short(rr dns.RR) string {
	h := rr.Header()
	value := strings.TrimPrefix(rr.String(), h.String())
	return strings.TrimSpace(fmt.Sprintf("%s %d %s %s", h.Name, h.Ttl, dns.TypeToString[h.Rrtype], value))
}

func newUpdater(t *testing.T, p *primary, o dnsrecords.UpdaterOptions) *dnsrecords.Updater {
	t.Helper()
	o.Server, o.TTL = p.start(t), time.Hour
	if o.TSIG == nil {
		o.TSIG = &dnsrecords.TSIG{Name: "updater", Algorithm: "hmac-sha512", Secret: keySecret}
	}
	u, err := dnsrecords.NewUpdater(o)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// What an update says, for what is there.
func TestUpdatePlan(t *testing.T) {
	want := dnsrecords.Set{Domain: "example.com", ID: "new1"}
	before := dnsrecords.Set{Domain: "example.com", ID: "old1"}
	txt := func(ttl int, text string) string { return fmt.Sprintf("%s %d IN TXT %q", policyAt, ttl, text) }
	hash := mtasts.ID([]byte("a policy")) // an id as only this program makes them
	const added = `add _mta-sts.example.com. 3600 TXT "v=STSv1; id=new1;"`
	for _, c := range []struct {
		why          string
		there        []string // at _mta-sts
		want, before dnsrecords.Set
		adopt        bool
		sent         []string
		foreign      []string
	}{
		{
			why: "nothing is there", want: want,
			sent: []string{"zone example.com.", "if NONE _mta-sts.example.com. 0 TXT", "if NONE _mta-sts.example.com. 0 CNAME", added},
		},
		{
			why: "ours is replaced, and nobody else's", there: []string{txt(60, "v=STSv1; id=old1;"), txt(60, "spf=1"), txt(60, "v=STSv1 ; id=x")}, want: want, before: before,
			sent: []string{
				"zone example.com.", `if IN _mta-sts.example.com. 0 TXT "v=STSv1; id=old1;"`, `if IN _mta-sts.example.com. 0 TXT "spf=1"`, `if IN _mta-sts.example.com. 0 TXT "v=STSv1 ; id=x"`,
				`delete _mta-sts.example.com. 0 TXT "v=STSv1; id=old1;"`, `add _mta-sts.example.com. 60 TXT "v=STSv1; id=new1;"`, // their TTL
			},
		},
		{
			why: "ours, as somebody wrote it", there: []string{txt(3600, "v=STSv1;id=old1")}, want: want, before: before,
			sent: []string{"zone example.com.", `if IN _mta-sts.example.com. 0 TXT "v=STSv1;id=old1"`, `delete _mta-sts.example.com. 0 TXT "v=STSv1;id=old1"`, added},
		},
		{why: "it is there", there: []string{txt(3600, "v=STSv1; id=new1;")}, want: want, before: before},
		{why: "it is there, as somebody wrote it", there: []string{txt(3600, "v=STSv1;id=new1")}, want: want, before: before},
		{
			why: "both are there", there: []string{txt(3600, "v=STSv1; id=old1;"), txt(3600, "v=STSv1; id=new1;")}, want: want, before: before,
			sent: []string{
				"zone example.com.", `if IN _mta-sts.example.com. 0 TXT "v=STSv1; id=old1;"`, `if IN _mta-sts.example.com. 0 TXT "v=STSv1; id=new1;"`,
				`delete _mta-sts.example.com. 0 TXT "v=STSv1; id=old1;"`,
			},
		},
		{
			why: "somebody else's is there", there: []string{txt(3600, "v=STSv1; id=theirs;"), txt(3600, "v=STSv1; id=old1;")}, want: want, before: before,
			foreign: []string{`_mta-sts.example.com has "v=STSv1; id=theirs;"`},
		},
		{
			why: "it is there, and once more in other words", there: []string{txt(3600, "v=STSv1;id=new1"), txt(3600, "v=STSv1; id=new1;")}, want: want,
			foreign: []string{`_mta-sts.example.com has "v=STSv1;id=new1"`},
		},
		{
			why: "somebody else's is taken over", there: []string{txt(3600, "v=STSv1; id=theirs;"), txt(3600, "x")}, want: want, adopt: true,
			sent: []string{
				"zone example.com.", `if IN _mta-sts.example.com. 0 TXT "v=STSv1; id=theirs;"`, `if IN _mta-sts.example.com. 0 TXT "x"`,
				`delete _mta-sts.example.com. 0 TXT "v=STSv1; id=theirs;"`, added,
			},
		},
		{
			why: "an alias is there", there: []string{policyAt + " 60 IN CNAME x.example."}, want: want, adopt: true,
			foreign: []string{"_mta-sts.example.com is an alias of x.example."},
		},
		{
			why: "ours is replaced, which nobody noted", there: []string{txt(3600, "v=STSv1; id="+hash+";")}, want: want,
			sent: []string{"zone example.com.", `if IN _mta-sts.example.com. 0 TXT "v=STSv1; id=` + hash + `;"`, `delete _mta-sts.example.com. 0 TXT "v=STSv1; id=` + hash + `;"`, added},
		},
		{why: "nothing is to be announced yet, and an id of ours is", there: []string{txt(3600, "v=STSv1; id="+hash+";")}, want: dnsrecords.Set{Domain: "example.com"}},
		{why: "the id stays, and a newer one is there that nobody noted", there: []string{txt(3600, "v=STSv1; id="+hash+";")}, want: before, before: before},
	} {
		p := &primary{records: map[string][]string{"TXT " + policyAt: c.there}}
		u := newUpdater(t, p, dnsrecords.UpdaterOptions{Adopt: c.adopt})
		o, err := u.Apply(t.Context(), c.want, c.before)
		// The server does nothing, which is found out.
		if noticed := err != nil && strings.Contains(err.Error(), "took the update, and has "); noticed != (len(c.sent) > 0 && c.want.ID != "") {
			t.Errorf("%s: %v", c.why, err)
		}
		if diff := cmp.Diff(c.sent, p.sent()); diff != "" {
			t.Errorf("%s:\n%s", c.why, diff)
		}
		if diff := cmp.Diff(c.foreign, o.Foreign); diff != "" {
			t.Errorf("%s:\n%s", c.why, diff)
		}
	}
}

// A withdrawal removes what was announced, and nothing else.
func TestWithdraw(t *testing.T) {
	hash := mtasts.ID([]byte("a policy"))
	before := dnsrecords.Set{Domain: "example.com", ID: "old1", RUA: []string{"mailto:a@example.com"}}
	txt := func(text string) string { return fmt.Sprintf("%s 3600 IN TXT %q", policyAt, text) }
	for _, c := range []struct {
		why    string
		there  []string
		before dnsrecords.Set
		sent   []string
	}{
		{"ours, beside somebody else's", []string{txt("v=STSv1; id=old1;"), txt("v=STSv1; id=theirs;")}, before, []string{
			"zone example.com.", `if IN _mta-sts.example.com. 0 TXT "v=STSv1; id=old1;"`, `if IN _mta-sts.example.com. 0 TXT "v=STSv1; id=theirs;"`,
			`delete _mta-sts.example.com. 0 TXT "v=STSv1; id=old1;"`,
		}},
		{"it went already", nil, before, nil},
		{"whoever it moved to has announced an id", []string{txt("v=STSv1; id=" + hash + ";")}, before, nil},
		{"nothing was announced, and there is an id", []string{txt("v=STSv1; id=" + hash + ";")}, dnsrecords.Set{Domain: "example.com"}, nil},
	} {
		p := &primary{records: map[string][]string{"TXT " + policyAt: c.there}}
		u := newUpdater(t, p, dnsrecords.UpdaterOptions{Adopt: true, Target: []string{"192.0.2.1"}})
		if _, err := u.Withdraw(t.Context(), c.before); err != nil {
			t.Errorf("%s: %v", c.why, err)
		}
		if diff := cmp.Diff(c.sent, p.sent()); diff != "" {
			t.Errorf("%s:\n%s", c.why, diff)
		}
	}
}

// The three names may lie in different zones: each gets its update. The records of the host
// come first, the id last.
func TestUpdateZones(t *testing.T) {
	p := &primary{zones: map[string]string{"_smtp._tls.example.com.": "_tls.example.com.", "mta-sts.example.com.": "mta-sts.example.com."}}
	u := newUpdater(t, p, dnsrecords.UpdaterOptions{Target: []string{"192.0.2.1", "2001:db8::1"}})
	if _, err := u.Apply(t.Context(), dnsrecords.Set{Domain: "example.com", ID: "new1", RUA: []string{"mailto:a@example.com"}}, dnsrecords.Set{}); err == nil {
		t.Error("nothing was done, and nobody noticed")
	}
	want := []string{
		"zone mta-sts.example.com.", "if NONE mta-sts.example.com. 0 CNAME", "if NONE mta-sts.example.com. 0 A", "if NONE mta-sts.example.com. 0 AAAA",
		"add mta-sts.example.com. 3600 A 192.0.2.1", "add mta-sts.example.com. 3600 AAAA 2001:db8::1",
		"zone _tls.example.com.", "if NONE _smtp._tls.example.com. 0 TXT", "if NONE _smtp._tls.example.com. 0 CNAME", `add _smtp._tls.example.com. 3600 TXT "v=TLSRPTv1; rua=mailto:a@example.com"`,
		"zone example.com.", "if NONE _mta-sts.example.com. 0 TXT", "if NONE _mta-sts.example.com. 0 CNAME", `add _mta-sts.example.com. 3600 TXT "v=STSv1; id=new1;"`,
	}
	if diff := cmp.Diff(want, p.sent()); diff != "" {
		t.Error(diff)
	}
}

// With a key nothing is believed that is not signed with it: anybody could say that there
// are no records, or that an update was done.
func TestUpdateBelievesNobody(t *testing.T) {
	unsigned := func(m *dns.Msg) *dns.Msg {
		m.Extra = nil
		return m
	}
	isUpdate := func(q *dns.Msg) bool { return q.Opcode == dns.OpcodeUpdate }
	for _, c := range []struct {
		why    string
		answer func(w dns.ResponseWriter, q, m *dns.Msg) *dns.Msg
		want   string
	}{
		{"questions", func(_ dns.ResponseWriter, _, m *dns.Msg) *dns.Msg { return unsigned(m) }, `answers, and does not sign it with the key "updater": it is not believed`},
		{"the update", func(_ dns.ResponseWriter, q, m *dns.Msg) *dns.Msg {
			if isUpdate(q) {
				return unsigned(m)
			}
			return m
		}, `answers, and does not sign it with the key "updater": it is not believed`},
		{"a refusal", func(_ dns.ResponseWriter, q, m *dns.Msg) *dns.Msg {
			if isUpdate(q) {
				m.Rcode = dns.RcodeRefused
				return unsigned(m)
			}
			return m
		}, "says REFUSED to an update of example.com.: allow the key"},
		{"another question", func(_ dns.ResponseWriter, _, m *dns.Msg) *dns.Msg {
			m.Question[0].Name = "_mta-sts.example.org."
			return m
		}, "answers another question"},
		{"a bad signature", func(w dns.ResponseWriter, _, m *dns.Msg) *dns.Msg {
			text, _, err := dns.TsigGenerate(m, base64.StdEncoding.EncodeToString([]byte("another")), "", false)
			if err != nil {
				panic(err)
			}
			_, _ = w.Write(text)
			return nil
		}, `signs its answer with something else than the key "updater": it is not believed`},
		{"a clock that is wrong", func(_ dns.ResponseWriter, _, m *dns.Msg) *dns.Msg {
			m.IsTsig().TimeSigned -= 3600
			return m
		}, `signs with the key "updater", and its clock and ours differ`},
		{"our clock", func(_ dns.ResponseWriter, _, m *dns.Msg) *dns.Msg {
			m.Rcode = dns.RcodeNotAuth
			tsig := m.IsTsig()
			tsig.Error, tsig.OtherLen, tsig.OtherData = dns.RcodeBadTime, 6, fmt.Sprintf("%012x", 1_800_000_000)
			return m
		}, `refuses the key "updater" (BADTIME): its clock and ours differ: it says 2027-01-15T08:00:00Z, and we 20`},
		{"a name server of others", func(_ dns.ResponseWriter, _, m *dns.Msg) *dns.Msg {
			m.Authoritative = false
			return m
		}, "does not answer for a zone that _mta-sts.example.com lies in (NOERROR)"},
		{"one that is ill", func(_ dns.ResponseWriter, _, m *dns.Msg) *dns.Msg {
			m.Rcode = dns.RcodeServerFailure
			return m
		}, "asking 127.0.0.1:*: SERVFAIL"},
	} {
		p := &primary{answer: c.answer}
		u := newUpdater(t, p, dnsrecords.UpdaterOptions{})
		_, err := u.Apply(t.Context(), dnsrecords.Set{Domain: "example.com", ID: "new1"}, dnsrecords.Set{})
		before, after, _ := strings.Cut(c.want, "127.0.0.1:*")
		if err == nil || !strings.Contains(err.Error(), before) || !strings.Contains(err.Error(), strings.TrimPrefix(after, ":")) {
			t.Errorf("%s: %v\nwant %s", c.why, err, c.want)
		}
	}
}

// What is too long for a datagram goes by TCP, and so does what is asked again because the
// answer was cut short.
func TestUpdateByTCP(t *testing.T) {
	var mu sync.Mutex
	by := map[string]bool{}
	p := &primary{answer: func(w dns.ResponseWriter, q, m *dns.Msg) *dns.Msg {
		mu.Lock()
		defer mu.Unlock()
		_, udp := w.RemoteAddr().(*net.UDPAddr)
		by[fmt.Sprintf("%s by UDP %v", dns.OpcodeToString[q.Opcode], udp)] = true
		if udp && q.Question[0].Qtype == dns.TypeTXT {
			m.Truncated = true
		}
		return m
	}}
	u := newUpdater(t, p, dnsrecords.UpdaterOptions{})
	rua := []string{"https://example.com/" + strings.Repeat("x", 300), "https://example.com/" + strings.Repeat("y", 300)}
	_, _ = u.Apply(t.Context(), dnsrecords.Set{Domain: "example.com", RUA: rua}, dnsrecords.Set{})
	if diff := cmp.Diff(map[string]bool{"QUERY by UDP true": true, "QUERY by UDP false": true, "UPDATE by UDP false": true}, by); diff != "" {
		t.Error(diff)
	}
	if sent := p.sent(); len(sent) != 4 || strings.Count(sent[3], `" "`) != 2 {
		t.Errorf("%q", sent)
	}
}

// Nobody hears how an update ended, and the policy is edited before the next one: what
// stands there then is ours.
func TestUpdateInDoubt(t *testing.T) {
	set := func(id string) dnsrecords.Set { return dnsrecords.Set{Domain: "example.com", ID: id} }
	for there, foreign := range map[string]int{"new1": 0, "new2": 0, "old1": 0, "theirs": 1} {
		var silent atomic.Bool
		silent.Store(true)
		p := &primary{records: map[string][]string{"TXT " + policyAt: {fmt.Sprintf("%s 60 IN TXT %q", policyAt, "v=STSv1; id="+there+";")}}}
		p.answer = func(_ dns.ResponseWriter, q, m *dns.Msg) *dns.Msg {
			m.Answer = slices.DeleteFunc(m.Answer, func(dns.RR) bool { return silent.Load() })
			if q.Opcode == dns.OpcodeUpdate && silent.Load() {
				return nil
			}
			return m
		}
		u := newUpdater(t, p, dnsrecords.UpdaterOptions{Timeout: 200 * time.Millisecond})
		for _, id := range []string{"new1", "new2"} {
			if _, err := u.Apply(t.Context(), set(id), set("old1")); err == nil {
				t.Fatal("an update without an answer succeeded")
			}
		}
		silent.Store(false)
		if o, _ := u.Apply(t.Context(), set("new3"), set("old1")); len(o.Foreign) != foreign {
			t.Errorf("%s is there: %+v", there, o)
		}
	}
}

func TestUpdaterOptions(t *testing.T) {
	good := dnsrecords.UpdaterOptions{Server: "192.0.2.1:53", TTL: time.Hour}
	for want, change := range map[string]func(*dnsrecords.UpdaterOptions){
		`the name server "ns.example" is no address with a port`: func(o *dnsrecords.UpdaterOptions) { o.Server = "ns.example" },
		"a TTL of 0s is none: it is whole seconds":               func(o *dnsrecords.UpdaterOptions) { o.TTL = 0 },
		"the TSIG key has no name":                               func(o *dnsrecords.UpdaterOptions) { o.TSIG = &dnsrecords.TSIG{} },
		`the TSIG algorithm "md5" is not known: use hmac-sha256`: func(o *dnsrecords.UpdaterOptions) { o.TSIG = &dnsrecords.TSIG{Name: "k", Algorithm: "md5"} },
		"the TSIG key's secret is no base64": func(o *dnsrecords.UpdaterOptions) {
			o.TSIG = &dnsrecords.TSIG{Name: "k", Algorithm: "hmac-sha256", Secret: "*"}
		},
	} {
		o := good
		change(&o)
		if _, err := dnsrecords.NewUpdater(o); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
