package intake

import (
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"mtasts-server/internal/reports"
	"mtasts-server/mtasts"
)

// telling are the reasons to know nobody, the most telling last: where a mail has several
// signatures, that one is given.
var telling = []reports.Unauthenticated{
	reports.NotSigned, reports.NotAligned, reports.NoKey, reports.BadSignature, reports.KeyForOther, reports.LengthLimited,
}

// judge picks the good signature among those found, or says why there is none.
func (a *Authenticator) judge(found []*dkim.Verification, from string) (string, reports.Unauthenticated, error) {
	why := reports.NotSigned
	var unknown error
	for _, v := range found {
		domain := asciiDomain(v.Domain)
		reason, err := a.reason(v, domain, from)
		if err == nil && reason == "" {
			return domain, "", nil
		}
		if err != nil {
			unknown = fmt.Errorf("looking up the key of a report's signature by %q: %w", domain, err)
		} else if slices.Index(telling, reason) > slices.Index(telling, why) {
			why = reason
		}
	}
	if unknown != nil {
		return "", "", unknown
	}
	return "", why, nil
}

// reason says what is wrong with a signature; "" is nothing. The library has no kinds of
// errors but temporary ones, so those that matter are known by how they end.
func (a *Authenticator) reason(v *dkim.Verification, domain, from string) (reports.Unauthenticated, error) {
	switch {
	case domain == "":
		return reports.BadSignature, nil
	case !aligned(domain, from):
		return reports.NotAligned, nil
	case dkim.IsTempFail(v.Err):
		return "", v.Err
	case v.Err == nil && !v.Expiration.IsZero() && a.now().After(v.Expiration):
		return reports.BadSignature, nil
	case v.Err == nil:
		return "", nil
	}
	for _, known := range reasonsByError {
		if strings.HasSuffix(v.Err.Error(), known.ending) {
			return known.reason, nil
		}
	}
	return reports.BadSignature, nil
}

var reasonsByError = []struct {
	ending string
	reason reports.Unauthenticated
}{
	{errNoKey.Error(), reports.NoKey},
	{errKeyForOther.Error(), reports.KeyForOther},
	{errTesting.Error(), reports.NotSigned},
	{"insecure body length tag", reports.LengthLimited},
}

// aligned reports whether two domains have the same organizational domain. What stands
// on the public suffix list is many people's, and aligned with itself alone.
func aligned(a, b string) bool {
	return a == b || mtasts.OrganizationalDomain(a) == mtasts.OrganizationalDomain(b)
}
