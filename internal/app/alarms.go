package app

import (
	"context"
	"maps"
	"slices"
	"strings"

	"mtasts-server/config"
	"mtasts-server/internal/alert"
	"mtasts-server/internal/rollout"
)

// alarmsOf are what somebody has to look at now, by evidence; and the end of what was.
func (s *steward) alarmsOf(x *judged) []alert.Alert {
	var list []alert.Alert
	now := map[string]bool{}
	for _, a := range x.verdict.Alarms {
		if toldByReview(x.verdict, a.Code) {
			continue
		}
		now[a.Code] = true
		one := alert.Alert{
			Key: alarmKey(x.domain.Name, a.Code), Domain: x.domain.Name, Code: a.Code, Severity: alert.Error, Title: a.Text, Text: a.Text,
			Urgent: x.verdict.Step == rollout.EnforceShort || x.verdict.Step == rollout.EnforceLong, Owner: x.domain.Owners.Policy,
			Fix: "run: mtasts-server rollout " + x.domain.Name + ", and mtasts-server reports summary " + x.domain.Name,
		}
		if a.Code == rollout.GateMXAllowed && x.gates.Followed(x.facts, s.now()) { // as plan-mx has it
			one.Severity, one.Urgent = alert.Warning, false
		}
		list = append(list, one)
	}
	for _, code := range s.told(x.domain.Name, now) {
		list = append(list, alert.Alert{Key: alarmKey(x.domain.Name, code), Domain: x.domain.Name, Code: code, Closed: true})
	}
	return list
}

const alarmKeys = "rollout/" // before the domain and the code

func alarmKey(domain, code string) string { return alarmKeys + domain + "/" + code }

// recall finds out what people were told of before this process began.
func (s *steward) recall(ctx context.Context) error {
	s.mu.Lock()
	known := s.alarms != nil
	s.mu.Unlock()
	if known {
		return nil
	}
	keys, err := s.open(ctx, alarmKeys)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alarms = map[string]map[string]bool{}
	for _, key := range keys {
		domain, code, ok := strings.Cut(strings.TrimPrefix(key, alarmKeys), "/")
		if !ok {
			continue // of the rollout itself
		}
		if s.alarms[domain] == nil {
			s.alarms[domain] = map[string]bool{}
		}
		s.alarms[domain][code] = true
	}
	return nil
}

// alert tells people. Where that fails, what they were told of is looked up the next time:
// the end of an alarm is raised once.
func (s *steward) alert(alarms []alert.Alert) {
	if s.raise(alarms) != nil {
		s.unsure()
	}
}

// unsure forgets what people were told of.
func (s *steward) unsure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alarms = nil
}

// alarmed are the domains that people were told of.
func (s *steward) alarmed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.alarms))
}

// left ends the alarms of domains that are not among these.
func (s *steward) left(domains []*config.Domain) (list []alert.Alert) {
	there := make(map[string]bool, len(domains))
	for _, d := range domains {
		there[d.Name] = true
	}
	for _, domain := range s.alarmed() {
		if there[domain] {
			continue
		}
		for _, code := range s.told(domain, nil) {
			list = append(list, alert.Alert{Key: alarmKey(domain, code), Domain: domain, Code: code, Closed: true})
		}
	}
	return list
}

// told notes which alarms a domain has now, and returns those that it had before.
func (s *steward) told(domain string, now map[string]bool) (over []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for code := range s.alarms[domain] {
		if !now[code] {
			over = append(over, code)
		}
	}
	if len(now) == 0 {
		delete(s.alarms, domain)
	} else {
		s.alarms[domain] = now
	}
	return over
}
