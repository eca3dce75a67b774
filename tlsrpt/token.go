package tlsrpt

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// TokenMark stands in an address of reports for the token of each domain, as in
// "mailto:tlsrpt+{token}@reports.example.net".
const TokenMark = "{token}"

var tokenEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// Token returns 13 letters and digits that stand for domain in an address that reports
// are sent to: some reports do not say which domain they are on. It is no secret, as the
// address stands in DNS, and the same everywhere and always.
func Token(domain string) string {
	sum := sha256.Sum256([]byte("tlsrpt token of " + domain))
	return strings.ToLower(tokenEncoding.EncodeToString(sum[:8]))
}

// ExpandURI puts the token of domain where uri has TokenMark.
func ExpandURI(uri, domain string) string {
	if !strings.Contains(uri, TokenMark) {
		return uri
	}
	return strings.ReplaceAll(uri, TokenMark, Token(domain))
}
