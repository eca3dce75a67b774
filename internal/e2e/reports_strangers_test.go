package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"mtasts-server/tlsrpt"
)

// Strangers who bring reports, without end.

// fewBringers is how many strangers come at a time where it is not said. In make drill there
// are more than there are places.
const fewBringers = 2_000

func bringers(t *testing.T) int {
	return min(drillCount(t, "MTASTS_REPORT_STRANGERS", fewBringers), manyAttackers)
}

// reportAttacks are attacks on the ways in for reports. The number of attackers is that of
// the test where it is 0; those who say all they can are fewer, as in TestHostile.
var reportAttacks = []attack{
	{name: "slow bodies", addresses: manyAddresses, felt: "mtasts_reportpost_held_bytes", run: slowBody},
	{name: "large bodies that stop", addresses: manyAddresses, felt: "mtasts_reportpost_held_bytes", run: largeBody},
	{name: "bodies from one address", addresses: 1, felt: "mtasts_reportpost_held_bytes", run: largeBody},
	{name: "garbage for reports", attackers: someAttackers, addresses: manyAddresses, felt: `mtasts_reportpost_requests_total{code="200",outcome="stored"}`, run: garbageBodies},
	{name: "slow mails", addresses: manyAddresses, felt: "mtasts_reportmail_connections_open", run: slowMail},
	{name: "large mails that stop", addresses: manyAddresses, felt: "mtasts_reportmail_connections_open", run: largeMail},
}

// body begins a POST of a large body.
func (a *attacker) body() (io.Writer, error) {
	c, err := a.shake("http/1.1")
	if err == nil {
		_, err = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", a.order.Host, tlsrpt.MaxPackedSize)
	}
	return c, err
}

// slowBody sends a body byte by byte.
func slowBody(a *attacker) error {
	c, err := a.body()
	if err != nil {
		return err
	}
	return a.trickle(c, make([]byte, tlsrpt.MaxPackedSize))
}

// largeBody sends all of a body but the end.
func largeBody(a *attacker) error {
	c, err := a.body()
	if err == nil {
		a.ready()
		_, err = c.Write(make([]byte, tlsrpt.MaxPackedSize-1))
	}
	if err != nil {
		return err
	}
	return a.hold()
}

// garbageBodies sends what is no report, as fast as it can.
func garbageBodies(a *attacker) error {
	c, err := a.shake("http/1.1")
	if err != nil {
		return err
	}
	a.ready()
	answers := bufio.NewReader(c)
	for n := 0; ; n++ {
		body := fmt.Sprintf(`{"report-id":"%d %d"}`, n, time.Now().UnixNano())
		if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", a.order.Host, len(body), body); err != nil {
			return err
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, res.Body) // what comes next fails, if this does
	}
}

// data begins a mail.
func (a *attacker) data() error {
	answers := bufio.NewReader(a.conn)
	for _, line := range []string{"", "HELO x\r\n", "MAIL FROM:<x@x.test>\r\n", "RCPT TO:<" + reportsAddress + ">\r\n", "DATA\r\n"} {
		if _, err := io.WriteString(a.conn, line); err != nil {
			return err
		}
		if _, err := answers.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}

// slowMail sends a mail byte by byte.
func slowMail(a *attacker) error {
	if err := a.data(); err != nil {
		return err
	}
	return a.trickle(a.conn, make([]byte, 1<<20))
}

// largeMail sends all of a mail but the end.
func largeMail(a *attacker) error {
	if err := a.data(); err != nil {
		return err
	}
	a.ready()
	line := append(make([]byte, 998), "\r\n"...)
	for range tlsrpt.MaxPackedSize / len(line) {
		if _, err := a.conn.Write(line); err != nil {
			return err
		}
	}
	return a.hold()
}

// TestReportsStrangers lets thousands of strangers bring bodies and mails that never end.
func TestReportsStrangers(t *testing.T) {
	length := time.Duration(drillCount(t, "MTASTS_HOSTILE_SECONDS", 1)) * time.Second
	for _, a := range reportAttacks {
		t.Run(hostileName.Replace(a.name), func(t *testing.T) {
			p, mail, good := startBombed(t)
			order := hostileOrder{Attack: a.name, Attackers: bringers(t), Server: p.https, Host: reportsAt}
			switch {
			case a.felt == "mtasts_reportmail_connections_open":
				order.Server, order.Attackers = mail, min(order.Attackers, 1_000) // twice as many as are let in
			case a.attackers > 0:
				order.Attackers = a.attackers
			}
			before := p.footprint()
			x := startAttackers(t, order)
			felt := 0.0
			good.run(func() {
				x.awaitReady()
				for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
					felt = max(felt, p.series(a.felt))
				}
			})
			if opened := x.stop(); opened < int64(order.Attackers) || felt == 0 {
				t.Errorf("%d connections by %d attackers are no attack: %s is %v", opened, order.Attackers, a.felt, felt)
			}
			eventually(t, "nothing of the attack is left", func() error {
				if now := p.footprint(); now.goroutines > before.goroutines+2 || now.files > before.files+4 || now.connections > before.connections {
					return fmt.Errorf("%+v, before the attack %+v", now, before)
				}
				return nil
			})
			checkBombed(t, p, mail, good, reportsMemory)
		})
	}
}
