package reports

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// dayKey names a sum of report_days, and failureKey one of report_failures.
type (
	dayKey struct {
		domain        string
		day           int64
		submitter     string
		authenticated int
		policyType    string
		policy        string // id of the MTA-STS policy that senders saw; "" for none
	}
	failureKey struct {
		domain        string
		day           int64
		submitter     string
		authenticated int
		policyType    string
		resultType    string
		mx            string
	}
	daySum struct{ reports, successful, failed int64 }
)

func addSessions(to *int64, n int64) { *to = min(*to+n, tlsrpt.MaxSessions) }

func addDays(to map[dayKey]*daySum, p *part) {
	counted, ids := map[dayKey]bool{}, map[string]bool{}
	for _, policy := range p.report.Policies {
		id := policyID(policy)
		if ids[id] = true; len(ids) > maxPolicyIDs {
			delete(ids, id)
			id = ""
		}
		k := dayKey{p.domain, p.day(), p.summedAs(), p.authenticated(), policyType(policy.Type), id}
		sum := to[k]
		if sum == nil {
			sum = &daySum{}
			to[k] = sum
		}
		if !counted[k] {
			counted[k] = true
			sum.reports++
		}
		addSessions(&sum.successful, policy.Successful)
		addSessions(&sum.failed, policy.Failed)
	}
}

// policyType is one of the few that there are: what a stranger makes up is no name of a sum.
func policyType(t tlsrpt.PolicyType) string {
	switch t {
	case tlsrpt.PolicySTS, tlsrpt.PolicyTLSA, tlsrpt.PolicyNone:
		return string(t)
	}
	return "other"
}

// resultType is likewise.
func resultType(t tlsrpt.ResultType) string {
	if t.Known() {
		return string(t)
	}
	return "other"
}

// policyID returns the id that the policy has which a sender applied, if it is one of
// MTA-STS: the one that is announced, if it is ours.
func policyID(p tlsrpt.PolicyReport) string {
	if p.Type != tlsrpt.PolicySTS || len(p.Text) == 0 {
		return ""
	}
	policy, err := mtasts.Parse([]byte(strings.Join(p.Text, "\n")))
	if err != nil {
		return ""
	}
	return mtasts.ID(policy.Body())
}

func addFailures(to map[failureKey]int64, p *part) {
	sums := failureSums(p)
	most := maxSums
	if p.unauthenticated != "" {
		most = maxSumsStranger
	}
	keys := slices.SortedFunc(maps.Keys(sums), func(a, b failureKey) int {
		return cmp.Or(cmp.Compare(sums[b], sums[a]), strings.Compare(a.resultType, b.resultType), strings.Compare(a.mx, b.mx), strings.Compare(a.policyType, b.policyType))
	})
	for i, k := range keys {
		n := sums[k]
		if i >= most {
			k.mx = "" // they are not told apart any more
		}
		to[k] = min(to[k]+n, tlsrpt.MaxSessions)
	}
}

func failureSums(p *part) map[failureKey]int64 {
	sums := map[failureKey]int64{}
	for _, policy := range p.report.Policies {
		k := failureKey{domain: p.domain, day: p.day(), submitter: p.summedAs(), authenticated: p.authenticated(), policyType: policyType(policy.Type)}
		for _, f := range policy.FailureList {
			k.resultType, k.mx = resultType(f.ResultType), mxName(f.ReceivingMXHostname)
			sums[k] = min(sums[k]+f.FailedSessions, tlsrpt.MaxSessions)
		}
	}
	return sums
}

// mxName is a host's name, or nothing: what stands there may be any text.
func mxName(s string) string {
	name, err := mtasts.ParseDomain(s)
	if err != nil {
		return ""
	}
	return name
}

// failuresOf sums up the failures of a part by result type: of several policies the one
// with most counts (RFC 8460 §4: one session may stand under each).
func failuresOf(p *part) map[string]int64 {
	type key struct{ policyType, resultType string }
	sums := map[key]int64{}
	for k, n := range failureSums(p) {
		x := key{k.policyType, k.resultType}
		sums[x] = min(sums[x]+n, tlsrpt.MaxSessions)
	}
	most := map[string]int64{}
	for k, n := range sums {
		most[k.resultType] = max(most[k.resultType], n)
	}
	return most
}

func dayRows(sums map[dayKey]*daySum) [][]any {
	keys := slices.SortedFunc(maps.Keys(sums), func(a, b dayKey) int {
		return cmp.Or(strings.Compare(a.domain, b.domain), cmp.Compare(a.day, b.day), strings.Compare(a.submitter, b.submitter),
			cmp.Compare(a.authenticated, b.authenticated), strings.Compare(a.policyType, b.policyType), strings.Compare(a.policy, b.policy))
	})
	rows := make([][]any, 0, len(keys))
	for _, k := range keys {
		s := sums[k]
		rows = append(rows, []any{k.domain, k.day, k.submitter, k.authenticated, k.policyType, k.policy, s.reports, s.successful, s.failed})
	}
	return rows
}

func failureRows(sums map[failureKey]int64) [][]any {
	keys := slices.SortedFunc(maps.Keys(sums), func(a, b failureKey) int {
		return cmp.Or(strings.Compare(a.domain, b.domain), cmp.Compare(a.day, b.day), strings.Compare(a.submitter, b.submitter), cmp.Compare(a.authenticated, b.authenticated),
			strings.Compare(a.policyType, b.policyType), strings.Compare(a.resultType, b.resultType), strings.Compare(a.mx, b.mx))
	})
	rows := make([][]any, 0, len(keys))
	for _, k := range keys {
		rows = append(rows, []any{k.domain, k.day, k.submitter, k.authenticated, k.policyType, k.resultType, k.mx, sums[k]})
	}
	return rows
}
