package sendercheck

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"mtasts-server/mtasts"
)

const (
	// maxHead bounds the head of an answer. Those of web servers take some hundred bytes.
	maxHead = 16 << 10

	// maxInterim bounds answers before the answer (RFC 9110 §15.2), such as 103.
	maxInterim = 3

	// slowAnswer is what postfix-tlspol waits for a policy.
	slowAnswer = 2 * time.Second
)

var hostCerts = certCodes{PolicyCertName, PolicyCertExpired, PolicyCertUntrusted, PolicyCertExpiresSoon}

// fetch gets the policy from one address.
func (c *Checker) fetch(ctx context.Context, host string, addr netip.Addr) Fetch {
	f := Fetch{Addr: addr}
	done, err := c.targets.turn(ctx, addr)
	if err != nil {
		f.fail(PolicyNotFetched, err.Error(), err)
		return f
	}
	defer done()
	begun := c.now()
	within, cancel := context.WithTimeout(ctx, c.httpTimeout)
	defer cancel()
	c.fetchNow(within, host, &f)
	f.Took = c.now().Sub(begun)
	if ctx.Err() != nil && f.Err != nil { // whatever it says, it is not the host's fault
		f = Fetch{Addr: addr}
		f.fail(PolicyNotFetched, ctx.Err().Error(), ctx.Err())
	}
	return f
}

// fail notes why a sender has no policy.
func (f *Fetch) fail(code, evidence string, err error) {
	t := trouble{code, plain(evidence)}
	f.troubles = append(f.troubles, t)
	if f.Err == nil {
		f.Result = catalogue[code].result
		f.Err = &FetchError{code, t.evidence, err}
	}
}

// FetchError is why a sender has no policy from an address.
type FetchError struct {
	Code     string // of the finding
	Evidence string
	cause    error
}

func (e *FetchError) Error() string {
	text := strings.TrimSuffix(catalogue[e.Code].text, ".")
	if e.Evidence == "" {
		return text
	}
	return text + ": " + e.Evidence
}

func (e *FetchError) Unwrap() error { return e.cause }

func (c *Checker) fetchNow(ctx context.Context, host string, f *Fetch) {
	connecting, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	conn, err := c.dial(connecting, f.Addr, c.https)
	if err != nil {
		f.fail(dialCode(err, PolicyAddressRefused, PolicyNoRoute, PolicyTimeout, PolicyConnectFailed), dialEvidence(err), err)
		return
	}
	defer conn.Close()
	defer limit(ctx, conn)()
	t, err := shakeHands(ctx, conn, host)
	if err != nil {
		c.handshakeFailed(ctx, host, f, err)
		return
	}
	state := t.ConnectionState()
	f.TLS, f.NotAfter = tls.VersionName(state.Version), state.PeerCertificates[0].NotAfter
	for _, t := range c.judge(state, host, hostCerts) {
		if t.code == hostCerts.soon {
			f.troubles = append(f.troubles, t)
		} else {
			f.fail(t.code, t.evidence, nil)
		}
	}
	if f.Err != nil {
		return // a sender goes away
	}
	f.ask(t, host)
	_ = t.Close()
}

// limit ends what waits for conn when ctx does, until stop is called.
func limit(ctx context.Context, conn net.Conn) (stop func() bool) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// dialCode sorts why there is no connection.
func dialCode(err error, forbidden, noRoute, timeout, other string) string {
	switch {
	case errors.Is(err, errForbidden):
		return forbidden
	case errors.Is(err, ErrNoRoute):
		return noRoute
	case timedOut(err):
		return timeout
	}
	return other
}

// dialEvidence is why there is no connection, without the addresses, which the finding
// names.
func dialEvidence(err error) string {
	errno := syscall.Errno(0)
	switch {
	case errors.Is(err, errForbidden):
		return err.Error()
	case timedOut(err):
		return "nothing answers"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

// handshakeFailed says why there was no handshake: too old a server, or else.
func (c *Checker) handshakeFailed(ctx context.Context, host string, f *Fetch, err error) {
	if timedOut(err) {
		f.fail(PolicyTimeout, "the handshake does not end", err)
		return
	}
	if conn, dialErr := c.dial(ctx, f.Addr, c.https); dialErr == nil {
		defer conn.Close()
		if old := oldVersion(ctx, conn, host); old != "" {
			f.fail(PolicyTLSOld, "it speaks "+old, err)
			return
		}
	}
	f.fail(PolicyTLSFailed, handshakeEvidence(err), err)
}

func handshakeEvidence(err error) string {
	if errors.Is(err, io.EOF) {
		return "the connection is closed"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return "it says: " + strings.TrimPrefix(op.Err.Error(), "tls: ")
	}
	return strings.TrimPrefix(err.Error(), "tls: ")
}

// ask asks for the policy and reads the answer. HTTP is spoken by hand, as one request
// over one connection needs no client: no redirect is followed (RFC 8461 §3.3), nothing
// is kept, and what is read is bounded.
func (f *Fetch) ask(conn io.ReadWriter, host string) {
	_, err := io.WriteString(conn, "GET "+mtasts.WellKnownPath+" HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: mtasts-server\r\nAccept: text/plain, */*\r\nConnection: close\r\n\r\n")
	if err != nil {
		f.fail(readCode(err), "no request gets through: "+err.Error(), err)
		return
	}
	in := &io.LimitedReader{R: conn, N: maxHead}
	r := bufio.NewReaderSize(in, 4096)
	res, err := readHead(r)
	if err != nil {
		if in.N <= 0 {
			err = fmt.Errorf("the head of the answer is longer than %d bytes", maxHead)
		}
		f.fail(readCode(err), httpEvidence(err), err)
		return
	}
	defer res.Body.Close()
	f.Status, f.MediaType = res.StatusCode, bounded(res.Header.Get("Content-Type"))
	if f.Status != http.StatusOK {
		f.status(res)
		return
	}
	in.N = 2 * mtasts.MaxPolicySize // chunks have heads of their own
	body, err := io.ReadAll(io.LimitReader(res.Body, mtasts.MaxPolicySize+1))
	switch {
	case len(body) > mtasts.MaxPolicySize || err != nil && in.N <= 0:
		f.fail(PolicyTooLarge, fmt.Sprintf("there are more than %d bytes", mtasts.MaxPolicySize), nil)
	case err != nil:
		f.fail(readCode(err), fmt.Sprintf("after %d bytes: %s", len(body), httpEvidence(err)), err)
	default:
		f.Body = body
	}
}

func readHead(r *bufio.Reader) (*http.Response, error) {
	for range maxInterim {
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, err
		}
	}
	return nil, errors.New("one interim answer follows another")
}

// status is an answer that is not the policy.
func (f *Fetch) status(res *http.Response) {
	evidence := fmt.Sprintf("status %d", f.Status)
	if f.Status >= 300 && f.Status < 400 && res.Header.Get("Location") != "" {
		f.fail(PolicyRedirect, evidence+" to "+quote(res.Header.Get("Location")), nil)
		return
	}
	f.fail(PolicyStatus, evidence, nil)
}

func readCode(err error) string {
	if timedOut(err) {
		return PolicyTimeout
	}
	return PolicyHTTPFailed
}

func httpEvidence(err error) string {
	switch {
	case timedOut(err):
		return "the answer does not come to an end"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection is closed before the end of the answer"
	}
	return strings.TrimPrefix(err.Error(), "net/http: ")
}

// isTextPlain reports whether the media type is text/plain, whatever its parameters.
func isTextPlain(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) && kind == "text/plain"
}

func bounded(s string) string { return plain(s[:min(len(s), maxEvidence)]) }
