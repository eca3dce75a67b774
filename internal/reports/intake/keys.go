package intake

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
)

const (
	// maxKeyRecords is how many TXT records are looked at below one name: one is usual.
	maxKeyRecords = 10

	// maxKeyRecord bounds a key record: RSA of 8192 bits takes 1.5 KiB.
	maxKeyRecord = 4 << 10
)

// selectorLetters are those of RFC 6376 §3.1, and what some have beside.
const selectorLetters = letters + "-_"

// Why there is no key. Authenticate knows them by their text.
var (
	errNoKey       = errors.New("there is none")
	errKeyForOther = errors.New("it is for another service")
	errTesting     = errors.New("it is for tests")
	errStranger    = errors.New("its domain is not the sender's")
)

// keys looks up the public keys of one mail's signatures. Contexts are not for structs, but
// the library passes none, and it lasts no longer than the call.
type keys struct {
	ctx       context.Context
	lookupTXT func(ctx context.Context, name string) ([]string, error)
	from      string
}

// unanswered is the error that the library takes for a temporary one.
type unanswered struct{ error }

func (unanswered) Timeout() bool   { return false }
func (unanswered) Temporary() bool { return true }

// lookup returns the one key record of a name, which is SELECTOR._domainkey.DOMAIN. For
// domains that do not count it asks nobody: else mail would make us ask for anything.
func (k *keys) lookup(name string) ([]string, error) {
	selector, domain, _ := cutLast(name, "._domainkey.")
	domain = asciiDomain(domain)
	name = selector + "._domainkey." + domain
	switch {
	case domain == "" || !hasLabels(strings.ToLower(selector), selectorLetters) || len(name) > maxDomain:
		return nil, errNoKey
	case !aligned(domain, k.from):
		return nil, errStranger
	}
	txts, err := k.lookupTXT(k.ctx, name)
	if none, ok := errors.AsType[*net.DNSError](err); ok && none.IsNotFound {
		return nil, errNoKey
	}
	if err != nil {
		return nil, unanswered{err}
	}
	return keyRecords(txts)
}

// keyRecords picks the records that are keys, as a verifier that knows of TLS reports
// reads them. Of several keys below one name none counts (RFC 6376 §3.6.2.2): which one
// is meant is undefined.
func keyRecords(txts []string) ([]string, error) {
	var found []string
	for _, txt := range txts[:min(len(txts), maxKeyRecords)] {
		if len(txt) <= maxKeyRecord && tag(txt, "p") != nil {
			found = append(found, txt)
		}
	}
	if len(found) == 0 || len(found) == 1 && strings.Join(tag(found[0], "p"), "") == "" { // revoked: p=
		return nil, errNoKey
	}
	for i, txt := range found {
		if slices.Contains(tag(txt, "t"), "y") { // RFC 6376 §3.6.1: no different "from unsigned email"
			return nil, errTesting
		}
		services := tag(txt, "s")
		if services != nil && !slices.Contains(services, "*") && !slices.Contains(services, "tlsrpt") {
			return nil, errKeyForOther
		}
		found[i] = forAllServices(txt)
	}
	return found, nil
}

// tag returns the list that a tag of a key record has; nil where there is no such tag.
func tag(record, name string) []string {
	for field := range strings.SplitSeq(record, ";") {
		key, value, _ := strings.Cut(field, "=")
		if strings.TrimSpace(key) != name {
			continue
		}
		list := strings.Split(value, ":")
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
		return list
	}
	return nil
}

// forAllServices says s=* where a list of services was looked at: the library knows of
// email alone, and RFC 8460 §3 says s=tlsrpt. A second list stays, and makes the record
// invalid (RFC 6376 §3.2).
func forAllServices(record string) string {
	fields := strings.Split(record, ";")
	for i, field := range fields {
		if key, _, ok := strings.Cut(field, "="); ok && strings.TrimSpace(key) == "s" {
			fields[i] = "s=*"
			break
		}
	}
	return strings.Join(fields, ";")
}
