package e2e_test

import (
	"io"
	"net/http"
	"strings"
	"time"

	"mtasts-server/internal/sendercheck/sendertest"
)

// answerWorlds have policy hosts whose answers are not what they should be.
func answerWorlds() []*world {
	answer := func(name string, serve http.HandlerFunc, want ...string) *world {
		return &world{name: name, serve: serve, want: want}
	}
	status := func(code int, location string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if location != "" {
				w.Header().Set("Location", location)
			}
			w.WriteHeader(code)
			_, _ = io.WriteString(w, policyText("enforce"))
		}
	}
	typed := func(mediaType string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			if mediaType != "" {
				w.Header().Set("Content-Type", mediaType)
			}
			_, _ = io.WriteString(w, policyText("enforce"))
		}
	}
	// hanging says something, and then no more for as long as the sender stays.
	hanging := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if text != "" {
				_, _ = io.WriteString(w, text)
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
		}
	}
	both := []string{"mta-sts A " + firstHost, "mta-sts A " + secondHost}
	second := func(then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if asked(r) == secondHost {
				then(w, r)
				return
			}
			sendertest.Text(policyText("enforce"))(w, r)
		}
	}
	return []*world{
		answer("redirect-301", status(301, "https://www.redirect-301.test/mta-sts.txt"), "policy-redirect"),
		answer("redirect-302", status(302, "/mta-sts.txt"), "policy-redirect"),
		answer("status-404", status(404, ""), "policy-status"),
		answer("status-500", status(500, ""), "policy-status"),
		answer("status-204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "policy-status"),
		answer("media-type-html", typed("text/html"), "warning policy-media-type"),
		answer("media-type-octets", typed("application/octet-stream"), "warning policy-media-type"),
		answer("media-type-none", typed(""), "warning policy-media-type"),
		answer("too-large", sendertest.Text(policyText("enforce")+strings.Repeat("x: y\r\n", 11_000)), "policy-too-large"),
		answer("much-too-large", sendertest.Text(policyText("enforce")+strings.Repeat("x: y\r\n", 1<<20)), "policy-too-large"),
		answer("broken-off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, policyText("enforce"))
		}, "policy-http-failed"),
		{name: "slow-body", slow: true, serve: hanging("version: STSv1\r\n"), want: []string{"policy-timeout"}},
		{name: "slow-head", slow: true, serve: hanging(""), want: []string{"policy-timeout"}},
		// Who has no record and serves something else does not mean to have a policy.
		{name: "web-server", dns: []string{"- _mta-sts"}, body: "<!DOCTYPE html>\n<html><body>welcome</body></html>\n", want: []string{"warning not-published"}},
		{name: "web-server-404", dns: []string{"- _mta-sts"}, serve: http.NotFound, want: []string{"warning not-published"}},
		answer("slow", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(2500 * time.Millisecond) // longer than postfix-tlspol waits
			sendertest.Text(policyText("enforce"))(w, r)
		}, "warning policy-slow"),
		{name: "two-bodies", dns: both, serve: second(sendertest.Text(policyText("testing"))), want: []string{"warning policy-differs"}},
		{name: "one-of-two-404", chance: true, dns: both, serve: second(http.NotFound), want: []string{"policy-status"}},
	}
}

