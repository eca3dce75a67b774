package policyserve

import (
	"cmp"
	"runtime"
	"time"
)

// DefaultConnections is the default of Limits.Connections: as many as a process of 256 MiB
// has room for, whatever strangers do with them (docs/performance.md).
const DefaultConnections = 2560

// Limits bound what strangers can take. Zero stands for the default.
type Limits struct {
	// Connections open at a time, on all listeners together. The default is
	// DefaultConnections.
	Connections int

	// ConnectionsPerAddress open at a time, per IPv4 address or IPv6 /64. The
	// default is 256: large senders fetch from many addresses, and one fetch is
	// over in a fraction of a second.
	ConnectionsPerAddress int

	// Handshakes being computed at a time. The default is four per processor:
	// more only make all of them late. The others wait in turn.
	Handshakes int

	// HeaderBytes of a request; the default is 8 KiB, many times what senders send.
	HeaderBytes int

	// HandshakeTimeout from the first byte to the end of the handshake, the PROXY
	// header included. The default is 10 s: what a slow link needs.
	HandshakeTimeout time.Duration

	// HeaderTimeout for a request's header. The default is 5 s.
	HeaderTimeout time.Duration

	// WriteTimeout for an answer, which is smaller than any socket's buffer. The
	// default is 10 s.
	WriteTimeout time.Duration

	// IdleTimeout until the next request. The default is 30 s: senders ask once.
	IdleTimeout time.Duration
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Connections:           cmp.Or(l.Connections, DefaultConnections),
		ConnectionsPerAddress: cmp.Or(l.ConnectionsPerAddress, 256),
		Handshakes:            cmp.Or(l.Handshakes, 4*runtime.GOMAXPROCS(0)),
		HeaderBytes:           cmp.Or(l.HeaderBytes, 8<<10),
		HandshakeTimeout:      cmp.Or(l.HandshakeTimeout, 10*time.Second),
		HeaderTimeout:         cmp.Or(l.HeaderTimeout, 5*time.Second),
		WriteTimeout:          cmp.Or(l.WriteTimeout, 10*time.Second),
		IdleTimeout:           cmp.Or(l.IdleTimeout, 30*time.Second),
	}
}

const (
	// mostEarly is how many bytes may come before the first request: the largest
	// ClientHello in use has about 2 KiB, and may have to be said twice. crypto/tls
	// would keep 64 KiB of one that does not end.
	mostEarly = 16 << 10

	// http2Streams at a time on one connection. Senders use one. Each takes 12 KiB
	// for as long as the client has no window for the answer; and a flood of streams
	// that are reset at once (CVE-2023-44487) has this many to play with.
	http2Streams = 4

	// wordsInARow are read from a connection, requests or HTTP/2 frames, before others
	// may run. Whoever asks and asks would keep a processor for 10 ms at a time, and a
	// thousand of them would have a sender wait for seconds.
	wordsInARow = 8

	// http2Frame bounds what is read at once; policy fetches have no body.
	http2Frame = 16 << 10

	// http2Window is how much of its bodies a connection may send before they are read:
	// net/http keeps that much for it, and takes no less. Its own choice is 1 MiB, 8 GiB for
	// all connections. At 200 ms to the client 10 MiB take half a minute.
	http2Window = 64 << 10

	// partingTimeout is how long the last write may take.
	partingTimeout = time.Second

	// freshGrace is how long a stop waits for who has connected and not yet asked.
	freshGrace = time.Second
)
