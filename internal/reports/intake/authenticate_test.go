package intake_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
)

// today is when the tests are.
var today = time.Now()

// records are the TXT records that DNS has, by name; for the name "dead" it is silent.
type records map[string][]string

func (r records) lookup(_ context.Context, name string) ([]string, error) {
	if strings.Contains(name, "dead") {
		return nil, errors.New("no answer")
	}
	if strings.Contains(name, "nxdomain") {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return r[name], nil
}

func newAuthenticator(t testing.TB, dns records) *intake.Authenticator {
	t.Helper()
	a, err := intake.NewAuthenticator(intake.Options{LookupTXT: dns.lookup, Now: func() time.Time { return today }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// signers are the keys that mails are signed with.
type signers struct {
	rsa     *rsa.PrivateKey
	rsa1024 *rsa.PrivateKey // as Microsoft has it
	small   *rsa.PrivateKey
	ed25519 ed25519.PrivateKey
}

func newSigners(t testing.TB) *signers {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0") // for the key that is too small
	var s signers
	var err error
	if s.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if s.rsa1024, err = rsa.GenerateKey(rand.Reader, 1024); err != nil {
		t.Fatal(err)
	}
	if s.small, err = rsa.GenerateKey(rand.Reader, 512); err != nil {
		t.Fatal(err)
	}
	if _, s.ed25519, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	return &s
}

// record is the key record of a key, with more tags.
func record(t testing.TB, key crypto.Signer, tags string) []string {
	t.Helper()
	if public, ok := key.Public().(ed25519.PublicKey); ok {
		return []string{"v=DKIM1; k=ed25519; " + tags + "p=" + base64.StdEncoding.EncodeToString(public)}
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return []string{"v=DKIM1; k=rsa; " + tags + "p=" + base64.StdEncoding.EncodeToString(der)}
}

// sign puts a signature before a mail.
func sign(t testing.TB, mail string, key crypto.Signer, domain, selector string, change func(*dkim.SignOptions)) string {
	t.Helper()
	o := &dkim.SignOptions{Domain: domain, Selector: selector, Signer: key, HeaderKeys: []string{"From", "Subject", "TLS-Report-Domain"}}
	if change != nil {
		change(o)
	}
	var out bytes.Buffer
	if err := dkim.Sign(&out, strings.NewReader(mail), o); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// reportMail is a mail with a report, as senders write it.
const reportMail = "From: TLS reports <tlsrpt@sender.example>\r\n" +
	"To: tlsrpt@reports.example.net\r\n" +
	"Subject: Report Domain: example.org Submitter: sender.example Report-ID: <1@sender.example>\r\n" +
	"TLS-Report-Domain: example.org\r\n" +
	"TLS-Report-Submitter: sender.example\r\n" +
	"MIME-Version: 1.0\r\n" +
	"Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=\"b\"\r\n\r\n" +
	"--b\r\nContent-Type: text/plain\r\n\r\nA report.\r\n" +
	"--b\r\nContent-Type: application/tlsrpt+json\r\n\r\n{\"report-id\":\"1\"}\r\n--b--\r\n"

func TestAuthenticate(t *testing.T) {
	s := newSigners(t)
	signed := func(key crypto.Signer, domain, selector string) string {
		return sign(t, reportMail, key, domain, selector, nil)
	}
	from := func(field string) string {
		return strings.Replace(reportMail, "From: TLS reports <tlsrpt@sender.example>", field, 1)
	}
	limited := sign(t, reportMail, s.rsa, "sender.example", "rsa", nil)
	limited = strings.Replace(limited, "v=1;", "v=1; l=10;", 1) // looked at before what is signed
	good := signed(s.rsa, "sender.example", "rsa")
	flood := strings.Repeat("DKIM-Signature: v=1; a=rsa-sha256; d=sender.example; s=none; h=From; bh=; b=\r\n", 5)
	alone := "p=" + strings.SplitAfter(record(t, s.rsa, "")[0], "p=")[1]

	dns := records{
		"rsa._domainkey.sender.example":           record(t, s.rsa, ""),
		"ed._domainkey.sender.example":            record(t, s.ed25519, ""),
		"any._domainkey.sender.example":           record(t, s.rsa, "s=*; "),
		"tlsrpt._domainkey.sender.example":        record(t, s.rsa, "s=tlsrpt; "),
		"both._domainkey.sender.example":          record(t, s.rsa, "s= tlsrpt : email; "),
		"email._domainkey.sender.example":         record(t, s.rsa, "s=email; "),
		"twice._domainkey.sender.example":         record(t, s.rsa, "s=tlsrpt; s=email; "),
		"tests._domainkey.sender.example":         record(t, s.rsa, "t=s:y; "),
		"rsa1024._domainkey.sender.example":       record(t, s.rsa1024, ""),
		"small._domainkey.sender.example":         record(t, s.small, ""),
		"revoked._domainkey.sender.example":       {"v=DKIM1; k=rsa; p="},
		"broken._domainkey.sender.example":        {"v=DKIM1; k=rsa; p=!"},
		"other._domainkey.sender.example":         record(t, s.ed25519, ""),
		"crowd._domainkey.sender.example":         append([]string{"v=spf1 -all"}, record(t, s.rsa, "")...),
		"two._domainkey.sender.example":           append(record(t, s.ed25519, ""), record(t, s.rsa, "")...),
		"long._domainkey.sender.example":          {record(t, s.rsa, "")[0] + "; n=" + strings.Repeat("x", 5000)},
		"bare._domainkey.sender.example":          {alone},
		"under_score._domainkey.sender.example":   record(t, s.rsa, ""),
		"rsa._domainkey.mail.sender.example":      record(t, s.rsa, ""),
		"rsa._domainkey.other.example":            record(t, s.rsa, ""),
		"rsa._domainkey.example":                  record(t, s.rsa, ""),
		"rsa._domainkey.co.uk":                    record(t, s.rsa, ""),
		"rsa._domainkey.a.co.uk":                  record(t, s.rsa, ""),
		"rsa._domainkey.mine.blogspot.com":        record(t, s.rsa, ""),
		"rsa._domainkey.xn--bcher-kva.example":    record(t, s.rsa, ""),
		"rsa._domainkey.a--b.example":             record(t, s.rsa, ""),
		"sel._domainkey.evil.example._domainkey.": record(t, s.rsa, ""),
	}
	for i := range 20 { // far too many records
		dns["flood._domainkey.sender.example"] = append(dns["flood._domainkey.sender.example"], strings.Repeat("x", i))
	}
	dns["flood._domainkey.sender.example"] = append(dns["flood._domainkey.sender.example"], record(t, s.rsa, "")...)
	expired := sign(t, reportMail, s.rsa, "sender.example", "rsa", func(o *dkim.SignOptions) { o.Expiration = today.Add(-time.Hour) })
	lasting := sign(t, reportMail, s.rsa, "sender.example", "rsa", func(o *dkim.SignOptions) { o.Expiration = today.Add(time.Hour) })
	fieldLines := strings.Repeat("X: y\r\n", 1001)

	for name, tt := range map[string]struct {
		mail      string
		submitter string
		why       reports.Unauthenticated
	}{
		"good":                     {good, "sender.example", ""},
		"Ed25519":                  {signed(s.ed25519, "sender.example", "ed"), "sender.example", ""},
		"RSA of 1024 bits":         {signed(s.rsa1024, "sender.example", "rsa1024"), "sender.example", ""},
		"upper case":               {signed(s.rsa, "SENDER.example", "rsa"), "sender.example", ""},
		"relaxed, below From":      {signed(s.rsa, "mail.sender.example", "rsa"), "mail.sender.example", ""},
		"relaxed, above From":      {sign(t, from("From: a@b.c.sender.example"), s.rsa, "sender.example", "rsa", nil), "sender.example", ""},
		"U-labels in From":         {sign(t, from("From: a@Bücher.example"), s.rsa, "xn--bcher-kva.example", "rsa", nil), "xn--bcher-kva.example", ""},
		"From alone is signed":     {sign(t, reportMail, s.rsa, "sender.example", "rsa", func(o *dkim.SignOptions) { o.HeaderKeys = []string{"From"} }), "sender.example", ""},
		"hyphens":                  {sign(t, from("From: a@a--b.example"), s.rsa, "a--b.example", "rsa", nil), "a--b.example", ""},
		"not yet expired":          {lasting, "sender.example", ""},
		"s=*":                      {signed(s.rsa, "sender.example", "any"), "sender.example", ""},
		"s=tlsrpt":                 {signed(s.rsa, "sender.example", "tlsrpt"), "sender.example", ""},
		"s=tlsrpt:email":           {signed(s.rsa, "sender.example", "both"), "sender.example", ""},
		"another record beside":    {signed(s.rsa, "sender.example", "crowd"), "sender.example", ""},
		"a key alone":              {signed(s.rsa, "sender.example", "bare"), "sender.example", ""},
		"underscore in selector":   {signed(s.rsa, "sender.example", "under_score"), "sender.example", ""},
		"second of two is good":    {sign(t, good, s.rsa, "other.example", "rsa", nil), "sender.example", ""},
		"two, DNS dead for one":    {sign(t, good, s.rsa, "sender.example", "dead", nil), "sender.example", ""},
		"strangers' DNS is dead":   {signed(s.rsa, "dead.example", "rsa"), "", reports.NotAligned},
		"another Content-Type":     {"Content-Type: multipart/mixed; boundary=x\r\n" + good, "", reports.BadSignature},
		"the same, and a blank":    {"Content-Type: text/plain\r\n" + strings.Replace(good, "Content-Type: multipart", "Content-Type : multipart", 1), "", reports.BadSignature},
		"another encoding":         {"content-transfer-encoding: base64\r\nContent-Transfer-Encoding: 7bit\r\n" + good, "", reports.BadSignature},
		"unsigned":                 {reportMail, "", reports.NotSigned},
		"forged body":              {strings.Replace(good, "A report.", "Another.", 1), "", reports.BadSignature},
		"forged subject":           {strings.Replace(good, "Report-ID: <1@", "Report-ID: <2@", 1), "", reports.BadSignature},
		"longer body":              {good + "more\r\n", "", reports.BadSignature},
		"expired":                  {expired, "", reports.BadSignature},
		"malformed signature":      {"DKIM-Signature: what is this\r\n" + reportMail, "", reports.BadSignature},
		"another key":              {signed(s.rsa, "sender.example", "other"), "", reports.BadSignature},
		"RSA of 512 bits":          {signed(s.small, "sender.example", "small"), "", reports.BadSignature},
		"broken key":               {signed(s.rsa, "sender.example", "broken"), "", reports.BadSignature},
		"two keys":                 {signed(s.rsa, "sender.example", "two"), "", reports.BadSignature},
		"two lists of services":    {signed(s.rsa, "sender.example", "twice"), "", reports.BadSignature},
		"misaligned":               {signed(s.rsa, "other.example", "rsa"), "", reports.NotAligned},
		"a public suffix":          {sign(t, from("From: a@b.co.uk"), s.rsa, "co.uk", "rsa", nil), "", reports.NotAligned},
		"below one public suffix":  {sign(t, from("From: a@b.co.uk"), s.rsa, "a.co.uk", "rsa", nil), "", reports.NotAligned},
		"below another":            {sign(t, from("From: a@yours.blogspot.com"), s.rsa, "mine.blogspot.com", "rsa", nil), "", reports.NotAligned},
		"a top-level domain":       {signed(s.rsa, "example", "rsa"), "", reports.BadSignature},
		"a name as selector":       {signed(s.rsa, "._domainkey.evil.example._domainkey", "sel"), "", reports.BadSignature},
		"l=":                       {limited, "", reports.LengthLimited},
		"s=email":                  {signed(s.rsa, "sender.example", "email"), "", reports.KeyForOther},
		"t=y":                      {signed(s.rsa, "sender.example", "tests"), "", reports.NotSigned},
		"revoked":                  {signed(s.rsa, "sender.example", "revoked"), "", reports.NoKey},
		"no key":                   {signed(s.rsa, "sender.example", "none"), "", reports.NoKey},
		"no such name":             {signed(s.rsa, "sender.example", "nxdomain"), "", reports.NoKey},
		"key among too many":       {signed(s.rsa, "sender.example", "flood"), "", reports.NoKey},
		"key record too long":      {signed(s.rsa, "sender.example", "long"), "", reports.NoKey},
		"no name as selector":      {signed(s.rsa, "sender.example", "dead..a"), "", reports.NoKey},
		"the most telling of two":  {sign(t, limited, s.rsa, "other.example", "rsa", nil), "", reports.LengthLimited},
		"good one after five":      {flood + good, "", reports.NoKey},
		"no From":                  {sign(t, from("Sender: a@sender.example"), s.rsa, "sender.example", "rsa", func(o *dkim.SignOptions) { o.HeaderKeys = []string{"From", "Sender"} }), "", reports.NoFrom},
		"two From fields":          {"From: other@sender.example\r\n" + good, "", reports.NoFrom},
		"two addresses":            {sign(t, from("From: a@sender.example, b@sender.example"), s.rsa, "sender.example", "rsa", nil), "", reports.NoFrom},
		"no domain in From":        {sign(t, from("From: a@[192.0.2.1]"), s.rsa, "sender.example", "rsa", nil), "", reports.NoFrom},
		"header of too many lines": {fieldLines + good, "", reports.NoFrom},
		"header too large":         {"X: " + strings.Repeat("y", 128<<10) + "\r\n" + good, "", reports.NoFrom},
		"header without end":       {"From: a@sender.example\r\n", "", reports.NoFrom},
		"nothing":                  {"", "", reports.NoFrom},
	} {
		t.Run(name, func(t *testing.T) {
			submitter, why, err := newAuthenticator(t, dns).Authenticate(t.Context(), []byte(tt.mail))
			if submitter != tt.submitter || why != tt.why || err != nil {
				t.Errorf("Authenticate is %q, %q, %v; want %q, %q", submitter, why, err, tt.submitter, tt.why)
			}
		})
	}
}

// Where DNS does not answer, the mail is to come again.
func TestAuthenticateLater(t *testing.T) {
	s := newSigners(t)
	dns := records{"rsa._domainkey.sender.example": record(t, s.rsa, "")}
	mail := sign(t, reportMail, s.rsa, "sender.example", "dead", nil)
	for name, mail := range map[string]string{
		"one":                  mail,
		"and one that is bad":  sign(t, mail, s.ed25519, "sender.example", "rsa", nil),
		"and one of strangers": sign(t, mail, s.rsa, "other.example", "rsa", nil),
	} {
		submitter, why, err := newAuthenticator(t, dns).Authenticate(t.Context(), []byte(mail))
		if submitter != "" || why != "" || err == nil || !strings.Contains(err.Error(), `by "sender.example"`) {
			t.Errorf("%s: Authenticate is %q, %q, %v; want an error that names the domain", name, submitter, why, err)
		}
	}
}

func TestNewAuthenticatorNeedsDNS(t *testing.T) {
	if _, err := intake.NewAuthenticator(intake.Options{}); err == nil {
		t.Error("it was made without a way to ask DNS")
	}
}

// Whatever is in a mail or in DNS, nobody panics, and who is named is aligned with From.
func FuzzAuthenticate(f *testing.F) {
	s := newSigners(f)
	key := record(f, s.rsa, "s=tlsrpt; ")[0]
	good := sign(f, reportMail, s.rsa, "sender.example", "rsa", nil)
	f.Add([]byte(good), key)
	f.Add([]byte(sign(f, good, s.ed25519, "sender.example", "ed", nil)), record(f, s.ed25519, "")[0])
	f.Add([]byte("From: a@b.example\nDKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=a; h=from; bh=; b=; l=1\n\n"), "p=;s=;;t=")
	f.Fuzz(func(t *testing.T, mail []byte, key string) {
		a, err := intake.NewAuthenticator(intake.Options{LookupTXT: func(context.Context, string) ([]string, error) { return []string{key}, nil }})
		if err != nil {
			t.Fatal(err)
		}
		submitter, why, err := a.Authenticate(t.Context(), mail)
		if err != nil || (submitter == "") == (why == "") {
			t.Errorf("Authenticate is %q, %q, %v", submitter, why, err)
		}
		if submitter != "" && submitter != strings.ToLower(submitter) {
			t.Errorf("%q is not in lower case", submitter)
		}
	})
}

// A name server that is silent costs ten seconds, however many signatures there are.
func TestAuthenticateEnds(t *testing.T) {
	s := newSigners(t)
	mail := sign(t, sign(t, reportMail, s.rsa, "sender.example", "b", nil), s.rsa, "sender.example", "a", nil)
	synctest.Test(t, func(t *testing.T) {
		a, err := intake.NewAuthenticator(intake.Options{LookupTXT: func(ctx context.Context, _ string) ([]string, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, _, err := a.Authenticate(t.Context(), []byte(mail)); err == nil || time.Since(begin) != 10*time.Second {
			t.Errorf("after %v there is the error %v; want one after 10 s", time.Since(begin), err)
		}
	})
}

// What costs most of what a stranger may send is looked at in no time that matters, and
// takes no memory beside the mail.
func TestAuthenticateHostile(t *testing.T) {
	s := newSigners(t)
	dns := records{"rsa._domainkey.sender.example": record(t, s.rsa, "")}
	const emptyBody = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" // SHA-256 of it
	signature := "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=sender.example; s=rsa; bh=" + emptyBody + "; b=AA==; h=From"
	from := "From: a@sender.example\r\n"
	five := strings.Repeat(signature+"\r\n", 5) + from + "\r\n"
	for name, mail := range map[string]string{
		"many signed fields": strings.Repeat(signature+strings.Repeat(":a", 280)+"\r\n", 5) + strings.Repeat("a:\r\n", 900) + from + "\r\n",
		"too many of them":   signature + strings.Repeat(":a", 5000) + "\r\n" + strings.Repeat("a:\r\n", 900) + from + "\r\n",
		"continuation lines": from + "X: y\r\n" + strings.Repeat(" "+strings.Repeat("x", 120)+"\r\n", 990) + "\r\n",
		"blanks":             five + strings.Repeat(" ", 4<<20),
		"empty lines":        five + strings.Repeat("\r\n", 2<<20),
		"line feeds":         five + strings.Repeat("\n", 4<<20),
		"short lines":        five + strings.Repeat(" \r\n \r\nx\r\n", 1<<18),
		"runs of blanks":     five + strings.Repeat(strings.Repeat(" ", 32<<10)+strings.Repeat("\n", 31<<10)+"x", 1<<6),
		"addresses":          "From: " + strings.Repeat("a@b.example,", 300) + "\r\n\r\n",
		"comments":           "From: " + strings.Repeat("(", 4000) + "\r\n\r\n",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := time.Now()
		submitter, why, err := newAuthenticator(t, dns).Authenticate(t.Context(), []byte(mail))
		took := time.Since(begin)
		runtime.ReadMemStats(&after)
		t.Logf("%s: %s, %v, %d MiB allocated, %d MiB from the system", name, why, took, (after.TotalAlloc-before.TotalAlloc)>>20, after.Sys>>20)
		if submitter != "" || err != nil || took > 10*time.Second {
			t.Errorf("%s: Authenticate is %q, %q, %v after %v", name, submitter, why, err, took)
		}
	}
}
