package certs

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Inspector looks at hosts as a CA would, for who asks what must be published.
type Inspector struct{ look *preflight }

// NewInspector returns an Inspector for the CAs of o. Where the source asks no CA it is nil.
func NewInspector(o Options) (*Inspector, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if !o.acme() {
		return nil, nil
	}
	return &Inspector{newPreflight(&o)}, nil
}

// CAA says whether host's CAA records (RFC 8659) forbid each of our CAs to issue. finding
// is empty where they do not; else it says why, and what would help, and owner and issuer
// are of the record to add. An error means that nobody knows.
func (in *Inspector) CAA(ctx context.Context, host string) (finding, owner, issuer string, err error) {
	v := in.look.mayIssue(ctx, host)
	switch v.outcome {
	case outcomeUnknown:
		return "", "", "", errors.New("DNS does not say which CAs may issue for " + host)
	case outcomeForbidden:
	default:
		return "", "", "", nil
	}
	set, err := in.look.caa(ctx, host)
	if err != nil || len(set) == 0 {
		return v.finding, "", "", err
	}
	if set.stranger() == "" {
		for _, ca := range in.look.cas {
			ids := ca.identities(ctx)
			if len(ids) > 0 && !slices.ContainsFunc(set.issue(), func(i issueValue) bool { return i.names(ids) }) {
				return v.finding, strings.ToLower(strings.TrimSuffix(set[0].Hdr.Name, ".")), ids[0], nil
			}
		}
	}
	return v.finding, "", "", nil
}
