package intake_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
	"mtasts-server/policyserve"
)

const postJSON = `{"organization-name":"Company-X"}`

func gzipped(t testing.TB, b string) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := io.WriteString(z, b)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// form is what "curl --form report=@file" sends.
func form(t testing.TB, body string) (contentType, data string) {
	t.Helper()
	var out bytes.Buffer
	f := multipart.NewWriter(&out)
	part, err := f.CreateFormFile("report", "a!example.com!1!2.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(part, body)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return f.FormDataContentType(), out.String()
}

// poster is a request by POST.
func poster(path, contentType, more, body string) string {
	if contentType != "" {
		more += "Content-Type: " + contentType + "\r\n"
	}
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n%s", path, postHost, more, len(body), body)
}

var postNoon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// What senders really send is taken, whatever they say it is.
func TestPostTakes(t *testing.T) {
	w := startPost(t, intake.PostOptions{Now: func() time.Time { return postNoon }}, policyserve.Options{}, nil)
	packed := gzipped(t, postJSON)
	formType, formData := form(t, packed)
	for _, tt := range []struct {
		name, request          string
		data, mediaType, token string
	}{
		{"sys4 tlsrpt-reporter", poster("/", "application/tlsrpt+gzip", "", packed), packed, "application/tlsrpt+gzip", ""},
		{"plain (RFC 8460 §6.4)", poster("/", "application/tlsrpt+json", "", postJSON), postJSON, "application/tlsrpt+json", ""},
		{"gzip", poster("/", "application/gzip", "", packed), packed, "application/gzip", ""},
		{"bytes", poster("/", "application/octet-stream", "", packed), packed, "application/octet-stream", ""},
		{"curl --data-binary says so by itself", poster("/", "application/x-www-form-urlencoded", "", packed), packed, "application/x-www-form-urlencoded", ""},
		{"no media type", poster("/", "", "", packed), packed, "", ""},
		{"a lie", poster("/", "application/tlsrpt+gzip", "", postJSON), postJSON, "application/tlsrpt+gzip", ""},
		{"nonsense", poster("/", "\"><script>", "", packed), packed, "", ""},
		{"a very long media type", poster("/", "a/"+strings.Repeat("x", 4000), "", packed), packed, "", ""},
		{"parameters", poster("/", "Application/TLSRPT+gzip; charset=x", "", packed), packed, "application/tlsrpt+gzip", ""},
		{"a coding that is the packing", poster("/", "application/tlsrpt+json", "Content-Encoding: gzip\r\n", packed), packed, "application/tlsrpt+json", ""},
		{"packed, and coded on top of it", poster("/", "application/tlsrpt+gzip", "Content-Encoding: gzip\r\n", gzipped(t, packed)), packed, "application/tlsrpt+gzip", ""},
		{"a coding that there is not", poster("/", "", "Content-Encoding: gzip\r\n", postJSON), postJSON, "", ""},
		{"twice packed without a coding stays", poster("/", "", "", gzipped(t, packed)), gzipped(t, packed), "", ""},
		{"curl --form", poster("/", formType, "", formData), packed, "application/octet-stream", ""},
		{"a form that is none", poster("/", formType, "", packed), packed, "multipart/form-data", ""},
		{"a form without boundary", poster("/", "multipart/form-data", "", formData), formData, "multipart/form-data", ""},
		{"a form with a long header", poster("/", "multipart/form-data; boundary=x", "", "--x\r\n"+strings.Repeat("a:\r\n", 2000)+"\r\nb\r\n--x--"), "--x\r\n" + strings.Repeat("a:\r\n", 2000) + "\r\nb\r\n--x--", "multipart/form-data", ""},
		{"chunked", "POST / HTTP/1.1\r\nHost: " + postHost + "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n", `{"a":1}`, "", ""},
		{"HTTP/1.0", "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", "{}", "", ""},

		{"a token", poster("/k3v9", "", "", "{}"), "{}", "", "k3v9"},
		{"in upper case", poster("/K3V9", "", "", "{}"), "{}", "", "k3v9"},
		{"with a slash behind", poster("/k3v9/", "", "", "{}"), "{}", "", "k3v9"},
		{"with a query", poster("/k3v9?x=y", "", "", "{}"), "{}", "", "k3v9"},
		{"deep down", poster("/v1/tlsrpt/k3v9", "", "", "{}"), "{}", "", "k3v9"},
		{"of 32 characters", poster("/"+strings.Repeat("a", 32), "", "", "{}"), "{}", "", strings.Repeat("a", 32)},
		{"of 33", poster("/"+strings.Repeat("a", 33), "", "", "{}"), "{}", "", ""},
		{"other characters", poster("/a-b", "", "", "{}"), "{}", "", ""},
		{"encoded", poster("/%0a%3Cscript%3E", "", "", "{}"), "{}", "", ""},
		{"no letters of ours", poster("/%C4%80bc", "", "", "{}"), "{}", "", ""},
		{"any path", poster("/../x//y.php", "", "", "{}"), "{}", "", ""},
	} {
		res, body := say(t, w.dial(t), tt.request)
		if res.StatusCode != 200 || body != "The report was received. Thank you.\n" {
			t.Errorf("%s: %s %q", tt.name, res.Status, body)
		}
		want := &reports.Arrival{
			Channel: reports.HTTPS, Received: postNoon, Source: "127.0.0.1", Data: []byte(tt.data),
			MediaType: tt.mediaType, Unauthenticated: reports.NoAuthentication, Token: tt.token,
		}
		if diff := cmp.Diff(want, w.last()); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestPostHTTP2(t *testing.T) {
	w := startPost(t, intake.PostOptions{}, policyserve.Options{}, nil)
	client := w.client(t, 2)
	for _, size := range []int{2, 5000, intake.MaxPosted} {
		for _, body := range []io.Reader{bytes.NewReader(make([]byte, size)), io.MultiReader(bytes.NewReader(make([]byte, size)))} {
			res, err := client.Post("https://"+postHost+"/k3v9", "application/tlsrpt+gzip", body)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if a := w.last(); res.StatusCode != 200 || res.ProtoMajor != 2 || a == nil || len(a.Data) != size || a.Token != "k3v9" {
				t.Errorf("%d bytes: %s %s", size, res.Proto, res.Status)
			}
		}
	}
}

func TestPostRefuses(t *testing.T) {
	w := startPost(t, intake.PostOptions{}, policyserve.Options{}, nil)
	ask := func(method, path string) string {
		return method + " " + path + " HTTP/1.1\r\nHost: " + postHost + "\r\nContent-Length: 0\r\n\r\n"
	}
	formType, formData := form(t, "")
	for _, tt := range []struct {
		name, request string
		status        int
		text          string
	}{
		{"a person", ask("GET", "/"), 200, "This is where mail servers send their TLS reports"},
		{"who follows the record", ask("GET", "/k3v9"), 200, "This is where"},
		{"a robot", ask("GET", "/wp-login.php"), 404, "there is nothing"},
		{"another", ask("GET", "/.well-known/mta-sts.txt"), 404, "there is nothing"},
		{"put", ask("PUT", "/"), 405, "reports are sent by POST"},
		{"delete", ask("DELETE", "/"), 405, "reports are sent by POST"},
		{"options", ask("OPTIONS", "*"), 405, "reports are sent by POST"},
		{"nothing", poster("/", "", "", ""), 400, "there is no report"},
		{"nothing in chunks", "POST / HTTP/1.1\r\nHost: " + postHost + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "there is no report"},
		{"an empty file in a form", poster("/", formType, "", formData), 400, "there is no report"},
		{"broken chunks", "POST / HTTP/1.1\r\nHost: " + postHost + "\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, "the request broke off"},
		{"one byte too much", poster("/", "", "", strings.Repeat("x", intake.MaxPosted+1)), 413, "a report has at most 10 MiB"},
		{"11 MiB that are only announced", "POST / HTTP/1.1\r\nHost: " + postHost + "\r\nContent-Length: 11534336\r\nExpect: 100-continue\r\n\r\n", 413, "a report has at most"},
	} {
		res, body := say(t, w.dial(t), tt.request)
		if res.StatusCode != tt.status || !strings.HasPrefix(body, tt.text) {
			t.Errorf("%s: %s %q", tt.name, res.Status, body)
		}
		if tt.status == 405 && res.Header.Get("Allow") != "GET, HEAD, POST" {
			t.Errorf("%s: %v", tt.name, res.Header)
		}
		if a := w.last(); a != nil {
			t.Errorf("%s: something arrived: %q", tt.name, a.Data)
		}
	}
}

// A body that does not end is cut off, by either protocol.
func TestPostOfElevenMiB(t *testing.T) {
	w := startPost(t, intake.PostOptions{}, policyserve.Options{}, nil)
	for _, proto := range []int{1, 2} {
		res, err := w.client(t, proto).Post("https://"+postHost+"/", "", io.LimitReader(zeros{}, 11<<20))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 413 || w.last() != nil {
			t.Errorf("HTTP/%d: %s", proto, res.Status)
		}
	}
	if got := held(t, w); got != 0 {
		t.Errorf("%v bytes are held still", got)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// held is how much memory is counted as taken, once all requests are over.
func held(t testing.TB, w *postWorld) float64 {
	t.Helper()
	var got float64
	for began := time.Now(); time.Since(began) < 10*time.Second; { // an answer comes before the end
		if got = gathered(t, w, "mtasts_reportpost_held_bytes"); got == 0 {
			break
		}
	}
	return got
}
