package policyserve_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"mtasts-server/policyserve"
)

const reportHost = "reports.example.net"

// startFurther serves reportHost by h beside the policies.
func startFurther(t testing.TB, o policyserve.Options, h http.HandlerFunc) *world {
	t.Helper()
	cert := selfSigned(t, "mta-sts.example.com", "mta-sts.example.org", reportHost)
	o.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }
	o.Hosts = map[string]http.Handler{reportHost: h}
	w := start(t, o)
	w.roots.AddCert(cert.Leaf)
	return w
}

// echo says how long the body was, and who sent it.
func echo(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(time.Now().Add(20*time.Second)), rc.SetWriteDeadline(time.Now().Add(20*time.Second))); err != nil {
		http.Error(w, err.Error(), 500)
		return
	}
	n, err := io.Copy(io.Discard, r.Body)
	client := policyserve.Client(r)
	fmt.Fprintf(w, "%d %v %v %s", n, err, client, r.RemoteAddr)
}

func post(host string, n int) string {
	return fmt.Sprintf("POST /abc HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", host, n, strings.Repeat("x", n))
}

func TestFurtherHost(t *testing.T) {
	w := startFurther(t, policyserve.Options{}, echo)
	for _, tt := range []struct {
		name, sni, request string
		status             int
	}{
		{"a report", reportHost, post(reportHost, 3), 200},
		{"in another form", reportHost, post("Reports.Example.NET.:443", 3), 200},
		{"the name in upper case in the handshake", "REPORTS.example.net", post(reportHost, 3), 200},
		{"HTTP/1.0 without Host", reportHost, "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", 200},
		{"for a policy host on this connection", reportHost, get(wellKnown, "mta-sts.example.com"), 421},
		{"on a policy host's connection", "mta-sts.example.com", post(reportHost, 3), 421},
		{"a policy beside it", "mta-sts.example.com", get(wellKnown, "mta-sts.example.com"), 200},
		{"no report for a policy host", "mta-sts.example.com", post("mta-sts.example.com", 3), 404},
	} {
		res, body := parse(t, "POST", raw(t, w.dialTLS(t, tt.sni), tt.request))
		if res.StatusCode != tt.status {
			t.Errorf("%s: %s %q", tt.name, res.Status, body)
		}
		if strings.HasPrefix(tt.request, "POST") && tt.status == 200 && !strings.HasPrefix(body, "3 <nil> ") {
			t.Errorf("%s: %q", tt.name, body)
		}
	}
	if _, err := tls.Dial("tcp", w.https, w.clientTLS("reports.example.org")); err == nil {
		t.Error("a stranger got a handshake")
	}
	res, _ := parse(t, "POST", raw(t, dial(t, w.plain), post(reportHost, 3)))
	if res.StatusCode != 200 {
		t.Errorf("behind a proxy: %s", res.Status)
	}
}

// Over plain HTTP no body is invited, and none is lost in a redirect that becomes a GET.
func TestFurtherHostWithoutTLS(t *testing.T) {
	w := startFurther(t, policyserve.Options{}, echo)
	for _, tt := range []struct {
		request, location string
		status            int
	}{
		{get("/abc", reportHost), "https://" + reportHost + "/abc", 301},
		{get("/", "Reports.example.net:80"), "https://" + reportHost + "/", 301},
		{get("http://reports.example.net", "x"), "https://" + reportHost + "/", 301},
		{post(reportHost, 3), "", 403},
		{strings.Replace(get("/", reportHost), "GET", "PUT", 1), "", 403},
		{get("/", "reports.example.org"), "", 404},
	} {
		res, body := parse(t, "GET", raw(t, dial(t, w.http), tt.request))
		if res.StatusCode != tt.status || res.Header.Get("Location") != tt.location || tt.status != 404 && body != "use HTTPS\n" {
			t.Errorf("%q: %s %v %q", tt.request, res.Status, res.Header, body)
		}
	}
}

