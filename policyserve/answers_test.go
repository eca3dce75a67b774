package policyserve_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/policyserve"
)

const wellKnown = "/.well-known/mta-sts.txt"

func get(path, host string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
}

// Each case is a mistake seen in a peer, or a form that some client really sends.
func TestRequestsOverTLS(t *testing.T) {
	w := start(t, policyserve.Options{})
	const sni = "mta-sts.example.com"
	for _, tt := range []struct {
		name, request string
		status        int
	}{
		{"plain and simple", get(wellKnown, sni), 200},
		{"upper-case host", get(wellKnown, "MTA-STS.Example.COM"), 200},
		{"with the port", get(wellKnown, sni+":443"), 200},
		{"with another port", get(wellKnown, sni+":8443"), 200},
		{"empty port (RFC 3986 §3.2.3)", get(wellKnown, sni+":"), 200},
		{"trailing dot", get(wellKnown, sni+"."), 200},
		{"trailing dot and port", get(wellKnown, sni+".:443"), 200},
		{"query", get(wellKnown+"?x=1", sni), 200},
		{"absolute form (RFC 9112 §3.2.2)", get("https://"+sni+wellKnown, sni), 200},
		{"conditional: never 304", "GET " + wellKnown + " HTTP/1.1\r\nHost: " + sni + "\r\nIf-None-Match: *\r\nIf-Modified-Since: Tue, 24 Nov 2099 00:00:00 GMT\r\nConnection: close\r\n\r\n", 200},
		{"range: never 206", "GET " + wellKnown + " HTTP/1.1\r\nHost: " + sni + "\r\nRange: bytes=0-3\r\nConnection: close\r\n\r\n", 200},
		{"HTTP/1.0 with host", "GET " + wellKnown + " HTTP/1.0\r\nHost: " + sni + "\r\n\r\n", 200},
		{"HTTP/1.0 without host: the handshake said it", "GET " + wellKnown + " HTTP/1.0\r\n\r\n", 200},

		{"another host of ours", get(wellKnown, "mta-sts.example.org"), 421},
		{"somebody else's host", get(wellKnown, "mta-sts.example.net"), 421},
		{"the policy domain itself", get(wellKnown, "example.com"), 421},
		{"bare label", get(wellKnown, "mta-sts"), 421},
		{"twice the label", get(wellKnown, "mta-sts.mta-sts.example.com"), 421},
		{"two trailing dots", get(wellKnown, sni+".."), 421},
		{"IPv4 literal", get(wellKnown, "127.0.0.1"), 421},
		{"IPv6 literal", get(wellKnown, "[::1]:443"), 421},
		{"port is no number", get(wellKnown, sni+":https"), 421},
		{"empty host", get(wellKnown, ""), 421},
		{"absolute form for another host", get("https://mta-sts.example.org"+wellKnown, sni), 421},

		{"no Host in HTTP/1.1", "GET " + wellKnown + " HTTP/1.1\r\nConnection: close\r\n\r\n", 400},
		{"two Hosts", "GET " + wellKnown + " HTTP/1.1\r\nHost: " + sni + "\r\nHost: " + sni + "\r\nConnection: close\r\n\r\n", 400},

		{"root", get("/", sni), 404},
		{"double slash", get("/.well-known//mta-sts.txt", sni), 404},
		{"trailing slash", get(wellKnown+"/", sni), 404},
		{"upper-case path", get("/.Well-Known/MTA-STS.txt", sni), 404},
		{"dot segment", get("/x/.."+wellKnown, sni), 404},
		{"encoded dot", get("/.well-known/mta-sts%2Etxt", sni), 404},
		{"encoded slash", get("/.well-known%2Fmta-sts.txt", sni), 404},
		{"challenge path", get("/.well-known/acme-challenge/x", sni), 404},

		{"POST", "POST " + wellKnown + " HTTP/1.1\r\nHost: " + sni + "\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", 405},
		{"PUT", "PUT " + wellKnown + " HTTP/1.1\r\nHost: " + sni + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 405},
		{"DELETE", "DELETE " + wellKnown + " HTTP/1.1\r\nHost: " + sni + "\r\nConnection: close\r\n\r\n", 405},
		{"OPTIONS", "OPTIONS " + wellKnown + " HTTP/1.1\r\nHost: " + sni + "\r\nConnection: close\r\n\r\n", 405},
		{"lower-case method (RFC 9110 §9.1)", "get " + wellKnown + " HTTP/1.1\r\nHost: " + sni + "\r\nConnection: close\r\n\r\n", 405},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: " + sni + "\r\nConnection: close\r\n\r\n", 404},

		{"header of 20 KiB", "GET " + wellKnown + " HTTP/1.1\r\nHost: " + sni + "\r\nX: " + strings.Repeat("x", 20<<10) + "\r\nConnection: close\r\n\r\n", 431},
	} {
		t.Run(tt.name, func(t *testing.T) {
			method, _, _ := strings.Cut(tt.request, " ")
			res, body := parse(t, method, raw(t, w.dialTLS(t, sni), tt.request))
			if res.StatusCode != tt.status {
				t.Fatalf("got %s, want %d", res.Status, tt.status)
			}
			if (body == bodyCom) != (tt.status == 200) {
				t.Errorf("body %q with %s", body, res.Status)
			}
			if res.Header.Get("Location") != "" {
				t.Errorf("a redirect on the policy host: %v", res.Header)
			}
			if tt.status == 405 && res.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("405 without Allow: %v", res.Header)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	w := start(t, policyserve.Options{})
	res, body := parse(t, "GET", raw(t, w.dialTLS(t, "mta-sts.example.com"), get(wellKnown, "mta-sts.example.com")))
	res.Header.Del("Date")
	want := http.Header{
		"Content-Type": {"text/plain; charset=utf-8"}, "Content-Length": {"68"}, "Cache-Control": {"max-age=60"},
		"X-Content-Type-Options": {"nosniff"},
	}
	if diff := cmp.Diff(want, res.Header); diff != "" {
		t.Error(diff)
	}
	if body != bodyCom {
		t.Errorf("body %q", body)
	}
	head := raw(t, w.dialTLS(t, "mta-sts.example.com"), strings.Replace(get(wellKnown, "mta-sts.example.com"), "GET", "HEAD", 1))
	res, _ = parse(t, "HEAD", head)
	if res.StatusCode != 200 || res.Header.Get("Content-Length") != "68" || !strings.HasSuffix(head, "\r\n\r\n") {
		t.Errorf("HEAD: %q", head)
	}
}

func TestHTTP2(t *testing.T) {
	w := start(t, policyserve.Options{})
	var h2 http.Protocols
	h2.SetHTTP2(true)
	client := w.client(t, &h2)
	for _, tt := range []struct {
		method, url string
		status      int
	}{
		{"GET", "https://mta-sts.example.com" + wellKnown, 200},
		{"HEAD", "https://mta-sts.example.com" + wellKnown, 200},
		{"POST", "https://mta-sts.example.com" + wellKnown, 405},
		{"GET", "https://mta-sts.example.com/.well-known/mta-sts%2Etxt", 404},
		{"GET", "https://mta-sts.example.com/", 404},
	} {
		req, err := http.NewRequest(tt.method, tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.ProtoMajor != 2 || res.StatusCode != tt.status {
			t.Errorf("%s %s: %s %s, %v", tt.method, tt.url, res.Proto, res.Status, err)
		}
		if tt.method == "GET" && tt.status == 200 && string(body) != bodyCom {
			t.Errorf("%s %s: body %q", tt.method, tt.url, body)
		}
	}
	req, err := http.NewRequest("GET", "https://mta-sts.example.com"+wellKnown, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "mta-sts.example.org"
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 421 {
		t.Errorf("another host on the same connection: %s", res.Status)
	}
}

func TestPlain(t *testing.T) {
	w := start(t, policyserve.Options{})
	for _, tt := range []struct {
		name, request string
		status        int
		body          string
	}{
		{"a host of ours", get(wellKnown, "mta-sts.example.com"), 200, bodyCom},
		{"the other one", get(wellKnown, "MTA-STS.example.org.:80"), 200, bodyOrg},
		{"a stranger", get(wellKnown, "mta-sts.example.net"), 404, ""},
		{"the policy domain", get(wellKnown, "example.com"), 404, ""},
		{"IPv4 literal", get(wellKnown, "127.0.0.1"), 404, ""},
		{"IPv6 literal", get(wellKnown, "[::1]"), 404, ""},
		{"HTTP/1.0 without host", "GET " + wellKnown + " HTTP/1.0\r\n\r\n", 404, ""},
		{"twice the label", get(wellKnown, "mta-sts.mta-sts.example.com"), 404, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, body := parse(t, "GET", raw(t, dial(t, w.plain), tt.request))
			if res.StatusCode != tt.status || tt.body != "" && body != tt.body {
				t.Errorf("got %s %q", res.Status, body)
			}
		})
	}
}

func TestRedirect(t *testing.T) {
	w := start(t, policyserve.Options{})
	for _, tt := range []struct {
		request, location string
		status            int
	}{
		{get("/", "mta-sts.example.com"), "https://mta-sts.example.com/", 301},
		{get(wellKnown, "MTA-STS.example.com:80"), "https://mta-sts.example.com" + wellKnown, 301},
		{get("//evil.example/", "mta-sts.example.com"), "https://mta-sts.example.com//evil.example/", 301},
		{get("http://mta-sts.example.com", "x"), "https://mta-sts.example.com/", 301},
		{get("/", "evil.example"), "", 404},
		{get("/", ""), "", 404},
		{strings.Replace(get("/", "mta-sts.example.com"), "GET", "POST", 1), "", 405},
	} {
		res, body := parse(t, "GET", raw(t, dial(t, w.http), tt.request))
		if res.StatusCode != tt.status || res.Header.Get("Location") != tt.location {
			t.Errorf("%q: %s %v", tt.request, res.Status, res.Header)
		}
		if strings.Contains(body, "STSv1") {
			t.Errorf("%q: a policy without TLS: %q", tt.request, body)
		}
	}
}
