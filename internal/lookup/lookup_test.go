package lookup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/internal/lookup/lookuptest"
)

// nameServer is a name server on loopback, by UDP and TCP.
func nameServer(t *testing.T, answer func(q *dns.Msg, tcp bool) *dns.Msg) (addr string) {
	t.Helper()
	for range 10 { // a port that is free for both
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			l.Close()
			continue
		}
		handle := func(tcp bool) dns.HandlerFunc {
			return func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(answer(q, tcp)) }
		}
		for _, s := range []*dns.Server{{Listener: l, Handler: handle(true)}, {PacketConn: p, Handler: handle(false)}} {
			started := make(chan struct{})
			s.NotifyStartedFunc = func() { close(started) }
			ended := make(chan error, 1)
			go func() { ended <- s.ActivateAndServe() }()
			<-started
			t.Cleanup(func() {
				check(t, s.Shutdown())
				check(t, <-ended)
			})
		}
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// records answers every question with these.
func records(t *testing.T, lines ...string) func(q *dns.Msg, tcp bool) *dns.Msg {
	return func(q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		for _, line := range lines {
			rr, err := dns.NewRR(line)
			check(t, err)
			m.Answer = append(m.Answer, rr)
		}
		return m
	}
}

func fails(rcode int) func(q *dns.Msg, tcp bool) *dns.Msg {
	return func(q *dns.Msg, _ bool) *dns.Msg { return new(dns.Msg).SetRcode(q, rcode) }
}

func TestNameServers(t *testing.T) {
	const line = "mta-sts.example.com. 300 IN A 192.0.2.1"
	big := func(n int) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf("mta-sts.example.com. 300 IN A 192.0.2.%d", i)
		}
		return all
	}
	good := nameServer(t, records(t, line))
	refuses, broken := nameServer(t, fails(dns.RcodeRefused)), nameServer(t, fails(dns.RcodeServerFailure))
	denies := nameServer(t, fails(dns.RcodeNameError))
	liar := nameServer(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		m := records(t, line)(q, tcp)
		m.Question[0].Name = "other.example."
		return m
	})
	many := func(n int) string {
		return nameServer(t, func(q *dns.Msg, tcp bool) *dns.Msg {
			m := records(t, big(n)...)(q, tcp)
			if !tcp {
				m.Truncate(udpSize)
			}
			return m
		})
	}
	long, flood := many(100), many(250)
	closed := "127.0.0.1:1"
	for _, c := range []struct {
		why     string
		servers []string
		records int
		exists  bool
		err     string
	}{
		{"an answer", []string{good}, 1, true, ""},
		{"the first answer counts", []string{denies, good}, 0, false, ""},
		{"who refuses leaves it to the next", []string{refuses, good}, 1, true, ""},
		{"so does who fails", []string{broken, good}, 1, true, ""},
		{"so does who is not there", []string{closed, good}, 1, true, ""},
		{"so does who answers another question", []string{liar, good}, 1, true, ""},
		{"what does not fit comes by TCP", []string{long}, 100, true, ""},
		{"what is too much is not believed", []string{flood}, 0, false, "has more to say than 4096 bytes"},
		{"where all fail nobody knows", []string{broken, refuses}, 0, false, "asking DNS for A of mta-sts.example.com.: " + broken + " says SERVFAIL\n" + refuses + " says REFUSED"},
		{"nor where a lie is all there is", []string{liar}, 0, false, "answers another question"},
	} {
		a, err := New(c.servers, time.Now).Lookup(t.Context(), "mta-sts.example.com", dns.TypeA)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || len(a.Records) != c.records || a.Exists != c.exists {
			t.Errorf("%s: %d records, exists is %v, %v", c.why, len(a.Records), a.Exists, err)
		}
	}
}

// A name server that says nothing is waited for for a while only.
func TestNameServerHangs(t *testing.T) {
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	check(t, err)
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := askServer(ctx, p.LocalAddr().String(), new(dns.Msg).SetQuestion("example.com.", dns.TypeA)); err == nil {
		t.Error("it answered")
	}
}

