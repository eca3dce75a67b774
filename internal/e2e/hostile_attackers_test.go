package e2e_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The attackers are a process of their own, this test program started once more: their
// thousands of goroutines and files must not slow the good senders down.

// hostileEnv tells that process whom to attack, and how.
const hostileEnv = "MTASTS_HOSTILE_ORDER"

// hostileOrder is what hostileEnv holds.
type hostileOrder struct {
	Attack       string
	Attackers    int    // at a time
	Server, Host string // its address, and a policy host that it serves
}

// attackers is that process as the test sees it.
type attackers struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

func startAttackers(t *testing.T, o hostileOrder) *attackers {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	x := &attackers{t: t, cmd: exec.Command(os.Args[0], "-test.run=^TestHostileAttackers$")}
	x.cmd.Env, x.cmd.Stderr = append(programEnv(), hostileEnv+"="+string(text)), os.Stderr
	stdin, err := x.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := x.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.cmd.Process.Kill() }) // most often it is gone already
	x.stdin, x.out = stdin, bufio.NewReader(stdout)
	return x
}

// awaitReady waits until each attacker has come to where he wants to be.
func (x *attackers) awaitReady() {
	x.t.Helper()
	if line, err := x.out.ReadString('\n'); line != "ready\n" {
		x.t.Errorf("the attackers do not get ready: %q, %v", line, err)
	}
}

// stop ends the attack and returns how many connections it made.
func (x *attackers) stop() (opened int64) {
	x.t.Helper()
	x.stdin.Close()
	text, err := io.ReadAll(x.out)
	if err == nil {
		_, err = fmt.Sscanf(string(text), "opened %d\n", &opened)
	}
	if err := errors.Join(err, x.cmd.Wait()); err != nil {
		x.t.Errorf("the attackers: %v: %s", err, text)
	}
	return opened
}

// TestHostileAttackers is the process of the attackers. It attacks until its standard
// input ends.
func TestHostileAttackers(t *testing.T) {
	text := os.Getenv(hostileEnv)
	if text == "" {
		t.Skip("TestHostile starts it")
	}
	var o hostileOrder
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	attacks := slices.Concat(attacks, reportAttacks)
	i := slices.IndexFunc(attacks, func(a attack) bool { return a.name == o.Attack })
	if i < 0 {
		t.Fatalf("nobody knows the attack %q", o.Attack)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	hello := clientHello(o.Host)
	var opened atomic.Int64
	var all, ready sync.WaitGroup
	begin := time.Now()
	for n := range o.Attackers {
		time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / time.Duration(attackersRate))))
		source := n % attacks[i].addresses
		a := &attacker{
			t: t, ctx: ctx, order: o, hello: hello, opened: &opened,
			source: &net.TCPAddr{IP: net.IPv4(127, 1, byte(source/250), byte(1+source%250))},
		}
		ready.Add(1)
		a.ready = sync.OnceFunc(ready.Done)
		all.Go(func() { a.loop(attacks[i].run) })
	}
	ready.Wait()
	fmt.Println("ready")
	all.Wait()
	fmt.Printf("opened %d\n", opened.Load())
}

// attacker makes connections, one at a time.
type attacker struct {
	t      *testing.T
	ctx    context.Context
	order  hostileOrder
	source *net.TCPAddr
	hello  []byte // a good one
	opened *atomic.Int64
	ready  func()

	conn net.Conn
}

// loop attacks until the end.
func (a *attacker) loop(run func(*attacker) error) {
	defer a.ready()
	for a.ctx.Err() == nil {
		stop := func() bool { return true }
		err := a.dial()
		if err == nil {
			stop = context.AfterFunc(a.ctx, func() { a.conn.Close() })
			err = run(a)
			a.conn.Close()
		}
		stop()
		a.ready()
		if a.order.Attackers > fastAttackers {
			a.rest()
		}
		switch { // all other errors are the server's defence
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.EADDRNOTAVAIL):
			a.t.Errorf("the attack is not what it should be: %v", err)
			return
		}
	}
}

// rest is the pause of who lost his place and is one of many. Where they all come again at
// once the system's own queue, of 4096, overflows: 10,000 take more than a server has to say
// about.
func (a *attacker) rest() {
	select {
	case <-time.After(time.Second):
	case <-a.ctx.Done():
	}
}

// dial makes a new connection.
func (a *attacker) dial() (err error) {
	d := net.Dialer{LocalAddr: a.source, KeepAlive: -1}
	a.conn, err = d.DialContext(a.ctx, "tcp", a.order.Server)
	if err == nil {
		a.opened.Add(1)
	}
	return err
}

// shake makes a handshake, as cheap as can be.
func (a *attacker) shake(proto string) (*tls.Conn, error) {
	c := tls.Client(a.conn, &tls.Config{
		ServerName: a.order.Host, InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}, NextProtos: []string{proto},
	})
	return c, c.HandshakeContext(a.ctx)
}

// hold keeps the connection until the server ends it, or the attack is over.
func (a *attacker) hold() error {
	a.ready()
	_, err := io.Copy(io.Discard, a.conn)
	return err
}

// trickle writes text without haste, and then no more.
func (a *attacker) trickle(w io.Writer, text []byte) error {
	a.ready()
	for tick := time.NewTicker(100 * time.Millisecond); len(text) > 0; text = text[1:] {
		if _, err := w.Write(text[:1]); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-a.ctx.Done():
			return nil
		}
	}
	return a.hold()
}

// request is what a sender asks, of whatever host.
func request(host string, headers ...string) []byte {
	return []byte("GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(headers, "") + "\r\n")
}

// clientHello is the first message of a client that asks for host. It may be sent again
// and again, as whoever sends it computes nothing.
func clientHello(host string) []byte {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: host}).Handshake() // never gets an answer
		client.Close()
	}()
	b := make([]byte, 16<<10)
	n, err := server.Read(b)
	if err != nil {
		panic(err) // a pipe to ourselves
	}
	return b[:n]
}
