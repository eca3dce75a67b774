package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

const (
	// maxPoll is the longest wait between two questions to the CA about an order
	// under way. autocert takes no context, so this is also how long the end of
	// the program may have to wait for it.
	maxPoll = 2 * time.Second

	// maxProblem bounds what is read of an answer to look for a problem in it.
	maxProblem = 64 << 10

	// soonestRenewal makes autocert's own renewal timer, which cannot be left
	// out, go off as soon as it can. 30 days is the most that autocert takes.
	soonestRenewal = 30 * 24 * time.Hour
)

// autocertAttempt is one order by autocert. It is the cache of an
// autocert.Manager (which knows nothing of the host, so it orders, and stores
// here what it got) and its way to the CA (which ends with life, and keeps the
// reasons that the CA gave: autocert drops them).
type autocertAttempt struct {
	engine *autocertEngine
	host   string
	life   context.Context

	mu     sync.Mutex
	asked  bool
	bundle []byte
	why    []string
}

// manager returns an autocert.Manager for this attempt.
func (a *autocertAttempt) manager(key *ecdsa.PrivateKey) (*autocert.Manager, error) {
	binding, err := a.engine.binding()
	if err != nil {
		return nil, err
	}
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS,
		Cache:  a,
		HostPolicy: func(_ context.Context, host string) error {
			if host != a.host {
				return fmt.Errorf("this order is for %q, not for %q", a.host, host)
			}
			return nil
		},
		RenewBefore:            soonestRenewal,
		Email:                  a.engine.ca.Email,
		ExternalAccountBinding: binding,
		Client: &acme.Client{
			Key:          key,
			DirectoryURL: a.engine.ca.Directory,
			UserAgent:    "mtasts-server",
			HTTPClient:   &http.Client{Transport: a, Timeout: time.Minute},
			RetryBackoff: a.backoff,
		},
	}
	if !a.engine.o.DisableHTTP01 {
		m.HTTPHandler(nil) // this is how autocert is told that HTTP-01 will be answered
	}
	return m, nil
}

// backoff repeats what failed for a moment only: the scheduler does the rest.
func (a *autocertAttempt) backoff(n int, _ *http.Request, res *http.Response) time.Duration {
	if n > 3 || a.life.Err() != nil || res.StatusCode == http.StatusTooManyRequests {
		return -1
	}
	return maxPoll
}

const (
	certTokenSuffix = "+token"
	httpTokenSuffix = "+http-01"
)

// Get has nothing. Who asks a second time for the host's certificate is the
// timer with which autocert renews what it obtained. That is the scheduler's
// work, so the timer's goroutine ends here; the deferred calls in it release
// what it holds, and nothing starts it again.
func (a *autocertAttempt) Get(_ context.Context, name string) ([]byte, error) {
	if name == a.host {
		a.mu.Lock()
		again := a.asked
		a.asked = true
		a.mu.Unlock()
		if again {
			runtime.Goexit()
		}
	}
	return nil, autocert.ErrCacheMiss
}

// Put takes the certificate, and what challenges are answered with.
func (a *autocertAttempt) Put(_ context.Context, name string, data []byte) error {
	if token, ok := strings.CutSuffix(name, httpTokenSuffix); ok {
		a.engine.tokens.Store(a.host+"/"+token, string(data))
		return nil
	}
	if _, ok := strings.CutSuffix(name, certTokenSuffix); ok {
		cert, err := tls.X509KeyPair(data, data)
		if err != nil {
			return fmt.Errorf("taking a challenge certificate: %w", err)
		}
		a.engine.certs.Store(a.host, &cert)
		return nil
	}
	if name == a.host {
		a.mu.Lock()
		a.bundle = data
		a.mu.Unlock()
	}
	return nil
}

// Delete takes back answers to challenges.
func (a *autocertAttempt) Delete(_ context.Context, name string) error {
	if token, ok := strings.CutSuffix(name, httpTokenSuffix); ok {
		a.engine.tokens.Delete(a.host + "/" + token)
	} else if strings.HasSuffix(name, certTokenSuffix) {
		a.engine.certs.Delete(a.host)
	}
	return nil
}

// result splits what autocert stored into key and chain.
func (a *autocertAttempt) result() (keyPEM, chainPEM []byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	block, chain := pem.Decode(a.bundle)
	if block == nil {
		return nil, nil, errors.New("autocert stored no certificate")
	}
	return pem.EncodeToMemory(block), chain, nil
}

// explain adds to err what the CA said.
func (a *autocertAttempt) explain(err error) error {
	if e, ok := errors.AsType[*acme.Error](err); ok && e.ProblemType == "urn:ietf:params:acme:error:rateLimited" {
		wait, _ := acme.RateLimit(e)
		err = retryAfter{fmt.Errorf("%w: %w", errRateLimited, err), wait}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.why) > 0 {
		return fmt.Errorf("ordering from %q: %s (%w)", caName(a.engine.ca), strings.Join(a.why, "; "), err)
	}
	return fmt.Errorf("ordering from %q: %w", caName(a.engine.ca), err)
}

// RoundTrip carries a request to the CA, until the attempt is over.
func (a *autocertAttempt) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	stop := context.AfterFunc(a.life, cancel)
	res, err := a.engine.http.RoundTrip(req.WithContext(ctx))
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	if res.StatusCode < 300 && res.Header.Get("Retry-After") != "" {
		res.Header.Set("Retry-After", fmt.Sprint(int(maxPoll.Seconds())))
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20)) // as x/crypto/acme itself allows
	res.Body.Close()
	stop()
	cancel()
	if err != nil {
		return nil, err
	}
	a.notice(body)
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// notice keeps the problems of an authorization that failed (RFC 8555 §8).
func (a *autocertAttempt) notice(body []byte) {
	var authz struct {
		Status     string
		Challenges []struct {
			Type  string
			Error *struct{ Detail string }
		}
	}
	if len(body) > maxProblem || json.Unmarshal(body, &authz) != nil || authz.Status != "invalid" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range authz.Challenges {
		if c.Error != nil && len(a.why) < 4 {
			a.why = append(a.why, c.Type+": "+c.Error.Detail)
		}
	}
}
