package app

import (
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A clock that is set back by a year is told of. Policies are served on, edits too.
func TestClockSetBack(t *testing.T) {
	d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "enforce", "30d", "mx1.example")})
	d.wantAmiss("")
	right := d.clock
	d.clock = right.Add(-365 * day)
	d.want("a.example", "enforce mx1.example")
	d.wantAmiss("the clock looks wrong, it says " + d.clock.UTC().Format(time.RFC3339) + ": the newest entry of the ledger is of " + right.UTC().Format(time.RFC3339))
	d.write("policies/a.toml", table("a.example", "enforce", "30d", "mx2.example"))
	d.want("a.example", "enforce mx2.example")
	d.clock = right.Add(time.Minute)
	d.want("a.example", "enforce mx2.example")
	d.wantAmiss("")
}

// After a year forward and back the ledger has an entry from the future, and time in it
// does not go back. That is told as long as no certificate speaks for the clock.
func TestClockSetForward(t *testing.T) {
	d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "enforce", "30d", "mx1.example")})
	right := d.clock
	d.clock = right.Add(365 * day)
	d.write("policies/a.toml", table("a.example", "enforce", "30d", "mx2.example"))
	d.want("a.example", "enforce mx2.example")
	d.clock = right
	d.write("policies/a.toml", table("a.example", "enforce", "30d", "mx3.example"))
	d.want("a.example", "enforce mx3.example")
	d.wantAmiss("the clock looks wrong, it says " + right.UTC().Format(time.RFC3339) + ": the newest entry of the ledger is of " + right.Add(365*day).UTC().Format(time.RFC3339))
	s := d.certs.Summary()
	s.Hosts, s.Ready = 1, 1
	if why := d.admin.wrongClock(s); why != "" {
		t.Errorf("a certificate is valid, and yet: %s", why)
	}
}

// wantAmiss compares what /readyz tells as amiss, "" for nothing.
func (d *desk) wantAmiss(want string) {
	d.t.Helper()
	if got := strings.Join(d.admin.amiss(d.certs.Summary()), "\n"); got != want {
		d.t.Errorf("amiss: %q, want %q", got, want)
	}
}

// exhausted is a listener for which there are no file descriptors at first.
type exhausted struct {
	net.Listener
	left int
}

func (e *exhausted) Accept() (net.Conn, error) {
	if e.left--; e.left >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return nil, net.ErrClosed
}

func TestAdminMakesRoom(t *testing.T) {
	var made []int
	l := &roomy{Listener: &exhausted{left: 3}, makeRoom: func(times int) { made = append(made, times) }}
	for range 3 {
		if _, err := l.Accept(); !errors.Is(err, syscall.EMFILE) {
			t.Error(err)
		}
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) || !slices.Equal(made, []int{1, 2, 3}) || l.times != 0 {
		t.Errorf("%v, made room %v", err, made)
	}
}

// Connections leave file descriptors for everything else.
func TestConnectionsFitTheSystem(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	files := int(min(limit.Cur, 1<<30))
	if n, fits := connections(files); fits || n >= files || n < files/2 {
		t.Errorf("%d of %d, %v", n, files, fits)
	}
	if n, fits := connections(1); !fits || n != 1 {
		t.Errorf("%d, %v", n, fits)
	}
}