func TestPolicyGoesBeforeFurtherHost(t *testing.T) {
	s, err := policyserve.New(policyserve.Options{Hosts: map[string]http.Handler{"mta-sts.example.com": http.NotFoundHandler()}})
	if err != nil {
		t.Fatal(err)
	}
	s.Publish(table(t))
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "https://mta-sts.example.com"+wellKnown, nil))
	if rec.Body.String() != bodyCom {
		t.Errorf("the policy is gone: %d %q", rec.Code, rec.Body)
	}
	for host, h := range map[string]http.Handler{"Reports.example.net": http.NotFoundHandler(), "reports.example.net.": http.NotFoundHandler(), "": http.NotFoundHandler(), "[::1]": http.NotFoundHandler(), reportHost: nil} {
		if _, err := policyserve.New(policyserve.Options{Hosts: map[string]http.Handler{host: h}}); err == nil {
			t.Errorf("%q was taken", host)
		}
	}
}

// A body of 10 MiB comes in by both protocols, with windows that are far smaller.
func TestFurtherHostTakesBodies(t *testing.T) {
	w := startFurther(t, policyserve.Options{}, echo)
	for _, n := range []int{1, 2} {
		var protocols http.Protocols
		protocols.SetHTTP1(n == 1)
		protocols.SetHTTP2(n == 2)
		client := w.client(t, &protocols)
		client.Timeout = time.Minute
		for _, body := range []io.Reader{bytes.NewReader(make([]byte, 10<<20)), io.LimitReader(zero{}, 10<<20)} { // the second is chunked
			res, err := client.Post("https://"+reportHost+"/", "application/tlsrpt+gzip", body)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if !strings.HasPrefix(string(b), "10485760 <nil> ") || res.ProtoMajor != n {
				t.Errorf("%s %s %q", res.Proto, res.Status, b)
			}
		}
	}
}

type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// curl asks first where a body is large, and waits for the answer.
func TestFurtherHostInvitesBody(t *testing.T) {
	w := startFurther(t, policyserve.Options{}, echo)
	for _, c := range []net.Conn{w.dialTLS(t, reportHost), dial(t, w.plain)} {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: "+reportHost+"\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(c)
		if line, err := in.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("%q, %v", line, err)
		}
		_, _ = in.ReadString('\n')
		_, _ = io.WriteString(c, "abc")
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
	}
}

// begin sends the head of a request with a body over protocol 1 or 2, and returns where
// the body goes to, and the answer.
func (w *world) begin(t *testing.T, proto int) (*io.PipeWriter, chan string) {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(proto == 1)
	protocols.SetHTTP2(proto == 2)
	client := w.client(t, &protocols)
	client.Timeout = time.Minute
	in, out := io.Pipe()
	answer := make(chan string, 1)
	go func() {
		res, err := client.Post("https://"+reportHost+"/", "", in)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		answer <- string(b)
	}()
	return out, answer
}

// The deadlines of a policy fetch hold until the handler sets others: a body and an
// answer may come when those are over.
func TestFurtherHostSetsLaterDeadlines(t *testing.T) {
	for _, proto := range []int{1, 2} {
		begun, finish := make(chan struct{}), make(chan struct{})
		w := startFurther(t, policyserve.Options{Limits: policyserve.Limits{HeaderTimeout: 300 * time.Millisecond, WriteTimeout: 300 * time.Millisecond}}, func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			late := time.Now().Add(time.Minute)
			if err := errors.Join(rc.SetReadDeadline(late), rc.SetWriteDeadline(late)); err != nil {
				t.Error(err)
			}
			close(begun)
			b, err := io.ReadAll(r.Body)
			<-finish
			fmt.Fprintf(w, "%s %v", b, err)
		})
		body, answer := w.begin(t, proto)
		_, _ = io.WriteString(body, "one")
		<-begun
		ended(t, w.dialTLS(t, reportHost)) // silent: so much time has gone by
		_, _ = io.WriteString(body, "two")
		body.Close()
		ended(t, w.dialTLS(t, reportHost))
		close(finish)
		if got := <-answer; got != "onetwo <nil>" {
			t.Errorf("HTTP/%d: %q", proto, got)
		}
	}
}

// An earlier deadline ends a body that does not come, and the answer comes still.
func TestFurtherHostSetsEarlierDeadlines(t *testing.T) {
	for _, proto := range []int{1, 2} {
		w := startFurther(t, policyserve.Options{Limits: policyserve.Limits{HeaderTimeout: time.Hour}}, func(w http.ResponseWriter, r *http.Request) {
			b := make([]byte, 3)
			_, _ = io.ReadFull(r.Body, b)
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(30 * time.Millisecond))
			_, err := r.Body.Read(b)
			fmt.Fprint(w, errors.Is(err, os.ErrDeadlineExceeded))
		})
		body, answer := w.begin(t, proto)
		_, _ = io.WriteString(body, "one")
		if got := <-answer; got != "true" {
			t.Errorf("HTTP/%d: %q", proto, got)
		}
		body.Close()
	}
}

