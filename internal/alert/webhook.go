package alert

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
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
	webhookFor = 30 * time.Second // how long a web hook may take

	// maxSaid bounds what is read of an answer, which is only for people.
	maxSaid = 4 << 10
)

// WebhookOptions say where messages are posted.
type WebhookOptions struct {
	URL     string         // https, or http on this machine
	Secret  string         // that the web hook knows us by; "whsec_" and base64, or any text
	Timeout time.Duration  // 0: 30 seconds
	Roots   *x509.CertPool // nil: the system's
	Now     func() time.Time
}

// Webhook posts each message as JSON, signed as the hook for DNS records is: HMAC-SHA256 of
// "id.timestamp.body", as Standard Webhooks says. The header Webhook-Id is the same however
// often a message comes.
type Webhook struct {
	o      WebhookOptions
	key    []byte
	client *http.Client
}

// NewWebhook returns a Webhook.
func NewWebhook(o WebhookOptions) (*Webhook, error) {
	if err := checkURL(o.URL); err != nil {
		return nil, err
	}
	if o.Secret == "" || o.Now == nil {
		return nil, errors.New("alert: a web hook needs a secret, as it is signed, and a clock")
	}
	o.Timeout = cmp.Or(o.Timeout, webhookFor)
	w := &Webhook{o: o, key: []byte(o.Secret)}
	if s, ok := strings.CutPrefix(o.Secret, "whsec_"); ok {
		key, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(key) == 0 {
			return nil, errors.New(`alert: what follows "whsec_" in the web hook's secret is no base64`)
		}
		w.key = key
	}
	w.client = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: o.Roots},
			DisableKeepAlives: true, // a few messages a day
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects, and what is signed is for one address only")
		},
	}
	return w, nil
}

// checkURL allows TLS only, but on this machine. The URL is not told: it may hold a token.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return errors.New("alert: the web hook's URL is none")
	}
	addr, _ := netip.ParseAddr(u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost" && !addr.IsLoopback()) {
		return fmt.Errorf("alert: the web hook at %q is not https", u.Host)
	}
	return nil
}

// Test posts a message that says it is a test.
func (w *Webhook) Test(ctx context.Context) error {
	return w.send(ctx, newMessage(Test, w.o.Now()), "")
}

func (w *Webhook) send(ctx context.Context, m *Message, _ string) error {
	ctx, cancel := context.WithTimeout(ctx, w.o.Timeout)
	defer cancel()
	req, err := w.request(ctx, m)
	if err != nil {
		return err
	}
	res, err := w.client.Do(req)
	if urlErr, ok := errors.AsType[*url.Error](err); ok {
		err = urlErr.Err // without the URL, which may hold a token
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the web hook at %q has not answered within %s", req.URL.Host, w.o.Timeout)
	case err != nil:
		return fmt.Errorf("posting to the web hook at %q: %w", req.URL.Host, err)
	}
	defer res.Body.Close()
	return judge(res)
}

func (w *Webhook) request(ctx context.Context, m *Message) (*http.Request, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.o.URL, bytes.NewReader(text))
	if err != nil {
		return nil, errors.New("alert: the web hook's URL is none")
	}
	id, at := "msg_"+m.ID, strconv.FormatInt(w.o.Now().Unix(), 10)
	mac := hmac.New(sha256.New, w.key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, text)
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "mtasts-server", "Webhook-Id": id, "Webhook-Timestamp": at,
		"Webhook-Signature": "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)),
	} {
		req.Header.Set(name, value)
	}
	return req, nil
}

// judge tells success, what is worth another try, and what is not.
func judge(res *http.Response) error {
	if res.StatusCode/100 == 2 {
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(res.Body, maxSaid))
	err := fmt.Errorf("the web hook says %s: %s", clean(res.Status, maxLine), clean(strings.TrimSpace(string(said)), maxLine))
	if res.StatusCode/100 == 4 && res.StatusCode != http.StatusRequestTimeout && res.StatusCode != http.StatusTooManyRequests {
		return &refusal{err}
	}
	return err
}
