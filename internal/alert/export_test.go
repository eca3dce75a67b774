package alert

import (
	"context"
	"net"
)

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

// Elsewhere has the server, which is here, look as if it were another machine.
func (m *Mail) Elsewhere() {
	dial := m.dial
	m.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return elsewhere{conn}, nil
	}
}

type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }
