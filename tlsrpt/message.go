package tlsrpt

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
)

const (
	// MaxMessageSize bounds a mail with a report: MaxPackedSize in base64, and headers.
	MaxMessageSize = MaxPackedSize/3*4 + 1<<20

	maxParts = 50 // of a message, all levels together; two are needed
	maxInner = 4  // levels: mailing lists and filters wrap what they pass on
)

// Message is a mail that carries a report (RFC 8460 §5.3).
type Message struct {
	From      string // the address; "" where there is none, or several
	Domain    string // TLS-Report-Domain, as it was written
	Submitter string // TLS-Report-Submitter, likewise
	Subject   string
	MediaType string // of the report's part
	FileName  string
	Data      []byte // the report, packed or not: see Unpack
	Inner     bool   // it was in a mail within this one: who sent this one did not write it
}

// The deviations of mail.
const (
	NotePartType NoteCode = "part-type"       // not application/tlsrpt+gzip or +json
	NoteBase64   NoteCode = "base64"          // characters in it that do not belong there; left out
	NoteBanner   NoteCode = "banner"          // something stood before the report; left out
	NoteFrom     NoteCode = "from"            // not one From field with one address, as RFC 5322 §3.6 wants here
	NoteReports  NoteCode = "several-reports" // in one mail; the first one counts
)

// ReadMessage finds the report in a mail: the part of a type that RFC 8460 §5.3 names, or
// else what looks like one by its name or its first bytes, at any depth. That the mail is
// signed is not looked at here. Without a report it returns an *ErrReport.
func ReadMessage(data []byte) (*Message, []Note, error) {
	if len(data) > MaxMessageSize {
		return nil, nil, &ErrReport{"too-big", fmt.Sprintf("a mail of more than %d bytes", MaxMessageSize)}
	}
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		return nil, nil, &ErrReport{"no-report", "no mail: " + clean(err.Error(), 200)}
	}
	w := &mailWalk{}
	w.part(textproto.MIMEHeader(m.Header), m.Body, 0, false)
	if w.best == nil {
		return nil, nil, &ErrReport{"no-report", "no part of the mail is one"}
	}
	msg := w.best.message
	msg.Subject = w.bound(decodeWords(m.Header.Get("Subject")))
	msg.Domain = w.bound(m.Header.Get("TLS-Report-Domain"))
	msg.Submitter = w.bound(m.Header.Get("TLS-Report-Submitter"))
	notes := w.best.notes
	if w.reports > 1 {
		notes = append(notes, Note{Code: NoteReports})
	}
	// Of two fields a signature may be for the one, and a reader look at the other.
	from, err := m.Header.AddressList("From")
	if err == nil && len(from) == 1 && len(m.Header["From"]) == 1 {
		msg.From = w.bound(from[0].Address)
	} else {
		notes = append(notes, Note{Code: NoteFrom})
	}
	return &msg, notes, nil
}

func decodeWords(s string) string {
	if text, err := new(mime.WordDecoder).DecodeHeader(s); err == nil {
		return text
	}
	return s
}

// candidate is a part that may be the report.
type candidate struct {
	message Message
	notes   []Note
	rank    int // how sure that is
}

type mailWalk struct {
	parts   int
	reports int // parts that say that they are one
	best    *candidate
}

// bound makes a header's text what texts of reports are: valid UTF-8 without U+0000, and
// of bounded length.
func (w *mailWalk) bound(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxText)], "\uFFFD")
	return bound(strings.ReplaceAll(s, "\x00", "\uFFFD"), maxText)
}

// part looks at one part, and those within it. inner is one of a mail within the mail.
func (w *mailWalk) part(h textproto.MIMEHeader, body io.Reader, level int, inner bool) {
	if w.parts++; w.parts > maxParts || level > maxInner {
		return
	}
	mediaType, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil && mediaType == "" {
		mediaType, _, _ = strings.Cut(strings.ToLower(h.Get("Content-Type")), ";")
		mediaType = strings.TrimSpace(mediaType)
	}
	if strings.HasPrefix(mediaType, "multipart/") && params["boundary"] != "" {
		r := multipart.NewReader(body, params["boundary"])
		for w.parts <= maxParts {
			p, err := r.NextRawPart()
			if err != nil { // also where the mail is cut off: what came before counts
				return
			}
			w.part(p.Header, p, level+1, inner)
		}
		return
	}
	data, notes, err := decodeBody(h.Get("Content-Transfer-Encoding"), body)
	if err != nil {
		return
	}
	if mediaType == "message/rfc822" {
		if m, err := mail.ReadMessage(bytes.NewReader(data)); err == nil {
			w.part(textproto.MIMEHeader(m.Header), m.Body, level+1, true)
		}
		return
	}
	w.consider(Message{MediaType: w.bound(mediaType), FileName: w.bound(fileName(h, params)), Inner: inner}, data, notes)
}

