package dnsrecords_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/internal/dnsrecords"
)

var announce = dnsrecords.Change{
	Domain: "example.com", Name: "_mta-sts.example.com", Type: "TXT", Action: "set",
	Value: "v=STSv1; id=new1;", Before: "v=STSv1; id=old1;", TTL: 3600, ID: "new1",
}

func newHook(t *testing.T, o dnsrecords.HookOptions) *dnsrecords.Hook {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	h, err := dnsrecords.NewHook(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A command is given the change as JSON, and in its environment.
func TestHookCommand(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	h := newHook(t, dnsrecords.HookOptions{Command: []string{"sh", "-c", `cat > "$1"; printf '%s|%s|%s|%s' "$MTASTS_ACTION" "$MTASTS_NAME" "$MTASTS_VALUE" "$MTASTS_TTL" >> "$1"`, "sh", out}})
	if err := h.Do(t.Context(), announce); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	line, env, _ := strings.Cut(string(text), "\n")
	var got dnsrecords.Change
	if err := json.Unmarshal([]byte(line), &got); err != nil || got != announce {
		t.Errorf("%s: %v", line, err)
	}
	if env != "set|_mta-sts.example.com|v=STSv1; id=new1;|3600" {
		t.Error(env)
	}
}

// What goes wrong with a command is told, escaped and bounded; one that hangs is ended with
// all that it started.
func TestHookCommandFails(t *testing.T) {
	for _, c := range []struct {
		script, want string
		timeout      time.Duration
	}{
		{"exit 3", "sh: exit status 3", 0},
		{`printf 'no such\033[2J zone' >&2; exit 1`, `sh: exit status 1: no such\x1b[2J zone`, 0},
		{`yes 'a line' | head -c 1000000; exit 1`, "sh: exit status 1: a line", 0},
		{"sleep 600 & wait", "sh has not ended in time, which is 200ms", 200 * time.Millisecond},
	} {
		h := newHook(t, dnsrecords.HookOptions{Command: []string{"sh", "-c", c.script}, Timeout: c.timeout})
		err := h.Do(t.Context(), announce)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || len(err.Error()) > 500 {
			t.Errorf("%s: %v", c.script, err)
		}
	}
	if err := newHook(t, dnsrecords.HookOptions{Command: []string{"/no/such/program"}}).Do(t.Context(), announce); err == nil {
		t.Error("a program that is not there ran")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newHook(t, dnsrecords.HookOptions{Command: []string{"true"}}).Do(gone, announce); err == nil {
		t.Error("a program ran for nobody")
	}
}

// A web hook is signed as Standard Webhooks says.
func TestWebHook(t *testing.T) {
	key := []byte("a key that both sides know")
	for _, secret := range []string{string(key), "whsec_" + base64.StdEncoding.EncodeToString(key)} {
		var got dnsrecords.Change
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			mac := hmac.New(sha256.New, key)
			fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), body)
			if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("Webhook-Signature") != want || r.Method != http.MethodPost {
				t.Errorf("%s: %v", r.Method, r.Header)
			}
			if err := json.Unmarshal(body, &got); err != nil {
				t.Error(err)
			}
		}))
		if err := newHook(t, dnsrecords.HookOptions{URL: s.URL, Secret: secret}).Do(t.Context(), announce); err != nil || got != announce {
			t.Errorf("%+v, %v", got, err)
		}
		s.Close()
	}
}

func TestWebHookFails(t *testing.T) {
	for _, c := range []struct {
		answer http.HandlerFunc
		want   string
	}{
		{func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "zone \x1b[2J is locked", http.StatusConflict)
		}, `the web hook says 409 Conflict: zone \x1b[2J is locked`},
		{func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/else", http.StatusFound) }, "it redirects"},
	} {
		s := httptest.NewServer(c.answer)
		err := newHook(t, dnsrecords.HookOptions{URL: s.URL, Secret: "x"}).Do(t.Context(), announce)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
		s.Close()
	}
	for want, o := range map[string]dnsrecords.HookOptions{
		"a hook needs a command or a URL":                  {},
		`what follows "whsec_" in the secret is no base64`: {URL: "https://example.com", Secret: "whsec_*"},
		"a web hook needs a secret: it is signed":          {URL: "https://example.com"},
		`the web hook at "example.com" is not https`:       {URL: "http://example.com/?token=x", Secret: "x"},
		"the web hook's URL is none":                       {URL: "https://", Secret: "x"},
	} {
		if _, err := dnsrecords.NewHook(o); err == nil || err.Error() != want {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// A token in the URL of a web hook is told to nobody.
func TestWebHookKeepsItsURL(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	err := newHook(t, dnsrecords.HookOptions{URL: s.URL + "/?token=hidden", Secret: "x"}).Do(t.Context(), announce)
	if err == nil || strings.Contains(err.Error(), "hidden") || !strings.Contains(err.Error(), "asking the web hook at \"127.0.0.1:") {
		t.Error(err)
	}
}

// A command that succeeds and leaves somebody behind has succeeded, and nobody is left.
func TestHookLeavesNobody(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	h := newHook(t, dnsrecords.HookOptions{Command: []string{"sh", "-c", `sleep 600 & echo $! > "$1"`, "sh", file}})
	if err := h.Do(t.Context(), announce); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) && !zombie(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is there still")
		}
	}
}

