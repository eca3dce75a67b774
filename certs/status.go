package certs

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// State says in one word how a host is.
type State string

// The states.
const (
	StateOK      State = "ok"      // a valid certificate is handed out, and the last attempt went well
	StatePending State = "pending" // there is no certificate yet, and nothing went wrong yet
	StateFailing State = "failing" // the last attempt failed, or what is handed out has expired
)

// HostStatus tells of one host.
type HostStatus struct {
	Host        string
	Source      Source    // where its certificate comes from
	Issuer      string    // who issued the certificate at hand, as the source names it
	NotAfter    time.Time // when the certificate at hand expires; zero: there is none
	NextAttempt time.Time // when the next order is due; zero: none is planned, or one is under way
	Failures    int       // orders that failed one after the other
	Held        bool      // preflight holds orders back; NextAttempt is when it looks again
	LastError   string    // of the last attempt; parts are from outside, made safe to print
	State       State
}

// Summary counts hosts. A host whose renewal fails while its certificate is
// still good counts as Ready and as Failing.
type Summary struct {
	Hosts          int
	Ready          int       // hand out a certificate that has not expired
	Pending        int       // have none, and nothing went wrong yet
	Failing        int       // the last attempt failed, or the certificate has expired
	EarliestExpiry time.Time // of the certificates at hand; zero: there are none
	Expired        int       // of the certificates at hand
	Early          int       // of the certificates at hand: not valid yet, by more than clocks differ

	Waiting int       // orders that are due and wait for a slot or for the CA's budget
	ETA     time.Time // when the last of them will have begun, by that budget; zero: soon
}

// maxEarly is by how much clocks may differ: CAs date certificates back by an hour.
const maxEarly = time.Hour

// WrongClock says why the clock seems to be wrong, "" where it does not: all certificates
// at hand have expired, or are not valid yet.
func (s Summary) WrongClock() string {
	switch atHand := s.Ready + s.Expired; {
	case atHand == 0:
	case s.Expired == atHand:
		return "every certificate has expired"
	case s.Early == atHand:
		return "no certificate is valid yet"
	}
	return ""
}

// Status tells of every host, in the order of their names.
func (m *Manager) Status() []HostStatus {
	t := *m.hosts.Load()
	all := make([]HostStatus, 0, len(t))
	now := m.o.Now()
	for _, s := range t {
		all = append(all, HostStatus{Host: s.host, Source: m.o.Source})
	}
	m.tell(all)
	for i := range all {
		h := &all[i]
		if c := t[h.Host].cert.Load(); c != nil {
			h.Issuer, h.NotAfter = c.issuer, c.notAfter()
		}
		h.State = state(h.NotAfter, now, h.LastError != "" && (m.files == nil || !h.NotAfter.IsZero()))
	}
	slices.SortFunc(all, func(a, b HostStatus) int { return strings.Compare(a.Host, b.Host) })
	return all
}

// tell fills in what the scheduler, or the directory of files, knows.
func (m *Manager) tell(all []HostStatus) {
	if m.files != nil {
		for i := range all {
			all[i].LastError = m.files.problem(all[i].Host)
		}
		return
	}
	m.sched.mu.Lock()
	defer m.sched.mu.Unlock()
	for i := range all {
		h := &all[i]
		t := m.sched.tasks[h.Host]
		if t == nil {
			continue // it comes or goes just now
		}
		h.Failures, h.Held, h.LastError = t.failures, t.held > 0, cmp.Or(t.finding, t.lastError)
		switch {
		case t.cancel != nil: // under way
		case t.failures > 0 || t.held > 0 || !t.looked:
			h.NextAttempt = t.retryAt.time()
		case t.cert:
			h.NextAttempt = t.renewAt.time()
		}
	}
}

// state sums up a host.
func state(notAfter, now time.Time, failed bool) State {
	switch {
	case failed, !notAfter.IsZero() && !now.Before(notAfter):
		return StateFailing
	case notAfter.IsZero():
		return StatePending
	}
	return StateOK
}

// Summary counts the hosts in one pass over them: a millisecond or two for
// 100,000.
func (m *Manager) Summary() Summary {
	t := *m.hosts.Load()
	now := m.o.Now()
	sum := Summary{Hosts: len(t)}
	failed := m.failed()
	for host, s := range t {
		var notAfter time.Time
		if c := s.cert.Load(); c != nil {
			notAfter = c.notAfter()
			if sum.EarliestExpiry.IsZero() || notAfter.Before(sum.EarliestExpiry) {
				sum.EarliestExpiry = notAfter
			}
			switch {
			case c.expired(now):
				sum.Expired++
			case c.notBefore().After(now.Add(maxEarly)):
				sum.Early++
				sum.Ready++
			default:
				sum.Ready++
			}
		}
		switch state(notAfter, now, failed[host]) {
		case StateFailing:
			sum.Failing++
		case StatePending:
			sum.Pending++
		}
	}
	if m.sched != nil {
		sum.Waiting, sum.ETA = m.sched.queue(now)
	}
	return sum
}

// failed is the set of hosts whose last attempt failed.
func (m *Manager) failed() map[string]bool {
	failed := map[string]bool{}
	if m.files != nil {
		for host, s := range *m.hosts.Load() {
			if s.cert.Load() != nil && m.files.problem(host) != "" {
				failed[host] = true
			}
		}
		return failed
	}
	m.sched.mu.Lock()
	defer m.sched.mu.Unlock()
	for host, t := range m.sched.tasks {
		if t.finding != "" || t.lastError != "" {
			failed[host] = true
		}
	}
	return failed
}
