package tlsrpt_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"mtasts-server/tlsrpt"
)

// lines wraps base64 as mail does.
func lines(data []byte) string {
	text := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	return b.String() + text + "\r\n"
}

const mailHead = "From: TLS Reports <tls@sender.example>\r\nTo: tlsrpt@example.com\r\nMIME-Version: 1.0\r\n" +
	"Subject: Report Domain: example.com\r\n Submitter: sender.example Report-ID: <2026@sender.example>\r\n" +
	"TLS-Report-Domain: example.com\r\nTLS-Report-Submitter: sender.example\r\n"

// reportMail is a mail as RFC 8460 §5.3 has it, with that part in place of the report's.
func reportMail(part string) string {
	return mailHead + "Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=\"b1\"\r\n\r\n" +
		"--b1\r\nContent-Type: text/plain\r\n\r\nThis is a report.\r\n--b1\r\n" + part + "\r\n--b1--\r\n"
}

func TestReadMessage(t *testing.T) {
	gz := gzipped(t, plain)
	const name = "sender.example!example.com!1795478400!1795564799.json.gz"
	good := "Content-Type: application/tlsrpt+gzip\r\nContent-Disposition: attachment; filename=\"" + name + "\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + lines(gz)
	for _, c := range []struct {
		why, mail string
		notes     []tlsrpt.NoteCode
		aside     string
	}{
		{"as RFC 8460 has it", reportMail(good), nil, ""},
		{"plain JSON", reportMail("Content-Type: application/tlsrpt+json\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.ReplaceAll(strings.ReplaceAll(plain, "=", "=3D"), "\n", "\r\n")), nil, ""},
		{"without transfer encoding", reportMail("Content-Type: application/tlsrpt+json\r\n\r\n" + plain), nil, ""},
		{"a type that some write", reportMail(strings.Replace(good, "tlsrpt+gzip", "tlsrpt+x-gzip", 1)), notes(tlsrpt.NotePartType), ""},
		{"a type without a suffix", reportMail(strings.Replace(good, "tlsrpt+gzip", "tlsrpt", 1)), notes(tlsrpt.NotePartType), ""},
		{"known by its name only", reportMail(strings.Replace(good, "application/tlsrpt+gzip", "application/octet-stream", 1)), notes(tlsrpt.NotePartType), ""},
		{"known by its content only", reportMail("Content-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + lines(gz)), notes(tlsrpt.NotePartType), ""},
		{"a name in pieces", reportMail("Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename*0=\"sender.example!example.com!1795478400\"; filename*1=\"!1795564799.json.gz\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + lines(gz)), notes(tlsrpt.NotePartType), ""},
		{"a mail that is the report", mailHead + good, nil, ""},
		{"passed on within another mail", mailHead + "Content-Type: multipart/mixed; boundary=b2\r\n\r\n--b2\r\nContent-Type: message/rfc822\r\n\r\n" + reportMail(good) + "\r\n--b2--\r\n", nil, ""},
		{"with a footer of a mailing list", mailHead + "Content-Type: multipart/mixed; boundary=b2\r\n\r\n--b2\r\n" + strings.TrimPrefix(reportMail(good), mailHead) + "\r\n--b2\r\nContent-Type: text/plain\r\n\r\nTo unsubscribe\r\n--b2--\r\n", nil, ""},
		{"its last boundary is cut off", strings.TrimSuffix(reportMail(good), "--b1--\r\n"), nil, ""},
		{"odd characters in the base64", reportMail(strings.Replace(good, "\r\n\r\nH4", "\r\n\r\n>H4", 1)), notes(tlsrpt.NoteBase64), ""},
		{"a banner before it", reportMail("Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + lines(append([]byte("External mail!\r\n"), gz...))), notes(tlsrpt.NoteBanner), ""},
		{"a banner in plain text before the base64", reportMail("Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\nCAUTION: external mail\r\n\r\n" + lines(gz)), notes(tlsrpt.NoteBanner), ""},
		{"a banner before JSON in base64", reportMail("Content-Type: application/tlsrpt+json\r\nContent-Transfer-Encoding: base64\r\n\r\nCAUTION\r\n" + lines([]byte(plain))), notes(tlsrpt.NoteBanner), ""},
		{"two reports in one mail", reportMail(good + "\r\n--b1\r\n" + good), notes(tlsrpt.NoteReports), ""},
		{"another attachment first", strings.Replace(reportMail(good), "--b1\r\nContent-Type: application", "--b1\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n--b1\r\nContent-Type: application", 1), nil, ""},

		{"no report", mailHead + "\r\nHello.\r\n", nil, "no-report"},
		{"no mail", "\x00\x01", nil, "no-report"},
		{"nothing", "", nil, "no-report"},
		{"too large", strings.Repeat("x", tlsrpt.MaxMessageSize+1), nil, "too-big"},
		{"too many parts", mailHead + "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 1000) + "--b\r\n" + good, nil, "no-report"},
		{"too deep", mailHead + nested(20, good), nil, "no-report"},
	} {
		m, got, err := tlsrpt.ReadMessage([]byte(c.mail))
		if c.aside != "" {
			if bad, ok := errors.AsType[*tlsrpt.ErrReport](err); !ok || bad.Reason != c.aside {
				t.Errorf("%s: %v, want %s", c.why, err, c.aside)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.why, err)
			continue
		}
		var codes []tlsrpt.NoteCode
		for _, n := range got {
			codes = append(codes, n.Code)
		}
		if !slices.Equal(codes, c.notes) {
			t.Errorf("%s: notes %v, want %v", c.why, codes, c.notes)
		}
		if m.From != "tls@sender.example" || m.Domain != "example.com" || m.Submitter != "sender.example" ||
			m.Subject != "Report Domain: example.com Submitter: sender.example Report-ID: <2026@sender.example>" {
			t.Errorf("%s: %+v", c.why, m)
		}
		text, _, err := tlsrpt.Unpack(m.Data, m.MediaType)
		if err == nil {
			_, err = tlsrpt.ParseReport(text)
		}
		if err != nil {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}

// nested wraps a part in so many multiparts.
func nested(levels int, part string) string {
	for i := range levels {
		part = fmt.Sprintf("Content-Type: multipart/mixed; boundary=n%d\r\n\r\n--n%d\r\n%s\r\n--n%d--\r\n", i, i, part, i)
	}
	return part
}

func FuzzReadMessage(f *testing.F) {
	seed(f, ".eml", func(data []byte) { f.Add(data) })
	f.Add([]byte(reportMail("Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + lines(gzipped(f, plain)))))
	f.Add([]byte(mailHead + nested(3, "Content-Type: application/tlsrpt+json\r\n\r\n"+plain)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, notes, err := tlsrpt.ReadMessage(data)
		if err == nil && (len(m.Data) > tlsrpt.MaxMessageSize || len(m.Subject) > 1024 || len(m.Domain) > 1024 || len(notes) > 10) {
			t.Errorf("%+v, %v", m, notes)
		}
	})
}

// A mail of two authors has none: a signature may be for the one, and the eye on the other.
func TestReadMessageFrom(t *testing.T) {
	good := reportMail("Content-Type: application/tlsrpt+json\r\n\r\n" + plain)
	for _, c := range []struct{ why, mail string }{
		{"two fields", "From: x@evil.example\r\n" + good},
		{"two fields, the second at the end", strings.Replace(good, "MIME-Version", "from: x@evil.example\r\nMIME-Version", 1)},
		{"two addresses", strings.Replace(good, "<tls@sender.example>", "<tls@sender.example>, x@evil.example", 1)},
		{"none", strings.Replace(good, "From:", "X-From:", 1)},
	} {
		m, got, err := tlsrpt.ReadMessage([]byte(c.mail))
		if err != nil || m.From != "" || len(got) != 1 || got[0].Code != tlsrpt.NoteFrom {
			t.Errorf("%s: %+v, %v, %v", c.why, m, got, err)
		}
	}
}

// Headers are as strange as reports: what is kept of them is valid, and short.
func TestReadMessageTexts(t *testing.T) {
	for _, bad := range []string{"\xff\xfe", strings.Repeat("\u00fc", 5000), "\x00", "=?utf-8?q?=00=FF?=", strings.Repeat("x", 1023) + "\u00fc"} {
		mail := strings.Replace(reportMail("Content-Type: application/tlsrpt+json; name=\""+bad+"\"\r\n\r\n"+plain), "Submitter: s", "Submitter: "+bad, 2)
		m, _, err := tlsrpt.ReadMessage([]byte(mail))
		if err != nil {
			continue // a header that is none
		}
		for _, s := range []string{m.From, m.Domain, m.Submitter, m.Subject, m.MediaType, m.FileName} {
			if !utf8.ValidString(s) || strings.Contains(s, "\x00") || len(s) > 1024 {
				t.Errorf("%.20q: %d bytes: %.40q", bad, len(s), s)
			}
		}
	}
}