// zombie reports whether a process is over, and nobody has asked how it ended.
func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(text), ") Z ")
}

// The example for a provider's API does what it says, against an API of that kind.
func TestExampleHookForAPI(t *testing.T) {
	var did []string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		did = append(did, fmt.Sprintf("%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("Authorization"), body))
		if r.Method == http.MethodDelete {
			http.Error(w, "locked", http.StatusLocked)
		}
	}))
	defer api.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("API", api.URL)
	t.Setenv("TOKEN_FILE", token)
	script, err := filepath.Abs("../../examples/hooks/http-api.sh")
	if err != nil {
		t.Fatal(err)
	}
	h := newHook(t, dnsrecords.HookOptions{Command: []string{script}})
	quoted := announce
	quoted.Value = `v=TLSRPTv1; rua=https://example.com/"\`
	if err := h.Do(t.Context(), quoted); err != nil {
		t.Fatal(err)
	}
	addresses := dnsrecords.Change{Domain: "example.com", Name: "mta-sts.example.com", Type: "A", Action: "set", Value: "192.0.2.1 192.0.2.2", TTL: 60}
	if err := h.Do(t.Context(), addresses); err != nil {
		t.Fatal(err)
	}
	removal := dnsrecords.Change{Domain: "example.com", Name: "_mta-sts.example.com", Type: "TXT", Action: "remove", Before: "v=STSv1; id=old1;"}
	if err := h.Do(t.Context(), removal); err == nil || !strings.Contains(err.Error(), "423") || !strings.Contains(err.Error(), "locked") {
		t.Errorf("an API that refuses: %v", err)
	}
	want := []string{
		`PUT /records/_mta-sts.example.com/TXT Bearer secret {"ttl": 3600, "values": ["v=TLSRPTv1; rua=https://example.com/\"\\"]}`,
		`PUT /records/mta-sts.example.com/A Bearer secret {"ttl": 60, "values": ["192.0.2.1", "192.0.2.2"]}`,
		"DELETE /records/_mta-sts.example.com/TXT Bearer secret ",
	}
	if diff := cmp.Diff(want, did); diff != "" {
		t.Error(diff)
	}
}

// What a hook is asked for, in which order.
func TestChanges(t *testing.T) {
	const d = "example.com"
	full := dnsrecords.Set{Domain: d, ID: "a", RUA: []string{"mailto:r@example.com"}}
	other := dnsrecords.Set{Domain: d, ID: "b", RUA: []string{"mailto:r@example.com"}}
	for _, c := range []struct {
		why          string
		want, before dnsrecords.Set
		isNew        bool
		changes      []string
	}{
		{"a new domain", dnsrecords.Set{Domain: d, RUA: full.RUA}, dnsrecords.Set{Domain: d}, true, []string{
			"set mta-sts.example.com CNAME policy.example.net", "set _smtp._tls.example.com TXT v=TLSRPTv1; rua=mailto:r@example.com",
		}},
		{"its id", full, dnsrecords.Set{Domain: d, RUA: full.RUA}, false, []string{"set _mta-sts.example.com TXT v=STSv1; id=a;"}},
		{"another id", other, full, false, []string{"set _mta-sts.example.com TXT v=STSv1; id=b; for v=STSv1; id=a;"}},
		{"nothing new", full, full, false, nil},
		{"it goes", dnsrecords.Set{Domain: d}, full, false, []string{
			"remove _mta-sts.example.com TXT  for v=STSv1; id=a;", "remove _smtp._tls.example.com TXT  for v=TLSRPTv1; rua=mailto:r@example.com",
		}},
	} {
		var got []string
		for _, x := range dnsrecords.Changes(c.want, c.before, c.isNew, []string{"policy.example.net"}, time.Hour) {
			line := fmt.Sprintf("%s %s %s %s", x.Action, x.Name, x.Type, x.Value)
			if x.Before != "" {
				line += " for " + x.Before
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(c.changes, got); diff != "" {
			t.Errorf("%s:\n%s", c.why, diff)
		}
	}
}

// The addresses of a host are one change for each type, and so they leave.
func TestChangesOfAddresses(t *testing.T) {
	target := []string{"192.0.2.1", "2001:db8::1", "192.0.2.2"}
	d := dnsrecords.Set{Domain: "example.com"}
	want := []dnsrecords.Change{
		{Domain: "example.com", Name: "mta-sts.example.com", Type: "A", Action: "set", Value: "192.0.2.1 192.0.2.2", TTL: 60},
		{Domain: "example.com", Name: "mta-sts.example.com", Type: "AAAA", Action: "set", Value: "2001:db8::1", TTL: 60},
	}
	if diff := cmp.Diff(want, dnsrecords.Changes(d, d, true, target, time.Minute)); diff != "" {
		t.Error(diff)
	}
	if cs := dnsrecords.Changes(d, d, false, target, time.Minute); len(cs) > 0 {
		t.Errorf("%+v", cs)
	}
	for i := range want {
		c := &want[i]
		c.Action, c.Before, c.Value, c.TTL = "remove", c.Value, "", 0
	}
	if diff := cmp.Diff(want, dnsrecords.Leaving("example.com", target, time.Minute)); diff != "" {
		t.Error(diff)
	}
}
