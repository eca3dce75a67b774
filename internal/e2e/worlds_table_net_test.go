package e2e_test

import (
	"net/http"

	"mtasts-server/internal/sendercheck/sendertest"
)

// nobodyKnows is what is found where no name server tells anything.
var nobodyKnows = []string{"unknown record-unknown", "unknown policy-host-unknown", "unknown mx-unknown", "unknown tlsrpt-unknown"}

// delegationWorlds have name servers that are not as they should be.
func delegationWorlds() []*world {
	return []*world{
		{name: "delegation-lame", servers: []string{"lame"}, want: nobodyKnows},
		{name: "delegation-nobody", servers: []string{"nobody"}, slow: true, want: nobodyKnows},
		{name: "delegation-mute", servers: []string{"mute"}, slow: true, want: nobodyKnows},
		{name: "delegation-half-lame", servers: []string{"worlds", "lame"}},
		{name: "delegation-slow", servers: []string{"slow"}},
		{name: "dnssec-bogus", bogus: true, want: nobodyKnows},
	}
}

// resolverWorld is a healthy domain, seen through a resolver that may not be.
type resolverWorld struct {
	world
	resolver string
	args     []string
}

func resolverWorlds() []resolverWorld {
	through := func(name, resolver string, want ...string) resolverWorld {
		return resolverWorld{world: world{name: name, want: want}, resolver: resolver}
	}
	second := through("resolver-second", nsNobody+":53")
	second.args = []string{"--resolver", resolverAddr}
	return []resolverWorld{
		through("resolver-dead", nsNobody+":53", nobodyKnows...),
		through("resolver-mute", nsMute+":53", nobodyKnows...),
		through("resolver-refusing", nsLame+":53", nobodyKnows...),
		through("resolver-tardy", tardyOne, nobodyKnows...),
		through("resolver-slow", slowResolver),
		second,
	}
}

// daneWorlds have DNSSEC, and MX hosts with TLSA records.
func daneWorlds() []*world {
	mx := func(name, host string, want, notes []string) *world {
		return &world{name: name, signed: true, dns: []string{"@ MX 10 " + host + "."}, body: policyFor("enforce", host), want: want, notes: notes}
	}
	return []*world{
		{name: "dnssec", signed: true},
		mx("dane", "good.secure.test", nil, []string{"dane"}),
		mx("dane-other-key", "other.secure.test", []string{"dane-mismatch"}, []string{"dane"}),
		// Senders with DANE deliver to it, those with MTA-STS do not.
		mx("dane-self-signed", "alone.secure.test", []string{"mx-cert-untrusted"}, []string{"dane"}),
		mx("dane-nobody-knows", "nobodyknows.secure.test", []string{"warning dane-unknown"}, nil),
		mx("dane-unsigned", "tlsa.mx.test", nil, []string{"dane-unsigned"}),
	}
}

// addressWorlds have hosts with several addresses, of both kinds.
func addressWorlds() []*world {
	host := func(name string, addrs []string, want, notes []string) *world {
		w := &world{name: name, want: want, notes: notes}
		for _, addr := range addrs {
			w.dns = append(w.dns, "mta-sts "+addr)
		}
		return w
	}
	v4, v6 := "A "+firstHost, "AAAA "+firstHostV6
	at := func(addr string, then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if asked(r) == addr {
				then(w, r)
				return
			}
			sendertest.Text(policyText("enforce"))(w, r)
		}
	}
	dropped := host("host-filtered", []string{"A " + filtered}, []string{"policy-timeout"}, nil)
	half := host("host-half-filtered", []string{v4, "A " + filtered}, []string{"policy-timeout"}, nil)
	dropped.slow, half.slow, half.chance = true, true, true
	other := host("host-v6-other-body", []string{v4, v6}, []string{"warning policy-differs"}, nil)
	other.serve = at(firstHostV6, sendertest.Text(policyText("testing")))
	missing := host("host-v6-404", []string{v4, v6}, []string{"policy-status"}, nil)
	missing.serve, missing.chance = at(firstHostV6, http.NotFound), true
	expired := host("host-v6-cert-expired", []string{v4, v6}, []string{"policy-cert-expired"}, nil)
	expired.certV6, expired.chance = "expired", true
	return []*world{
		host("host-refuses", []string{"A " + nobody}, []string{"policy-connect-failed"}, nil),
		host("host-one-down", []string{v4, "A " + nobody}, []string{"warning policy-connect-failed"}, nil),
		host("host-dual", []string{v4, v6}, nil, nil),
		host("host-v6-only", []string{v6}, nil, nil),
		host("host-v6-down", []string{v4, "AAAA " + nobodyV6}, []string{"warning policy-connect-failed"}, nil),
		host("host-v6-only-down", []string{"AAAA " + nobodyV6}, []string{"policy-connect-failed"}, nil),
		host("host-v6-away", []string{v4, "AAAA " + away}, nil, []string{"policy-no-route"}),
		host("host-v6-only-away", []string{"AAAA " + away}, []string{"unknown policy-no-route"}, nil),
		dropped, half, other, missing, expired,
		{name: "mx-six", mx: []string{"six"}},
		{name: "mx-dual", mx: []string{"dual"}},
		{name: "mx-v6", mx: []string{"v6"}, want: []string{"unknown mx-not-probed"}},
		{name: "mx-away", mx: []string{"away"}, notes: []string{"mx-no-route"}},
		{name: "mx-v6old", mx: []string{"v6old"}, want: []string{"mx-cert-expired"}},
		{name: "mx-half", mx: []string{"half"}, want: []string{"unknown mx-not-probed"}},
		{name: "mx-closed", mx: []string{"closed"}, want: []string{"unknown mx-not-probed"}},
		{name: "mx-filtered", mx: []string{"filtered"}, slow: true, want: []string{"unknown mx-not-probed"}},
	}
}
