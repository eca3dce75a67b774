package e2e_test

import (
	"fmt"
	"strings"
)

// allWorlds are the worlds, but for those of domains that the program serves.
func allWorlds() []*world {
	var all []*world
	for _, some := range [][]*world{healthyWorlds(), delegationWorlds(), daneWorlds(), addressWorlds(), recordWorlds(), hostWorlds(), answerWorlds(), policyWorlds(), mxWorlds(), tlsrptWorlds()} {
		all = append(all, some...)
	}
	return all
}

func healthyWorlds() []*world {
	return []*world{
		{name: "healthy"},
		{name: "healthy-testing", body: policyText("testing"), notes: []string{"mode-testing"}},
		{name: "healthy-two-mx", mx: []string{"good", "good2"}},
		{name: "healthy-two-hosts", dns: []string{"mta-sts A " + firstHost, "mta-sts A " + secondHost}},
		{name: "healthy-alias", dns: []string{"mta-sts CNAME sts", "sts A " + firstHost, "_mta-sts CNAME record", `record TXT "v=STSv1; id=1;"`}},
		{name: "healthy-split-record", dns: []string{`_mta-sts TXT "v=STSv1; " "id=20261125" "T0000;"`}},
		{name: "healthy-bare-record", dns: []string{`_mta-sts TXT "v=STSv1;id=1"`}},
		{name: "healthy-long-id", dns: []string{`_mta-sts TXT "v=STSv1; id=` + strings.Repeat("z", 32) + `; x=y;"`}},
		{name: "healthy-newlines", body: strings.TrimSuffix(strings.ReplaceAll(policyText("enforce"), "\r", ""), "\n")},
		{name: "healthy-blanks", body: "mx:good.mx.test  \r\nmax_age: \t 1209600\r\nmode:   enforce\r\nversion: STSv1\r\n"},
		{name: "healthy-64k", body: policyText("enforce") + "x: " + strings.Repeat("y", 64<<10-len(policyText("enforce")+"x: "))},
		{name: "xn--healthy-bcher-4ob"}, // healthy-bücher
		{name: "healthy-host-wildcard", cert: "parent"},
		{name: "healthy-wildcard-mx", body: policyText("enforce", "*")},
		// Unusual, and no more than worth a note.
		{name: "mode-none", body: policyText("none"), notes: []string{"mode-none"}},
		{name: "withdrawn", body: policyText("none"), dns: []string{"- _mta-sts"}, notes: []string{"mode-none", "record-missing"}},
		{name: "mx-null", dns: []string{"@ MX 0 ."}, notes: []string{"mx-null"}},
		{name: "mx-implicit", dns: []string{"@ A " + mxPrefix + "201"}, body: policyFor("enforce", implicitMX), notes: []string{"mx-implicit"}},
	}
}

