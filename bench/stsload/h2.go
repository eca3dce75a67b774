package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// newH2 returns a transport for one HTTP/2 connection to domain.
func (w *worker) newH2(domain int) *http.Transport {
	return &http.Transport{
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 1,
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			t := w.tlsConfig(domain)
			t.NextProtos = []string{"h2", "http/1.1"}
			conn, err := w.dial(domain, t)
			if err != nil {
				return nil, err
			}
			conn.SetDeadline(time.Time{})
			if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
				conn.Close()
				return nil, fmt.Errorf("ALPN gave %q", p)
			}
			return conn, nil
		},
	}
}

func (w *worker) getH2(t *http.Transport, domain int) error {
	ctx, cancel := context.WithTimeout(context.Background(), w.r.cfg.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "https://"+host(domain)+path, nil)
	if err != nil {
		return err
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return err
	}
	if res.StatusCode != 200 {
		return fmt.Errorf("status %s", res.Status)
	}
	return w.check(domain, isText(res.Header.Get("Content-Type")), body)
}
