// Package lookuptest stands in for name servers in tests.
package lookuptest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// Map is all that there is in DNS, and what is asked for: "A mta-sts.example.com."
// and its records, a line each. A line "NXDOMAIN" says that the name does not exist, "AD"
// that DNSSEC proves the answer; "SERVFAIL" or "timeout" instead of records is how the
// question fails. Any other question fails the test.
type Map map[string]string

// Exchange is what lookup.Over asks.
func (m Map) Exchange(t testing.TB) func(context.Context, *dns.Msg) (*dns.Msg, error) {
	return func(_ context.Context, question *dns.Msg) (*dns.Msg, error) {
		q := question.Question[0]
		key := dns.Type(q.Qtype).String() + " " + q.Name
		zone, ok := m[key]
		if !ok {
			t.Errorf("asked for %s", key)
		}
		reply := new(dns.Msg).SetReply(question)
		switch zone {
		case "SERVFAIL":
			return reply.SetRcode(question, dns.RcodeServerFailure), nil
		case "timeout":
			return nil, errors.New(zone)
		}
		for line := range strings.Lines(zone) {
			switch strings.TrimSpace(line) {
			case "NXDOMAIN":
				reply.Rcode = dns.RcodeNameError
				continue
			case "AD":
				reply.AuthenticatedData = true
				continue
			}
			rr, err := dns.NewRR(line)
			if err != nil {
				t.Fatal(err)
			}
			reply.Answer = append(reply.Answer, rr)
		}
		return reply, nil
	}
}