// recordWorlds have trouble with the _mta-sts record.
func recordWorlds() []*world {
	large := []string{`_mta-sts TXT "v=STSv1; id=1;"`} // more than a datagram takes
	for i := range 24 {
		large = append(large, fmt.Sprintf("_mta-sts TXT %q", fmt.Sprintf("%0100d", i)))
	}
	record := func(name, txt string, want ...string) *world {
		return &world{name: name, dns: []string{"_mta-sts TXT " + txt}, want: want}
	}
	return []*world{
		{name: "absent.healthy", noZone: true, want: []string{"domain-missing", "warning not-published"}},
		{name: "nothing", dns: []string{"- _mta-sts", "- mta-sts", "- _smtp._tls"}, want: []string{"warning not-published"}},
		{name: "record-nxdomain", dns: []string{"- _mta-sts"}, want: []string{"record-missing"}},
		{name: "record-nodata", dns: []string{"- _mta-sts", `x._mta-sts TXT ""`}, want: []string{"record-missing"}},
		{name: "record-servfail", dns: []string{"_mta-sts NS lame.ns.test."}, want: []string{"unknown record-unknown"}},
		{name: "record-loop", dns: []string{"_mta-sts CNAME x", "x CNAME _mta-sts"}, want: []string{"record-alias-loop"}},
		{name: "record-self", dns: []string{"_mta-sts CNAME _mta-sts"}, want: []string{"record-alias-loop"}},
		{name: "record-dangling", dns: []string{"_mta-sts CNAME nothing"}, want: []string{"record-dangling"}},
		{name: "record-dangling-far", dns: []string{"_mta-sts CNAME nothing.mx.test."}, want: []string{"record-dangling"}},
		{name: "record-two", dns: []string{`_mta-sts TXT "v=STSv1; id=1;"`, `_mta-sts TXT "v=STSv1; id=2;"`}, want: []string{"record-multiple"}},
		{name: "record-neighbour", dns: []string{`_mta-sts TXT "v=STSv1; id=1;"`, `_mta-sts TXT "v=spf1 -all"`}, want: []string{"warning record-neighbours"}},
		{name: "record-large", dns: large, want: []string{"warning record-neighbours"}},
		{name: "record-other", dns: []string{`_mta-sts TXT "v=spf1 -all"`}, want: []string{"record-missing"}},
		record("record-blank-first", `" v=STSv1; id=1;"`, "record-misspelt"),
		record("record-blank-semicolon", `"v=STSv1 ; id=1;"`, "record-misspelt"),
		record("record-lower-case", `"v=stsv1; id=1;"`, "record-misspelt"),
		record("record-quoted", `"\"v=STSv1; id=1;\""`, "record-misspelt"),
		record("record-no-id", `"v=STSv1;"`, "record-invalid"),
		record("record-bad-id", `"v=STSv1; id=2026-11-25;"`, "record-invalid"),
		record("record-empty-id", `"v=STSv1; id=;"`, "record-invalid"),
		record("record-long-id", `"v=STSv1; id=`+strings.Repeat("1", 33)+`;"`, "record-invalid"),
		record("record-two-ids", `"v=STSv1; id=1; id=2;"`, "warning record-two-ids"),
	}
}

// hostWorlds have trouble on the way to the policy.
func hostWorlds() []*world {
	host := func(name string, lines []string, want ...string) *world {
		return &world{name: name, dns: lines, want: want}
	}
	cert := func(name, kind, want string) *world {
		return &world{name: name, cert: kind, want: []string{want}}
	}
	return []*world{
		host("host-nxdomain", []string{"- mta-sts"}, "policy-host-missing"),
		host("host-no-address", []string{`mta-sts TXT "here"`}, "policy-host-missing"),
		host("host-dangling", []string{"mta-sts CNAME nothing.mx.test."}, "policy-host-missing"),
		host("host-loop", []string{"mta-sts CNAME x", "x CNAME mta-sts"}, "policy-host-alias-loop"),
		{name: "host-servfail", dns: []string{"mta-sts NS lame.ns.test."}, want: []string{"unknown policy-host-unknown"}},
		cert("cert-expired", "expired", "policy-cert-expired"),
		cert("cert-early", "early", "policy-cert-expired"),
		cert("cert-soon", "soon", "warning policy-cert-expires-soon"),
		cert("cert-name", "name", "policy-cert-name"),
		cert("cert-common-name", "common name", "policy-cert-name"),
		cert("cert-wildcard", "wildcard", "policy-cert-name"),
		cert("cert-untrusted", "untrusted", "policy-cert-untrusted"),
		cert("cert-self-signed", "self-signed", "policy-cert-untrusted"),
		cert("cert-no-chain", "no chain", "policy-cert-untrusted"),
		cert("host-old-tls", "old TLS", "policy-tls-old"),
		cert("host-no-cert", "none", "policy-tls-failed"),
	}
}

// tlsrptWorlds have trouble with the _smtp._tls record.
func tlsrptWorlds() []*world {
	reports := func(name string, want string, lines ...string) *world {
		return &world{name: name, dns: lines, want: []string{want}}
	}
	return []*world{
		reports("tlsrpt-missing", "warning tlsrpt-missing", "- _smtp._tls"),
		reports("tlsrpt-two", "warning tlsrpt-multiple", worldReports, `_smtp._tls TXT "v=TLSRPTv1; rua=mailto:a@reports.test"`),
		reports("tlsrpt-no-rua", "warning tlsrpt-invalid", `_smtp._tls TXT "v=TLSRPTv1;"`),
		reports("tlsrpt-no-scheme", "warning tlsrpt-invalid", `_smtp._tls TXT "v=TLSRPTv1; rua=tlsrpt@reports.test"`),
		{name: "tlsrpt-servfail", dns: []string{"_smtp._tls NS lame.ns.test."}, want: []string{"unknown tlsrpt-unknown"}},
	}
}
