package policyserve_test

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"mtasts-server/policyserve"
)

// refusal dials and returns the alert that comes back.
func refusal(t *testing.T, w *world, c *tls.Config) error {
	t.Helper()
	conn, err := tls.Dial("tcp", w.https, c)
	if err != nil {
		return err
	}
	defer conn.Close()
	// TLS 1.3 clients may learn of it at the first read only.
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Read(make([]byte, 1))
	return err
}

// isUnrecognizedName reports whether err is the alert of RFC 6066 §3.
func isUnrecognizedName(err error) bool {
	return err != nil && strings.Contains(err.Error(), "remote error: tls: unrecognized name")
}

func TestUnrecognizedName(t *testing.T) {
	w := start(t, policyserve.Options{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, name := range []string{"", "mta-sts.example.net", "example.com", "mta-sts", "127.0.0.1"} {
			err := refusal(t, w, &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
			if !isUnrecognizedName(err) {
				t.Errorf("%s, server name %q: %v", tls.VersionName(version), name, err)
			}
		}
	}
}

func TestNoCertificateYet(t *testing.T) {
	w := start(t, policyserve.Options{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }})
	err := refusal(t, w, &tls.Config{ServerName: "mta-sts.example.com", InsecureSkipVerify: true})
	if !isUnrecognizedName(err) {
		t.Error(err)
	}
}

func TestServerNameForms(t *testing.T) {
	w := start(t, policyserve.Options{})
	// crypto/tls strips the final dot on the client's side; the case it keeps.
	conn := w.dialTLS(t, "MTA-STS.Example.com")
	if res, _ := parse(t, "GET", raw(t, conn, get(wellKnown, "mta-sts.example.com"))); res.StatusCode != 200 {
		t.Error(res.Status)
	}
}

func TestOldTLS(t *testing.T) {
	w := start(t, policyserve.Options{})
	err := refusal(t, w, &tls.Config{ServerName: "mta-sts.example.com", InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Error(err)
	}
}

// A ticket of a host of ours is no way in for another name.
func TestResumption(t *testing.T) {
	w := start(t, policyserve.Options{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := &oneSession{}
		c := w.clientTLS("mta-sts.example.com", "http/1.1")
		c.ClientSessionCache, c.MinVersion, c.MaxVersion = cache, version, version
		for i := range 2 {
			conn, err := tls.Dial("tcp", w.https, c)
			if err != nil {
				t.Fatal(err)
			}
			resumed := conn.ConnectionState().DidResume
			if res, _ := parse(t, "GET", raw(t, conn, get(wellKnown, "mta-sts.example.com"))); res.StatusCode != 200 || resumed != (i == 1) {
				t.Errorf("%s, connection %d: %s, resumed %v", tls.VersionName(version), i, res.Status, resumed)
			}
		}
		if cache.state == nil {
			t.Fatalf("%s: no ticket", tls.VersionName(version))
		}
		c = c.Clone()
		c.ServerName, c.InsecureSkipVerify = "mta-sts.example.net", true
		if err := refusal(t, w, c); !isUnrecognizedName(err) {
			t.Errorf("%s, resuming for a stranger: %v", tls.VersionName(version), err)
		}
	}
}

// oneSession offers the last ticket to whatever server comes.
type oneSession struct{ state *tls.ClientSessionState }

func (s *oneSession) Get(string) (*tls.ClientSessionState, bool) { return s.state, s.state != nil }
func (s *oneSession) Put(_ string, state *tls.ClientSessionState) {
	if state != nil {
		s.state = state
	}
}

// Over a connection by which a CA checks a host nothing is said (RFC 8737 §3).
func TestACMEConnectionEnds(t *testing.T) {
	challenge := selfSigned(t, "mta-sts.example.com")
	w := start(t, policyserve.Options{
		NextProtos: []string{"acme-tls/1"},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if len(h.SupportedProtos) == 1 && h.SupportedProtos[0] == "acme-tls/1" {
				return challenge, nil
			}
			return nil, nil
		},
	})
	conn, err := tls.Dial("tcp", w.https, &tls.Config{ServerName: "mta-sts.example.com", InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.ConnectionState().NegotiatedProtocol; got != "acme-tls/1" {
		t.Errorf("negotiated %q", got)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func TestNothingInCommon(t *testing.T) {
	w := start(t, policyserve.Options{})
	if _, err := tls.Dial("tcp", w.https, w.clientTLS("mta-sts.example.com", "smtp")); err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Error(err)
	}
}

// The largest ClientHello that there may be is far larger than any that there is.
func TestEndlessClientHello(t *testing.T) {
	w := start(t, policyserve.Options{Limits: policyserve.Limits{HandshakeTimeout: time.Hour, HeaderTimeout: time.Hour}})
	c := dial(t, w.https)
	fragment := make([]byte, 8<<10)
	copy(fragment, []byte{1, 0, 0xff, 0xff}) // a ClientHello of 64 KiB
	for range 4 {
		if _, err := c.Write(append([]byte{22, 3, 1, byte(len(fragment) >> 8), byte(len(fragment))}, fragment...)); err != nil {
			break // it is over already
		}
		clear(fragment)
	}
	ended(t, c)
}

// The time for a handshake is not that for a header.
func TestSlowHandshake(t *testing.T) {
	w := start(t, policyserve.Options{Limits: policyserve.Limits{HandshakeTimeout: time.Hour, HeaderTimeout: 50 * time.Millisecond}})
	hello := clientHello(t)
	c := dial(t, w.https)
	defer c.Close()
	if _, err := c.Write(hello[:100]); err != nil {
		t.Fatal(err)
	}
	ended(t, w.dialTLS(t, "mta-sts.example.com")) // that was the time for a header
	if _, err := c.Write(hello[100:]); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer := make([]byte, 1)
	if _, err := io.ReadFull(c, answer); err != nil || answer[0] != 22 {
		t.Errorf("the server's flight: %x, %v", answer, err)
	}
}