// Which name servers there are is read from the system, again and again.
func TestSystemNameServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	now := time.Now()
	ns := &nameServers{file: file, now: func() time.Time { return now }}
	for _, step := range []struct {
		why   string
		file  string
		after time.Duration
		want  string
	}{
		{"there is no file", "", 0, "error"},
		{"it names none", "options ndots:1\n", 0, "error"},
		{"it names four", "nameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n", 0, "192.0.2.1:53 [2001:db8::1]:53 192.0.2.3:53"},
		{"it changed a moment ago", "nameserver 192.0.2.9\n", time.Second, "192.0.2.1:53 [2001:db8::1]:53 192.0.2.3:53"},
		{"and is read again", "nameserver 192.0.2.9\n", rereadServers, "192.0.2.9:53"},
		{"the clock was set back", "nameserver 192.0.2.8\n", -time.Hour, "192.0.2.8:53"},
	} {
		if step.file != "" {
			check(t, os.WriteFile(file, []byte(step.file), 0o600))
		}
		now = now.Add(step.after)
		list, err := ns.servers()
		got := strings.Join(list, " ")
		if err != nil {
			got = "error"
		}
		if got != step.want {
			t.Errorf("%s: %s, %v; want %s", step.why, got, err, step.want)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What many hosts have in common is asked for once in a while, and what is kept is
// bounded.
func TestAnswersAreKept(t *testing.T) {
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	asked := map[string]int{}
	answers := lookuptest.Map{
		"CAA com.": "", "A short.example.": "short.example. 60 IN A 192.0.2.1", "A long.example.": "long.example. 86400 IN A 192.0.2.1",
		"A gone.example.": "NXDOMAIN", "A broken.example.": "SERVFAIL",
	}
	r := Over(func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		asked[dns.Type(q.Question[0].Qtype).String()+" "+q.Question[0].Name]++
		return answers.Exchange(t)(ctx, q)
	}, func() time.Time { return now })
	for range 10 {
		for key := range answers {
			kind, name, _ := strings.Cut(key, " ")
			_, _ = r.Lookup(t.Context(), name, dns.StringToType[kind])
		}
		now = now.Add(20 * time.Second)
	}
	// Ten rounds in 200 seconds.
	want := map[string]int{"CAA com.": 5, "A short.example.": 4, "A long.example.": 1, "A gone.example.": 5, "A broken.example.": 10}
	for key, n := range want {
		if asked[key] != n {
			t.Errorf("%s: asked for %d times, want %d", key, asked[key], n)
		}
	}
	now = now.Add(-365 * 24 * time.Hour) // the clock was set back
	_, err := r.Lookup(t.Context(), "long.example", dns.TypeA)
	check(t, err)
	if asked["A long.example."] != 2 {
		t.Error("an answer from the future is believed")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Lookup(gone, "nobody.waits.example", dns.TypeA); err == nil {
		t.Error("asked for who is gone")
	}
	for i := range maxKnown + 10 {
		r.keep(dns.Question{Name: fmt.Sprint(i)}, known{})
	}
	if len(r.known) > maxKnown {
		t.Errorf("%d answers are kept", len(r.known))
	}
}

// What a lookup tells beside the records: the way there, whether DNSSEC proves it, and
// how it failed.
func TestLookupTells(t *testing.T) {
	m := lookuptest.Map{
		"TXT _mta-sts.example.com.": "_mta-sts.example.com. 60 IN CNAME one.example.\none.example. 20 IN CNAME two.example.",
		"TXT two.example.":          "AD\ntwo.example. 300 IN TXT \"v=STSv1; id=1;\"",
		"A loop.example.":           "loop.example. 60 IN CNAME loop.example.",
		"A other.example.":          "other.example. 60 IN CNAME loop.example.",
		"TXT broken.example.":       "SERVFAIL",
	}
	r := Over(m.Exchange(t), time.Now)
	a, err := r.Lookup(t.Context(), "_MTA-STS.example.com", dns.TypeTXT)
	if err != nil || a.Name != "two.example." || len(a.Records) != 1 || a.Authentic || a.TTL != 20*time.Second ||
		strings.Join(a.Aliases, " ") != "_mta-sts.example.com. one.example." {
		t.Errorf("by two aliases: %+v, %v", a, err)
	}
	if a, err := r.Lookup(t.Context(), "two.example", dns.TypeTXT); err != nil || !a.Authentic || len(a.Aliases) != 0 {
		t.Errorf("proved: %+v, %v", a, err)
	}
	for _, name := range []string{"loop.example", "other.example"} {
		if _, err := r.Lookup(t.Context(), name, dns.TypeA); !errors.Is(err, ErrAliasLoop) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = r.Lookup(t.Context(), "broken.example", dns.TypeTXT)
	if rcode, ok := errors.AsType[*RcodeError](err); !ok || rcode.Rcode != dns.RcodeServerFailure {
		t.Errorf("SERVFAIL: %v", err)
	}
}
