package review

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"mtasts-server/internal/database"
)

// State returns what is remembered of a domain; of one that was never looked at its name.
func (s *Store) State(ctx context.Context, domain string) (State, error) {
	all, err := s.States(ctx, []string{domain})
	if err != nil {
		return State{}, err
	}
	if state, ok := all[domain]; ok {
		return state, nil
	}
	return State{Domain: domain}, nil
}

// States returns what is remembered of domains.
func (s *Store) States(ctx context.Context, domains []string) (map[string]State, error) {
	all := make(map[string]State, len(domains))
	for group := range slices.Chunk(domains, atOnce) {
		args := make([]any, len(group))
		for i, d := range group {
			args[i] = d
		}
		list, err := s.states(ctx, "SELECT "+stateColumns+" FROM review_domains WHERE domain IN ("+marks(len(args))+")", args...)
		if err != nil {
			return nil, err
		}
		for _, state := range list {
			all[state.Domain] = state.State
		}
	}
	return all, nil
}

func (s *Store) states(ctx context.Context, query string, args ...any) ([]*memory, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	list, err := database.List(ctx, s.db, s.db, func(rows *sql.Rows) (*memory, error) {
		m, _, err := scanState(rows)
		return m, err
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("review: reading states: %w", err)
	}
	return list, nil
}
