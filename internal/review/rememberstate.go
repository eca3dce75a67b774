package review

import (
	"slices"
	"time"
)

func (m *memory) seeState(l *Look) {
	if !l.Known {
		if m.UnknownSince.IsZero() {
			m.UnknownSince = l.At
		}
		return
	}
	m.Looked, m.UnknownSince, m.OK = l.At, time.Time{}, m.good(l)
	switch {
	case l.TLSRPTUnseen:
	case !l.TLSRPT:
		m.TLSRPTSince = time.Time{}
	case m.TLSRPTSince.IsZero():
		m.TLSRPTSince = l.At
	}
	if l.MX != nil {
		m.seeMX(l)
	}
}

// good reports whether a look found no error, and none is open that it could not look for.
func (m *memory) good(l *Look) bool {
	return !slices.ContainsFunc(l.Problems, func(p Problem) bool { return p.Severity == Error }) &&
		!slices.ContainsFunc(m.rows, func(r *row) bool {
			return r.Closed.IsZero() && r.Severity == Error && slices.Contains(l.Unseen, r.Code)
		})
}

func (m *memory) seeMX(l *Look) {
	hosts := make([]string, 0, len(l.MX))
	for _, h := range l.MX[:min(len(l.MX), maxMXHosts)] {
		hosts = append(hosts, bounded(h, maxName))
	}
	if n := len(m.MX); n > 0 && slices.Equal(m.MX[n-1].Hosts, hosts) {
		return
	}
	m.changes.MX = len(m.MX) > 0
	m.MX = append(m.MX, MXSet{Since: l.At, Hosts: hosts})
	m.MX = m.MX[max(0, len(m.MX)-maxMXSets):]
}
