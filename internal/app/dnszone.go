package app

import (
	"context"
	"net"
	"net/netip"
	"sync"
)

// splitTarget tells addresses from a name.
func splitTarget(target []string) (addrs []netip.Addr, name string) {
	for _, t := range target {
		if addr, err := netip.ParseAddr(t); err == nil {
			addrs = append(addrs, addr)
		} else {
			name = t
		}
	}
	return addrs, name
}

// serveZone answers for the zone until ctx is done.
func (a *announcer) serveZone(ctx context.Context) {
	if a.zone == nil {
		return
	}
	var serving sync.WaitGroup
	for _, addr := range a.settings.Zone.Listen {
		serving.Go(func() { a.keepServing(ctx, addr, a.serveUDP) })
		serving.Go(func() { a.keepServing(ctx, addr, a.serveTCP) })
	}
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor/2)
	defer cancel()
	if err := a.zone.Shutdown(stop); err != nil {
		a.log.Warn("some questions to the zone were cut off", "err", err)
	}
	serving.Wait()
}

func (a *announcer) keepServing(ctx context.Context, addr string, serve func(context.Context, string) error) {
	keepServing(ctx, func() error { return serve(ctx, addr) }, func(err error) {
		a.log.Error("the zone is not served at an address; policies are", "address", addr, "err", err)
	})
}

func (a *announcer) serveUDP(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	p, err := lc.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return err
	}
	return a.zone.ServeUDP(p)
}

func (a *announcer) serveTCP(ctx context.Context, addr string) error {
	lc := shortLived()
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return a.zone.ServeTCP(l)
}
