package dnsrecords

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// servers are the sockets that the zone answers on.
type servers struct {
	mu      sync.Mutex
	closed  bool
	sockets map[io.Closer]func() // how to have them end after what is under way
	callers callers
	serving sync.WaitGroup
}

// begin notes a socket that Shutdown ends by stop. It returns false after Shutdown.
func (s *servers) begin(socket io.Closer, stop func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.sockets == nil {
		s.sockets = map[io.Closer]func(){}
	}
	s.sockets[socket] = stop
	s.serving.Add(1)
	return true
}

func (s *servers) end(socket io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, socket)
	s.serving.Done()
}

func (s *servers) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *servers) open() int { return s.callers.count() }

// Shutdown ends all servers, after the questions under way. When ctx is done it cuts off
// what is left, and returns the reason.
func (z *Zone) Shutdown(ctx context.Context) error {
	s := &z.servers
	s.mu.Lock()
	s.closed = true
	for _, stop := range s.sockets {
		stop()
	}
	s.mu.Unlock()
	s.callers.finish()
	done := make(chan struct{})
	go func() {
		s.serving.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.callers.hangUp()
		s.mu.Lock()
		for socket := range s.sockets {
			socket.Close()
		}
		s.mu.Unlock()
		return ctx.Err()
	}
}

// aLongTimeAgo ends what waits to read.
var aLongTimeAgo = time.Unix(1, 0)

// ServeUDP answers questions on p until Shutdown, and then returns nil. It closes p.
// Answers leave from the address that was asked, also where p is bound to all of them.
func (z *Zone) ServeUDP(p net.PacketConn) error {
	defer p.Close()
	if !z.servers.begin(p, func() { _ = p.SetReadDeadline(aLongTimeAgo) }) {
		return nil
	}
	defer z.servers.end(p)
	read := readFrom
	if u, ok := p.(*net.UDPConn); ok && tellsDestination(u) {
		read = readSession
	}
	// Whoever reads answers: an answer waits for nothing, and nothing piles up.
	errs := make(chan error)
	n := max(2, runtime.GOMAXPROCS(0))
	for range n {
		go func() { errs <- z.answerDatagrams(p, read) }()
	}
	var err error
	for range n {
		if e := <-errs; e != nil && err == nil {
			err = e
			p.Close() // or the others would go on
		}
	}
	return err
}

// passingErrors are how many errors of a socket in a row are put up with.
const passingErrors = 100

// answerDatagrams answers until p is closed, or breaks.
func (z *Zone) answerDatagrams(p net.PacketConn, read reader) error {
	question, answer := make([]byte, maxUDP), make([]byte, maxUDP)
	for failed := 0; ; {
		n, from, reply, err := read(p, question)
		switch {
		case err == nil:
			failed = 0
		case z.servers.isClosed() || errors.Is(err, net.ErrClosed):
			return nil
		case failed >= passingErrors:
			return err
		default: // a message of the network about an earlier answer, or a lack of memory
			failed++
			time.Sleep(time.Millisecond)
			continue
		}
		if out := z.respond(answer, question[:n], from, true); out != nil {
			reply(out)
		}
	}
}

// reader reads a datagram. What is replied goes to where it came from; whether it comes
// there is nobody's concern.
type reader func(p net.PacketConn, buf []byte) (n int, from netip.Addr, reply func([]byte), err error)

func readFrom(p net.PacketConn, buf []byte) (int, netip.Addr, func([]byte), error) {
	n, from, err := p.ReadFrom(buf)
	if err != nil {
		return 0, netip.Addr{}, nil, err
	}
	return n, addrOf(from), func(out []byte) { _, _ = p.WriteTo(out, from) }, nil
}

func readSession(p net.PacketConn, buf []byte) (int, netip.Addr, func([]byte), error) {
	u := p.(*net.UDPConn)
	n, session, err := dns.ReadFromSessionUDP(u, buf)
	if err != nil {
		return 0, netip.Addr{}, nil, err
	}
	return n, addrOf(session.RemoteAddr()), func(out []byte) { _, _ = dns.WriteToSessionUDP(u, out, session) }, nil
}

// tellsDestination has u tell to which of our addresses a datagram came.
func tellsDestination(u *net.UDPConn) bool {
	err6 := ipv6.NewPacketConn(u).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	err4 := ipv4.NewPacketConn(u).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	return err6 == nil || err4 == nil
}

// addrOf is the address in a.
func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// isPassing reports whether an error of Accept says something of this moment, and not of
// the listener.
func isPassing(err error) bool {
	for _, e := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
