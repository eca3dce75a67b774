// Package webhook posts to somebody's web hook, signed as Standard Webhooks says. It is at
// the bottom of the house: dnsrecords has changes brought about so, and alert tells people.
package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultTimeout is how long an answer may take.
	DefaultTimeout = 30 * time.Second

	// maxSaid bounds what is read of an answer, which is only for people.
	maxSaid = 4 << 10
	maxTold = 300
)

// Options say where to post. Only URL and Secret are required.
type Options struct {
	URL     string           // https, or http on this machine
	Secret  string           // that both sides know; "whsec_" and base64, or any text
	Timeout time.Duration    // 0: DefaultTimeout
	Roots   *x509.CertPool   // nil: the system's
	Now     func() time.Time // nil: time.Now
}

// Hook is a web hook. It may be used by several goroutines.
type Hook struct {
	o      Options
	key    []byte
	client *http.Client
}

// New returns a Hook. Errors do not tell the URL, which may hold a token.
func New(o Options) (*Hook, error) {
	if err := checkURL(o.URL); err != nil {
		return nil, err
	}
	if o.Secret == "" {
		return nil, errors.New("a web hook needs a secret: it is signed")
	}
	h := &Hook{o: o, key: []byte(o.Secret)}
	if s, ok := strings.CutPrefix(o.Secret, "whsec_"); ok {
		key, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(key) == 0 {
			return nil, errors.New(`what follows "whsec_" in the secret is no base64`)
		}
		h.key = key
	}
	h.o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	if o.Now == nil {
		h.o.Now = time.Now
	}
	h.client = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: o.Roots},
			DisableKeepAlives: true, // a few a day
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects, and what is signed is for one address only")
		},
	}
	return h, nil
}

// checkURL allows TLS only, but on this machine.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return errors.New("the web hook's URL is none")
	}
	addr, _ := netip.ParseAddr(u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost" && !addr.IsLoopback()) {
		return fmt.Errorf("the web hook at %q is not https", u.Host)
	}
	return nil
}

// AnswerError is an answer that is no success.
type AnswerError struct {
	StatusCode int
	Text       string // status and what else it said; bounded, one line, printable ASCII
}

func (e *AnswerError) Error() string { return "the web hook says " + e.Text }

// Permanent reports whether the same again would be refused again.
func (e *AnswerError) Permanent() bool {
	return e.StatusCode/100 == 4 && e.StatusCode != http.StatusRequestTimeout && e.StatusCode != http.StatusTooManyRequests
}

// Post posts text, which is JSON. The id is the same however often one thing comes. It is
// signed by HMAC-SHA256 of "id.timestamp.body". An answer that is no success is an
// *AnswerError.
func (h *Hook) Post(ctx context.Context, id string, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, h.o.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.o.URL, bytes.NewReader(text))
	if err != nil {
		return errors.New("the web hook's URL is none")
	}
	h.sign(req.Header, "msg_"+id, text)
	res, err := h.client.Do(req)
	if urlErr, ok := errors.AsType[*url.Error](err); ok {
		err = urlErr.Err // without the URL
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the web hook at %q has not answered within %s", req.URL.Host, h.o.Timeout)
	case err != nil:
		return fmt.Errorf("asking the web hook at %q: %w", req.URL.Host, err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 == 2 {
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(res.Body, maxSaid))
	return &AnswerError{res.StatusCode, printable(res.Status + ": " + string(said))}
}

// printable makes a line of what came from outside.
func printable(s string) string {
	s, cut := strings.Join(strings.Fields(s), " "), ""
	if len(s) > maxTold {
		s, cut = s[:maxTold], "..."
	}
	text := strconv.QuoteToASCII(s)
	return strings.ReplaceAll(text[1:len(text)-1], `\"`, `"`) + cut
}

func (h *Hook) sign(header http.Header, id string, text []byte) {
	at := strconv.FormatInt(h.o.Now().Unix(), 10)
	mac := hmac.New(sha256.New, h.key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, text)
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "mtasts-server", "Webhook-Id": id, "Webhook-Timestamp": at,
		"Webhook-Signature": "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)),
	} {
		header.Set(name, value)
	}
}
