package app

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"mtasts-server/config"
	"mtasts-server/mtasts"
)

const (
	// adoptAtOnce is how many domains DNS is asked about at a time.
	adoptAtOnce = 32

	// adoptInVain is after how many of them, with no answer among them, DNS counts as dead.
	adoptInVain = 100
)

// adopt finds out what DNS announces of domains that the ledger does not know: it is lost,
// and what was served must not become milder for that.
func (s *steward) adopt(ctx context.Context, known map[string]*config.Domain, unknown []string) {
	domains := pick(known, unknown)
	rand.Shuffle(len(domains), func(i, j int) { domains[i], domains[j] = domains[j], domains[i] }) // those that never answer hold up nobody
	var mu sync.Mutex
	var answered, enforcing int
	failed := map[string]error{}
	var eg errgroup.Group
	eg.SetLimit(adoptAtOnce)
	for _, d := range domains {
		mu.Lock()
		dead := answered == 0 && len(failed) >= adoptInVain
		mu.Unlock()
		if dead || ctx.Err() != nil {
			break
		}
		eg.Go(func() error {
			found, err := s.announced(ctx, d)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[d.Name] = err
				return nil
			}
			answered++
			if found.enforces() {
				enforcing++
			}
			s.stager.learn(d.Name, found)
			return nil
		})
	}
	_ = eg.Wait() // no error ends the others
	if enforcing > 0 {
		s.log.Warn("the ledger knows nothing of domains of which it was announced that they enforce: so they do", "domains", enforcing)
	}
	for name, err := range failed {
		s.log.Warn("nobody says yet what was announced of domains; they are not served before that is known", "domains", len(domains)-answered, "one", name, "err", err)
		break
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
	if err != nil { // nothing that senders would see
		return s.reported(ctx, d)
	}
	if e, ok := s.judge.ledger.Lookup(d.Name); ok {
		for _, v := range s.judge.ledger.Versions(d.Name) {
			if v.ID == record.ID { // nothing is lost of it
				return stage{e.Mode, e.MaxAge}, nil
			}
		}
	}
	for _, x := range stagesOf(d) {
		if variant(d, d.Policy(), x).ID == record.ID {
			return x, nil
		}
	}
	// Another policy was announced, and nobody knows how strict it was.
	return tableStage(d), nil
}

// tableStage is what the table of d says.
func tableStage(d *config.Domain) stage {
	policy := d.Policy()
	return stage{policy.Mode, time.Duration(policy.MaxAge) * time.Second}
}

// stagesOf are those that may have been served of d.
func stagesOf(d *config.Domain) []stage {
	goal := tableStage(d)
	stages := []stage{goal, firstStage, {mtasts.ModeTesting, goal.maxAge}}
	gates, _ := gatesOf(d.Plan)
	for _, r := range gates.Ladder {
		stages = append(stages, stage{mtasts.ModeEnforce, r.MaxAge}, stage{mtasts.ModeTesting, r.MaxAge})
	}
	return stages
}

// reported returns the strictest stage that known reporters saw, and that senders may hold
// still; zero for none. A zone of ours, and its files, lose the record with the ledger.
func (s *steward) reported(ctx context.Context, d *config.Domain) (found stage, err error) {
	if s.judge.reports == nil {
		return stage{}, nil
	}
	now := s.now()
	facts, err := s.judge.reports.Facts(ctx, d.Name, now.Add(-mtasts.MaxMaxAge*time.Second), now)
	if err != nil {
		return stage{}, err
	}
	byID := map[string]stage{}
	for _, x := range stagesOf(d) {
		byID[variant(d, d.Policy(), x).ID] = x
	}
	for _, r := range facts.Days {
		x, ours := byID[r.Policy]
		if ours && r.Authenticated && now.Before(r.Day.Add(24*time.Hour+x.maxAge)) {
			found = stricter(found, x)
		}
	}
	return found, nil
}
