package app

import (
	"context"
	"strings"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/config"
	"mtasts-server/mtasts"
)

// adopt finds out what DNS announces of domains that the ledger does not know: it is lost,
// and what was served must not become milder for that.
func (s *steward) adopt(ctx context.Context, known map[string]*config.Domain, unknown []string) {
	for _, d := range pick(known, unknown) {
		found, err := s.announced(ctx, d)
		if err != nil {
			s.log.Warn("DNS does not say what was announced of a domain", "domain", d.Name, "err", err)
			continue
		}
		if found.enforces() {
			s.log.Warn("the ledger knows nothing of a domain, and DNS announces that it enforces: so it does", "domain", d.Name)
		}
		s.stager.learn(d.Name, found)
	}
}

// announced returns the stage that the record in DNS has the id of; zero for none of ours.
func (s *steward) announced(ctx context.Context, d *config.Domain) (stage, error) {
	answer, err := s.resolver.Lookup(ctx, mtasts.RecordName(d.Name), dns.TypeTXT)
	if err != nil {
		return stage{}, err
	}
	var texts []string
	for _, rr := range answer.Records {
		if txt, ok := rr.(*dns.TXT); ok {
			texts = append(texts, strings.Join(txt.Txt, ""))
		}
	}
	record, err := mtasts.SelectRecord(texts)
	if err != nil {
		return stage{}, nil // nothing that senders would see
	}
	if e, ok := s.judge.ledger.Lookup(d.Name); ok {
		for _, v := range s.judge.ledger.Versions(d.Name) {
			if v.ID == record.ID { // nothing is lost of it
				return stage{e.Mode, e.MaxAge}, nil
			}
		}
	}
	policy := d.Policy()
	gates, _ := gatesOf(d.Plan)
	age := time.Duration(policy.MaxAge) * time.Second
	stages := []stage{{policy.Mode, age}, firstStage, {mtasts.ModeTesting, age}}
	for _, r := range gates.Ladder {
		stages = append(stages, stage{mtasts.ModeEnforce, r.MaxAge}, stage{mtasts.ModeTesting, r.MaxAge})
	}
	for _, x := range stages {
		if variant(d, policy, x).ID == record.ID {
			return x, nil
		}
	}
	// Another policy was announced, and nobody knows how strict it was.
	return stage{policy.Mode, age}, nil
}
