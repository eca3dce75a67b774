package alert

import (
	"crypto/sha256"
	"encoding/hex"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"
)

// foldAt is where header lines are folded (RFC 5322 §2.1.1).
const foldAt = 78

// compose returns the mail on msg, in lines that end with CRLF.
func (m *Mail) compose(msg *Message, to string) string {
	_, domain, _ := strings.Cut(m.from.Address, "@")
	var b strings.Builder
	header(&b, "From", m.from.String())
	header(&b, "To", "<"+to+">")
	header(&b, "Subject", "[mtasts] "+encoded(msg.subject()))
	header(&b, "Date", msg.At.UTC().Format(time.RFC1123Z))
	header(&b, "Message-ID", "<"+msg.ID+"@"+domain+">")
	if i := msg.item(); i != nil { // so that the end stands with the beginning
		sum := sha256.Sum256([]byte(i.Key))
		header(&b, "References", "<"+hex.EncodeToString(sum[:16])+"@"+domain+">")
	}
	header(&b, "Auto-Submitted", "auto-generated") // RFC 3834 §5: nobody is to answer
	header(&b, "MIME-Version", "1.0")
	header(&b, "Content-Type", "text/plain; charset=utf-8")
	header(&b, "Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(strings.ReplaceAll(msg.text(), "\n", "\r\n"))) // to memory
	_ = w.Close()
	return b.String()
}

// header writes a line, folded at its blanks. No value can begin another one.
func header(b *strings.Builder, name, value string) {
	b.WriteString(name + ":")
	n := len(name) + 1
	for word := range strings.FieldsSeq(value) {
		if n+1+len(word) > foldAt && n > len(name)+1 {
			b.WriteString("\r\n")
			n = 0
		}
		b.WriteString(" " + word)
		n += 1 + len(word)
	}
	b.WriteString("\r\n")
}

// encoded is s as encoded words (RFC 2047 §2), if it needs them. What looks encoded already
// would be shown as something else.
func encoded(s string) string {
	return mime.QEncoding.Encode("utf-8", strings.ReplaceAll(s, "=?", "= ?"))
}
