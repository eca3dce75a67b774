package intake

import (
	"errors"
	"fmt"
	"strings"
)

// maxToken bounds the token of an address.
const maxToken = 32

// addresses are those that reports are taken for: local parts by domain, in lower case. The
// name of the host is one of the domains, perhaps without any.
type addresses map[string]map[string]bool

func parseAddresses(hostname string, list []string) (addresses, error) {
	if len(list) == 0 {
		return nil, errors.New("no address to take reports for")
	}
	known := addresses{hostname: {}}
	for _, address := range list {
		local, domain, _ := cutLast(address, "@")
		ascii := asciiDomain(domain)
		if ascii == "" || strings.Trim(strings.ToLower(local), letters+"-_.") != "" || local == "" {
			return nil, fmt.Errorf("%q is no address for reports: write NAME@DOMAIN, the name of letters, digits, hyphens and dots", address)
		}
		if known[ascii] == nil {
			known[ascii] = map[string]bool{}
		}
		known[ascii][strings.ToLower(local)] = true
	}
	return known, nil
}

// find returns the token of one of our addresses, "" for none. An error says to the sender
// why it takes no mail.
func (known addresses) find(address string) (token string, err error) {
	local, domain, _ := cutLast(strings.ToLower(address), "@")
	ours, own := known[strings.TrimSuffix(domain, ".")]
	name, token, hasToken := strings.Cut(local, "+")
	switch {
	case !own:
		return "", errRelay
	case ours[name] && (!hasToken || isToken(token)):
		return token, nil
	case local == "postmaster":
		return "", errPostmaster
	}
	return "", errNoMailbox
}

func isToken(s string) bool {
	return s != "" && len(s) <= maxToken && strings.Trim(s, letters) == ""
}
