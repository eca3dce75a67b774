package intake

import (
	"bytes"
	"net/mail"
	"regexp"
	"strings"
)

// maxTokenHeader bounds how much of a mail's header is searched for a token.
const maxTokenHeader = 256 << 10

// tokenAddress is an address with a token in it: "tlsrpt+k3v9@example.net".
var tokenAddress = regexp.MustCompile(`[^\s<>@,;:"]\+([a-z0-9]{1,32})@`)

// tokenOf returns the token in the address that a mail was sent to, as far as its header
// tells: what the last server wrote is better than what the sender did.
func tokenOf(data []byte) string {
	m, err := mail.ReadMessage(bytes.NewReader(data[:min(len(data), maxTokenHeader)]))
	if err != nil {
		return ""
	}
	for _, field := range []string{"Delivered-To", "X-Original-To", "To"} {
		for _, value := range m.Header[field] {
			if found := tokenAddress.FindStringSubmatch(strings.ToLower(value)); found != nil {
				return found[1]
			}
		}
	}
	return ""
}
