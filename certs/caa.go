package certs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// caaSet is a relevant CAA set (RFC 8659 §3): the records that decide which CAs may
// issue for a host. Nil is none, by which every CA may.
type caaSet []*dns.CAA

// criticalFlag marks properties that a CA must know to issue (RFC 8659 §4.1).
const criticalFlag = 1 << 7

// knownTags are the properties that CAs know, by IANA's registry. None but issue says
// anything of a certificate for one host.
var knownTags = []string{"issue", "issuewild", "issuemail", "issuevmc", "iodef", "contactemail", "contactphone"}

// allows reports whether a CA that calls itself one of identities, and checks hosts
// by one of methods, may issue.
func (s caaSet) allows(identities, methods []string) bool {
	if s.stranger() != "" {
		return false
	}
	issue := s.issue()
	return len(issue) == 0 || slices.ContainsFunc(issue, func(i issueValue) bool {
		return i.names(identities) && i.method(methods)
	})
}

// stranger is the tag of a critical property that CAs do not know, "" for none.
func (s caaSet) stranger() string {
	for _, rr := range s {
		if rr.Flag&criticalFlag != 0 && !slices.Contains(knownTags, strings.ToLower(rr.Tag)) {
			return rr.Tag
		}
	}
	return ""
}

func (s caaSet) issue() []issueValue {
	var all []issueValue
	for _, rr := range s {
		if strings.EqualFold(rr.Tag, "issue") {
			all = append(all, parseIssue(rr.Value))
		}
	}
	return all
}

// finding says why none of identities may issue, and what would help. It is from
// outside.
func (s caaSet) finding(identities, methods []string) string {
	owner := strings.TrimSuffix(s[0].Hdr.Name, ".")
	if tag := s.stranger(); tag != "" {
		return fmt.Sprintf("CAA of %s has the critical property %q, which no CA knows: remove it", owner, tag)
	}
	var others []string
	for _, i := range s.issue() {
		if i.names(identities) { // but not by our methods
			return fmt.Sprintf("CAA of %s allows %q only with validationmethods=%s: add %s",
				owner, i.issuer, strings.Join(i.methods, ","), strings.Join(methods, " or "))
		}
		if i.issuer != "" {
			others = append(others, fmt.Sprintf("%q", i.issuer))
		}
	}
	allowed := "no CA"
	if len(others) > 0 {
		allowed = "only " + clip(strings.Join(others, ", "), maxErrorText/2)
	}
	wanted := make([]string, len(identities))
	for i, id := range identities {
		wanted[i] = fmt.Sprintf("issue %q", id)
	}
	return fmt.Sprintf("CAA of %s allows %s: add %s", owner, allowed, strings.Join(wanted, " or "))
}

// issueValue is the value of an issue property (RFC 8659 §4.2).
type issueValue struct {
	issuer  string   // "" for nobody
	limited bool     // to methods (RFC 8657 §4)
	methods []string // by which the CA may check the host
}

// names reports whether one of identities is the issuer.
func (i issueValue) names(identities []string) bool {
	return i.issuer != "" && slices.ContainsFunc(identities, func(id string) bool { return strings.EqualFold(id, i.issuer) })
}

// method reports whether one of methods will do.
func (i issueValue) method(methods []string) bool {
	return !i.limited || slices.ContainsFunc(methods, func(m string) bool { return slices.Contains(i.methods, m) })
}

// parseIssue reads the value of an issue property. One that does not follow the
// grammar counts as naming nobody, "issue values that do not match [it] MUST be
// treated the same as those specifying an empty issuer-domain-name" (RFC 8659 §4.2).
//
// Of the parameters accounturi is not looked at: whether the account is ours is for
// the CA to say. Others are the CA's own matter.
func parseIssue(s string) issueValue {
	const space = " \t"
	issuer, parameters, more := strings.Cut(s, ";")
	i := issueValue{issuer: strings.Trim(issuer, space)}
	for label := range strings.SplitSeq(i.issuer, ".") {
		if i.issuer != "" && !isTag(label) {
			return issueValue{}
		}
	}
	if parameters = strings.Trim(parameters, space); !more || parameters == "" {
		return i
	}
	for p := range strings.SplitSeq(strings.TrimSuffix(parameters, ";"), ";") { // which the grammar does not allow at the end, and people write
		tag, value, ok := strings.Cut(p, "=")
		tag, value = strings.Trim(tag, space), strings.Trim(value, space)
		if !ok || !isTag(tag) || strings.ContainsFunc(value, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
			return issueValue{}
		}
		if strings.EqualFold(tag, "validationmethods") {
			i.limited, i.methods = true, strings.Split(value, ",")
		}
	}
	return i
}

// isTag reports whether s is made of letters, digits and, between them, hyphens.
func isTag(s string) bool {
	return s != "" && s[0] != '-' && s[len(s)-1] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	})
}