// consider keeps the part if it looks more like a report than those before.
func (w *mailWalk) consider(m Message, data []byte, notes []Note) {
	c := &candidate{message: m, notes: notes}
	mediaType, lower := m.MediaType, strings.ToLower(m.FileName)
	switch {
	case mediaType == "application/tlsrpt+gzip" || mediaType == "application/tlsrpt+json":
		c.rank = 4
	case strings.HasPrefix(mediaType, "application/tlsrpt"):
		c.rank = 3
	case strings.HasSuffix(lower, ".json") || strings.HasSuffix(lower, ".json.gz") || strings.HasSuffix(lower, ".json.zip"):
		c.rank = 2
	case strings.HasPrefix(mediaType, "application/") || strings.HasSuffix(lower, ".gz") || strings.HasSuffix(lower, ".zip"):
		c.rank = 1
	}
	text := bytes.TrimLeft(data, "\ufeff \t\r\n")
	switch at := bytes.Index(data[:min(len(data), 4096)], []byte{0x1f, 0x8b, 8}); {
	case isGzip(data), isZip(data), bytes.HasPrefix(text, []byte("{")):
	case at > 0 && c.rank >= 2: // a filter has written something before it
		data = data[at:]
		c.notes = append(c.notes, Note{Code: NoteBanner})
	case c.rank >= 2 && bytes.Contains(data[:min(len(data), 4096)], []byte("\n{")): // likewise, JSON
		data = data[bytes.Index(data, []byte("\n{"))+1:]
		c.notes = append(c.notes, Note{Code: NoteBanner})
	default:
		c.rank-- // it will be set aside, which is better than to find nothing
	}
	if c.rank >= 2 {
		w.reports++
	}
	if c.rank <= 0 || w.best != nil && w.best.rank >= c.rank {
		return
	}
	if c.rank < 4 && mediaType != "application/tlsrpt+gzip" && mediaType != "application/tlsrpt+json" {
		c.notes = append(c.notes, Note{Code: NotePartType})
	}
	c.message.Data = data
	w.best = c
}

// fileName is how the part is called (RFC 2183, RFC 2231).
func fileName(h textproto.MIMEHeader, params map[string]string) string {
	if _, p, err := mime.ParseMediaType(h.Get("Content-Disposition")); err == nil && p["filename"] != "" {
		return decodeWords(p["filename"])
	}
	return decodeWords(params["name"])
}

// decodeBody undoes the transfer encoding. Base64 may have line ends and blanks
// anywhere, and what filters leave in it.
func decodeBody(encoding string, body io.Reader) ([]byte, []Note, error) {
	raw, err := io.ReadAll(io.LimitReader(body, MaxMessageSize))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil, err
	}
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		return decodeBase64(raw)
	case "quoted-printable":
		data, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(raw)))
		return data, nil, err
	}
	return raw, nil, nil
}

func decodeBase64(raw []byte) (data []byte, notes []Note, err error) {
	banner := false
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if at := base64Start(raw); at > 0 {
		raw, banner = raw[at:], true
	}
	kept := make([]byte, 0, len(raw))
	odd := false
	for _, c := range raw {
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '+', c == '/':
			kept = append(kept, c)
		case c == '=' || c == '\r' || c == '\n' || c == ' ' || c == '\t':
		default:
			odd = true
		}
	}
	if banner {
		notes = append(notes, Note{Code: NoteBanner})
	}
	if odd {
		notes = append(notes, Note{Code: NoteBase64})
	}
	if len(kept)%4 == 1 {
		kept = kept[:len(kept)-1]
	}
	data = make([]byte, base64.RawStdEncoding.DecodedLen(len(kept)))
	n, err := base64.RawStdEncoding.Decode(data, kept)
	return data[:n], notes, err
}

// base64Start finds where the report begins, if a filter has written plain text before it:
// that would be taken for base64. It is the first line that begins as packed reports and
// JSON do; 0 where there is none, or nothing before it.
func base64Start(raw []byte) int {
	const far = 16 << 10 // that banners are long
	for at := 0; at < min(len(raw), far); {
		line := raw[at:]
		for _, start := range []string{"H4sI", "UEsDB", "eyJ", "ewog", "ew0K", "eyAi", "77u/"} {
			if bytes.HasPrefix(line, []byte(start)) {
				return at
			}
		}
		end := bytes.IndexByte(line, '\n')
		if end < 0 {
			return 0
		}
		at += end + 1
	}
	return 0
}
