package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// attack is what one kind of attackers does.
type attack struct {
	name      string
	attackers int                   // at a time
	addresses int                   // that they come from
	felt      string                // a metric of the server that is 0 where the attack does not come through
	run       func(*attacker) error // one connection; after its end the attacker makes the next
}

// Who holds connections comes with more of them than there are places, from so many
// addresses that none of them has more than its share. Who says all that he can say comes
// a few dozen times, which is more than two processors can hear. They come at a rate at
// which the server can take them in: where the system's queue (net.core.somaxconn, 4096)
// is full, it drops whoever comes, who tries again after a second and after three.
var (
	manyAttackers = hostileScale(hostileManyAttackers)
	someAttackers = hostileScale(1_000)
	attackersRate = min(2_000, hostileScale(4_000)) // in a second
	manyAddresses = hostileScale(400)               // 25 many attackers at each
)

const fastAttackers = 64

// The metrics by which attacks are felt.
const (
	feltEvicted = `mtasts_connections_total{verdict="evicted"}`
	feltShare   = `mtasts_connections_total{verdict="too_many_per_address"}`
	feltFailed  = `mtasts_tls_handshakes_total{result="failed"}`
	feltUnknown = `mtasts_tls_handshakes_total{result="unrecognized_name"}`
	feltFull    = `mtasts_tls_handshakes_total{result="full"}`
)

// attacks are all of them. The first is the calm to compare with.
var attacks = []attack{
	{"none", 0, 1, feltFull, nil},
	{"silent after connect", manyAttackers, manyAddresses, feltEvicted, (*attacker).hold},
	{"silent from one address", 1_000, 1, feltShare, (*attacker).hold},
	{"slow ClientHello", someAttackers, manyAddresses, feltFailed, slowHello},
	{"slow header", someAttackers, manyAddresses, feltFull, slowHeader},
	{"half handshakes, held", manyAttackers, manyAddresses, feltEvicted, halfHandshake},
	{"half handshakes, without pause", fastAttackers, manyAddresses, feltFailed, hellos},
	{"endless ClientHello", someAttackers, manyAddresses, feltFailed, endlessHello},
	{"unknown server names", fastAttackers, manyAddresses, feltUnknown, unknownName},
	{"full handshakes", fastAttackers, manyAddresses, feltFull, handshakes},
	{"idle after a request, HTTP/1.1", manyAttackers, manyAddresses, feltEvicted, idle},
	{"idle after a request, HTTP/2", manyAttackers, manyAddresses, feltEvicted, idle2},
	{"connect and reset", fastAttackers, manyAddresses, feltFailed, scan},
	{"garbage for TLS", fastAttackers, manyAddresses, feltFailed, garbage},
	{"garbage in TLS", fastAttackers, manyAddresses, feltFull, garbageInside},
	{"endless header", fastAttackers, manyAddresses, feltFull, endlessHeader},
	{"requests, answers not read", fastAttackers, manyAddresses, feltFull, deaf},
	{"HTTP/2 rapid reset", fastAttackers, manyAddresses, feltFull, rapidReset},
	{"HTTP/2 CONTINUATION flood", fastAttackers, manyAddresses, feltFull, continuations},
	{"HTTP/2 SETTINGS and PING flood", fastAttackers, manyAddresses, feltFull, settingsAndPings},
	{"HTTP/2 tiny windows", someAttackers, manyAddresses, feltFull, tinyWindows},
}

// slowHello sends a ClientHello, for which it would need minutes.
func slowHello(a *attacker) error {
	return a.trickle(a.conn, a.hello)
}

func slowHeader(a *attacker) error {
	c, err := a.shake("http/1.1")
	if err != nil {
		return err
	}
	return a.trickle(c, request(a.order.Host, "X-Slow: ", strings.Repeat("x", 4000)))
}

// halfHandshake has the server compute its flight, and never answers it.
func halfHandshake(a *attacker) error {
	if _, err := a.conn.Write(a.hello); err != nil {
		return err
	}
	return a.hold()
}

// hellos has the server compute its flight, and begins anew when it comes.
func hellos(a *attacker) error {
	if _, err := a.conn.Write(a.hello); err != nil {
		return err
	}
	_, err := io.ReadFull(a.conn, make([]byte, 100))
	return err
}

// endlessHello sends most of the largest ClientHello that there may be.
func endlessHello(a *attacker) error {
	const record = 16 << 10
	fragment := make([]byte, record)
	copy(fragment, []byte{1, 0, 0xff, 0xff})
	for range 3 {
		if _, err := a.conn.Write(append([]byte{22, 3, 1, record >> 8, 0}, fragment...)); err != nil {
			return err
		}
		clear(fragment)
	}
	return a.hold()
}

// unknownName asks for a host that nobody serves, each time another.
func unknownName(a *attacker) error {
	if _, err := a.conn.Write(clientHello(fmt.Sprintf("mta-sts.%s.example", rand.Text()))); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, a.conn)
	return err
}

// idle makes one good request, and keeps the connection. Whom the server evicts does not
// come again.
func idle(a *attacker) error {
	c, err := a.shake("http/1.1")
	if err != nil {
		return err
	}
	if _, err := c.Write(request(a.order.Host)); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	res.Body.Close()
	_ = a.hold()
	<-a.ctx.Done()
	return nil
}

// scan connects and resets.
func scan(a *attacker) error {
	return a.conn.(*net.TCPConn).SetLinger(0)
}

// handshakes computes whole handshakes, as fast as they come.
func handshakes(a *attacker) error {
	_, err := a.shake("http/1.1")
	return err
}

// garbage sends what looks like a record of a handshake, or does not even do that.
func garbage(a *attacker) error {
	b := make([]byte, 4096)
	_, _ = rand.Read(b) // never fails
	if b[0]%2 == 0 {
		copy(b, []byte{22, 3, 1, 8, 0, 1, 0, 7, 0xfc})
	}
	if _, err := a.conn.Write(b); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, a.conn)
	return err
}

func garbageInside(a *attacker) error {
	b := make([]byte, 4096)
	_, _ = rand.Read(b) // never fails
	proto := []string{"http/1.1", "h2"}[b[0]%2]
	c, err := a.shake(proto)
	if err != nil {
		return err
	}
	if _, err := c.Write(b); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c)
	return err
}

// endlessHeader sends a header that does not end.
func endlessHeader(a *attacker) error {
	c, err := a.shake("http/1.1")
	if err != nil {
		return err
	}
	line := []byte("X-Big: " + strings.Repeat("x", 8000) + "\r\n")
	for _, err = c.Write(bytes.TrimSuffix(request(a.order.Host), []byte("\r\n"))); err == nil; {
		_, err = c.Write(line)
	}
	return err
}

// deaf asks and asks and reads no answer, until the server does not take in more.
func deaf(a *attacker) error {
	c, err := a.shake("http/1.1")
	if err != nil {
		return err
	}
	a.ready()
	for requests := bytes.Repeat(request(a.order.Host), 100); err == nil; {
		_, err = c.Write(requests)
	}
	return err
}