// policyWorlds serve something that is no policy, or an odd one.
func policyWorlds() []*world {
	const head, tail = "version: STSv1\r\nmode: enforce\r\n", "mx: good.mx.test\r\n"
	policy := func(name, body string, want ...string) *world {
		return &world{name: name, body: body, want: want}
	}
	good := policyText("enforce")
	return []*world{
		policy("html", "<!DOCTYPE html>\n<html><body>welcome</body></html>\n", "policy-html"),
		policy("bom", "\ufeff"+good, "policy-bom"),
		policy("blank-line", head+"\r\nmax_age: 1209600\r\n"+tail, "policy-blank-line"),
		policy("comment", "# our policy\r\n"+good, "policy-blank-line"),
		policy("mode-capital", strings.Replace(good, "enforce", "Enforce", 1), "policy-invalid"),
		policy("no-mode", strings.Replace(good, "mode: enforce\r\n", "", 1), "policy-invalid"),
		policy("no-version", strings.Replace(good, "version: STSv1\r\n", "", 1), "policy-invalid"),
		policy("version-2", strings.Replace(good, "STSv1", "STSv2", 1), "policy-invalid"),
		policy("no-max-age", head+tail, "policy-invalid"),
		policy("max-age-words", head+"max_age: 2 weeks\r\n"+tail, "policy-invalid"),
		policy("max-age-huge", head+"max_age: 99999999999\r\n"+tail, "policy-invalid"),
		policy("max-age-too-large", head+"max_age: 31557601\r\n"+tail, "warning policy-max-age"),
		policy("max-age-short", head+"max_age: 3600\r\n"+tail, "warning policy-max-age"),
		policy("no-mx", head+"max_age: 1209600\r\n", "policy-invalid"),
		policy("mx-dot", head+"max_age: 1209600\r\nmx: good.mx.test.\r\n", "policy-mx-dot"),
		policy("two-modes", head+"mode: testing\r\nmax_age: 1209600\r\n"+tail, "warning policy-duplicate-field"),
		policy("extension", good+"contact: mailto:a@b.test\r\n", "warning policy-extension"),
		policy("equals-signs", strings.ReplaceAll(good, ": ", "="), "policy-invalid"),
	}
}

// mxWorlds have trouble with their MX hosts.
func mxWorlds() []*world {
	mx := func(host string, want ...string) *world {
		return &world{name: "mx-" + host, mx: []string{host}, want: want}
	}
	slow := func(host string, want string) *world {
		return &world{name: "mx-" + host, mx: []string{host}, slow: true, want: []string{want}}
	}
	unused := []string{"mx-pattern-unused"}
	return []*world{
		{name: "mx-not-in-policy", mx: []string{"good2"}, body: policyText("enforce"), want: []string{"mx-not-in-policy"}, notes: unused},
		{name: "mx-second-not-in-policy", mx: []string{"good", "good2"}, body: policyText("enforce"), want: []string{"mx-not-in-policy"}},
		{name: "mx-wildcard-two-labels", mx: []string{"far.away"}, body: policyText("enforce", "*"), want: []string{"mx-not-in-policy"}, notes: unused},
		{name: "mx-none", dns: []string{"- @"}, want: []string{"mx-missing"}},
		{name: "mx-address", dns: []string{"@ MX 10 127.25.0.1."}, want: []string{"mx-name-invalid"}, notes: unused},
		mx("lame", "unknown mx-host-unknown", "warning dane-unknown"),
		mx("nowhere", "mx-host-missing"),
		mx("empty", "mx-host-missing"),
		mx("loop", "mx-host-missing"),
		mx("alias", "warning mx-alias", "mx-cert-name"),
		mx("plain", "mx-no-starttls"),
		mx("hidden", "mx-no-starttls"),
		mx("stripped", "mx-no-starttls"),
		mx("refusing", "mx-starttls-refused"),
		mx("garbage", "mx-starttls-refused"),
		mx("nohandshake", "mx-tls-failed"),
		mx("http", "unknown mx-smtp-failed"),
		mx("busy", "unknown mx-refused"),
		mx("nobanner", "unknown mx-smtp-failed"),
		mx("oldtls", "mx-tls-old"),
		mx("expired", "mx-cert-expired"),
		mx("early", "mx-cert-expired"),
		mx("soon", "warning mx-cert-expires-soon"),
		mx("othername", "mx-cert-name"),
		mx("commonname", "mx-cert-name"),
		mx("wildcard"),
		mx("widewildcard", "mx-cert-name"),
		mx("untrusted", "mx-cert-untrusted"),
		mx("selfsigned", "mx-cert-untrusted"),
		mx("nochain", "mx-cert-untrusted"),
		slow("silent", "unknown mx-smtp-failed"),
		slow("hanging", "mx-starttls-refused"),
		{name: "mx-one-of-two-plain", mx: []string{"good", "plain"}, want: []string{"mx-no-starttls"}},
		{name: "mx-plain-testing", mx: []string{"plain"}, body: policyText("testing", "plain"), want: []string{"mx-no-starttls"}, notes: []string{"mode-testing"}},
		{name: "mx-plain-mode-none", mx: []string{"plain"}, body: policyText("none", "plain"), want: []string{"warning mx-no-starttls"}, notes: []string{"mode-none"}},
	}
}
