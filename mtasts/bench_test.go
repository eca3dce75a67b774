package mtasts_test

import (
	"testing"

	"mtasts-server/mtasts"
)

var benchPolicy = mtasts.Policy{
	Mode: mtasts.ModeEnforce, MaxAge: 2419200,
	MX: []mtasts.MXPattern{"mx1.example.com", "mx2.example.com", "*.mail.example.com"},
}

// BenchmarkBody and BenchmarkID are done once for each policy that is loaded.
func BenchmarkBody(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		benchPolicy.Body()
	}
}

func BenchmarkID(b *testing.B) {
	body := benchPolicy.Body()
	b.ReportAllocs()
	for b.Loop() {
		mtasts.ID(body)
	}
}

func BenchmarkValidate(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if ps := benchPolicy.Validate("example.com"); len(ps) != 0 {
			b.Fatal(ps)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	body := benchPolicy.Body()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mtasts.Parse(body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseDomain is a name as most are, and one that IDNA has to work for.
func BenchmarkParseDomain(b *testing.B) {
	for _, c := range []struct{ name, domain string }{{"form=plain", "example.com"}, {"form=u-label", "bücher.example"}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := mtasts.ParseDomain(c.domain); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMatchMX(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if !benchPolicy.MatchMX("mx7.mail.example.com") {
			b.Fatal("no match")
		}
	}
}
