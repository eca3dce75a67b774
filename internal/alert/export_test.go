package alert

import "context"

// Step does what Run does when it is woken, once.
func (s *Sender) Step(ctx context.Context) error {
	if err := s.plan(ctx); err != nil {
		return err
	}
	for _, c := range s.channels {
		if err := s.deliver(ctx, c); err != nil {
			return err
		}
	}
	return nil
}
