package e2e_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
	"mtasts-server/policyserve"
	"mtasts-server/tlsrpt"
)

const reportHost = "reports.example.com" // httptest has a certificate for it

// curlPost is how sys4's tlsrpt-reporter posts a report by default (its http_script). It
// counts as sent when the command succeeds, whatever the status is, and is sent again, up
// to five times, when it does not.
const curlPost = "curl --silent --header 'Content-Type: application/tlsrpt+gzip' --data-binary @- "

// TestCurlPostsReport has curl post reports over both protocols, as the most used sender
// does.
func TestCurlPostsReport(t *testing.T) {
	t.Parallel()
	small := []byte(`{"organization-name":"Company-X"}`)
	large := make([]byte, 2<<20) // curl asks before it sends more than 1 MiB
	_, _ = rand.Read(large)
	for _, proto := range []string{"http1.1", "http2"} {
		for name, body := range map[string][]byte{"small": small, "large": large} {
			t.Run(proto+" "+name, func(t *testing.T) {
				arrived := make(chan *reports.Arrival, 1)
				url, env := startPost(t, proto, func(_ context.Context, a *reports.Arrival) error {
					arrived <- a
					return nil
				})
				if out, err := curl(url, env, body); err != nil || out != "The report was received. Thank you.\n" {
					t.Fatalf("%v, %q", err, out)
				}
				got := <-arrived
				if got.Token != "k3v9" || got.Source != "127.0.0.1" {
					t.Errorf("it came as %q from %q", got.Token, got.Source)
				}
				if text, notes, err := tlsrpt.Unpack(got.Data, got.MediaType); err != nil || len(notes) > 0 || !bytes.Equal(text, body) {
					t.Errorf("not what was sent: %v %v", notes, err)
				}
			})
		}
		t.Run(proto+" comes again", func(t *testing.T) {
			url, env := startPost(t, proto, func(context.Context, *reports.Arrival) error { return errors.New("full") })
			out, err := curl(url, env, small)
			if _, failed := errors.AsType[*exec.ExitError](err); !failed {
				t.Errorf("a report that was not kept counts as sent: %v, %q", err, out)
			}
		})
	}
}

// startPost takes reports at url until the end of the test. env has curl find the host,
// trust it, and speak proto.
func startPost(t *testing.T, proto string, deliver func(context.Context, *reports.Arrival) error) (url, env string) {
	t.Helper()
	post, err := intake.NewPost(intake.PostOptions{Deliver: deliver, Client: policyserve.Client})
	if err != nil {
		t.Fatal(err)
	}
	ca := httptest.NewTLSServer(nil)
	defer ca.Close()
	cert := ca.TLS.Certificates[0]
	s, err := policyserve.New(policyserve.Options{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
		Hosts:          map[string]http.Handler{reportHost: post},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.ServeTLS(l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(context.Background()), <-done); err != nil {
			t.Error(err)
		}
	})
	home := t.TempDir()
	roots := filepath.Join(home, "roots.pem")
	rc := fmt.Sprintf("cacert = %q\nconnect-to = \"%s:443:%s\"\n%s\n", roots, reportHost, l.Addr(), proto)
	if err := errors.Join(
		os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate().Raw}), 0o600),
		os.WriteFile(filepath.Join(home, ".curlrc"), []byte(rc), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return "https://" + reportHost + "/k3v9", "CURL_HOME=" + home
}

// curl posts what it packs.
func curl(url, env string, body []byte) (string, error) {
	var packed, out bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(body)
	if err := errors.Join(err, z.Close()); err != nil {
		return "", err
	}
	c := exec.Command("sh", "-c", curlPost+"'"+url+"'")
	c.Env = append(os.Environ(), env)
	c.Stdin, c.Stdout = &packed, &out
	err = c.Run()
	return out.String(), err
}