// Who sends his body slowly loses his place to who fetches a policy.
func TestSlowPostersInFullHouse(t *testing.T) {
	w := startFurther(t, policyserve.Options{Limits: policyserve.Limits{Connections: 4, ConnectionsPerAddress: unlimited, HeaderTimeout: time.Hour}, TrustedProxies: []netip.Prefix{}}, echo)
	slow := make([]net.Conn, 4)
	for i := range slow {
		slow[i] = w.dialTLS(t, reportHost)
		if _, err := io.WriteString(slow[i], strings.TrimSuffix(post(reportHost, 3), "x")); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		fetch(t, w)
	}
	for range slow {
		last := dial(t, w.https)
		defer last.Close()
	}
	fetch(t, w)
	for _, c := range slow {
		ended(t, c)
	}
}

// A handler learns who the client is, not who the proxy is; and where that is not known,
// that it is not.
func TestFurtherHostKnowsClient(t *testing.T) {
	w := startFurther(t, policyserve.Options{ProxyProtocol: true}, echo)
	for _, tt := range []struct{ name, first, want string }{
		{"announced", header(t, 2, "198.51.100.7"), "3 <nil> 198.51.100.7 198.51.100.7:4711"},
		{"not announced", "", "3 <nil> invalid IP 127.0.0.1:"},
	} {
		_, plain := parse(t, "POST", raw(t, through(t, w.plain, tt.first), post(reportHost, 3)))
		c := tls.Client(through(t, w.https, tt.first), w.clientTLS(reportHost, "http/1.1"))
		_, https := parse(t, "POST", raw(t, c, post(reportHost, 3)))
		for _, got := range []string{plain, https} {
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s: %q", tt.name, got)
			}
		}
	}
	direct := startFurther(t, policyserve.Options{TrustedProxies: []netip.Prefix{}}, echo)
	if _, got := parse(t, "POST", raw(t, direct.dialTLS(t, reportHost), post(reportHost, 3))); !strings.HasPrefix(got, "3 <nil> 127.0.0.1 127.0.0.1:") {
		t.Errorf("without a proxy: %q", got)
	}
}

func TestFurtherHostIsCounted(t *testing.T) {
	w := startFurther(t, policyserve.Options{}, echo)
	before := testutil.CollectAndCount(w.Server)
	raw(t, w.dialTLS(t, reportHost), post(reportHost, 3))
	raw(t, dial(t, w.plain), post(reportHost, 3))
	raw(t, dial(t, w.http), post(reportHost, 3))
	raw(t, dial(t, w.http), get("/", reportHost))
	want := `# HELP mtasts_http_handed_on_total Requests for hosts that are no policy hosts, as for TLS reports, which others answer and count, by listener.
# TYPE mtasts_http_handed_on_total counter
mtasts_http_handed_on_total{listener="https"} 1
mtasts_http_handed_on_total{listener="plain"} 1
`
	if err := testutil.CollectAndCompare(w.Server, strings.NewReader(want), "mtasts_http_handed_on_total"); err != nil {
		t.Error(err)
	}
	for _, code := range []string{"403", "301"} {
		if got := answers(w, "http", "other", code); got != 1 {
			t.Errorf("%d times %s", got, code)
		}
	}
	if after := testutil.CollectAndCount(w.Server); after != before {
		t.Errorf("%d series became %d", before, after)
	}
}

// answers is how often a listener answered with code for hosts of a state.
func answers(w *world, listener, state, code string) int {
	ch := make(chan prometheus.Metric, 200)
	w.Collect(ch)
	close(ch)
	for m := range ch {
		var out dto.Metric
		if strings.Contains(m.Desc().String(), "mtasts_http_requests_total") && m.Write(&out) == nil &&
			out.Label[0].GetValue() == code && out.Label[1].GetValue() == listener && out.Label[2].GetValue() == state {
			return int(out.GetCounter().GetValue())
		}
	}
	return -1
}
