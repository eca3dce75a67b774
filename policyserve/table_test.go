package policyserve_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mtasts-server/policyserve"
)

func TestTable(t *testing.T) {
	tab := table(t)
	if got := tab.Hosts(); tab.Len() != 2 || !slices.Equal(got, []string{"mta-sts.example.com", "mta-sts.example.org"}) {
		t.Errorf("hosts %q", got)
	}
	for _, tt := range []struct {
		name string
		ps   []policyserve.Publication
		want string
	}{
		{"two of one domain", []policyserve.Publication{{Domain: "a.example", Body: []byte("x"), State: policyserve.Current}, {Domain: "a.example", Body: []byte("y"), State: policyserve.Current}}, `policy of "a.example": there are two`},
		{"nothing to say", []policyserve.Publication{{Domain: "a.example", State: policyserve.Current}}, `policy of "a.example": the body is empty`},
		{"no state", []policyserve.Publication{{Domain: "a.example", Body: []byte("x")}}, `policy of "a.example": unknown state ""`},
	} {
		if _, err := policyserve.NewTable(tt.ps); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Whoever reads while tables are swapped sees one of them, whole.
func TestThousandSwapsUnderLoad(t *testing.T) {
	w := start(t, policyserve.Options{})
	bodies := make([]string, 8)
	tables := make([]*policyserve.Table, len(bodies))
	for i := range tables {
		bodies[i] = fmt.Sprintf("version: STSv1\r\nmode: enforce\r\nmx: mx%d.example.com\r\nmax_age: 604800\r\n%s", i, strings.Repeat("x", i*100))
		var err error
		if tables[i], err = policyserve.NewTable([]policyserve.Publication{{Domain: "example.com", Body: []byte(bodies[i]), State: policyserve.Current}}); err != nil {
			t.Fatal(err)
		}
	}
	w.Publish(tables[0])
	var done atomic.Bool
	var fetches atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		var protocols http.Protocols
		protocols.SetHTTP1(i%2 == 0)
		protocols.SetHTTP2(i%2 == 1)
		client := w.client(t, &protocols)
		wg.Go(func() {
			for !done.Load() {
				res, err := client.Get("https://mta-sts.example.com" + wellKnown)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != 200 || !slices.Contains(bodies, string(b)) {
					t.Errorf("%s %q, %v", res.Status, b, err)
					return
				}
				fetches.Add(1)
			}
		})
	}
	for i := range 1000 {
		w.Publish(tables[i%len(tables)])
		for n := fetches.Load(); fetches.Load() == n && i%10 == 0 && !t.Failed(); { // let some fetches in
		}
	}
	done.Store(true)
	wg.Wait()
}

func FuzzLookup(f *testing.F) {
	for _, s := range []string{"mta-sts.example.com", "MTA-STS.example.com.:443", "x.:443", "[::1]:443", "127.0.0.1", "mta-sts", "", ":", ".", "mta-sts.exämple.com", "mta-sts.example.com:99999999"} {
		f.Add(s)
	}
	tab := table(f)
	f.Fuzz(func(t *testing.T, s string) {
		_, ok := tab.Lookup(s)
		name, port, _ := strings.Cut(strings.ToLower(s), ":")
		want := tab.Hosts()
		if ok && (!slices.Contains(want, strings.TrimSuffix(name, ".")) || strings.Trim(port, "0123456789") != "") {
			t.Errorf("%q is not a host of ours", s)
		}
		if !ok && slices.Contains(want, strings.ToLower(s)) {
			t.Errorf("%q is a host of ours", s)
		}
	})
}

// However tables follow each other, they hold what was published last.
func TestTablesFollow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	table, want := new(policyserve.Table), map[string]string{}
	for step := range 500 {
		var ps []policyserve.Publication
		var gone []string
		for i := range r.IntN(1 + step%40) {
			domain := fmt.Sprintf("d%d.example", r.IntN(100))
			if _, ok := want[domain]; ok && r.IntN(3) == 0 {
				gone = append(gone, domain)
				delete(want, domain)
				ps = slices.DeleteFunc(ps, func(p policyserve.Publication) bool { return p.Domain == domain })
				continue
			}
			ps = slices.DeleteFunc(ps, func(p policyserve.Publication) bool { return p.Domain == domain })
			want[domain] = fmt.Sprint(step, " ", i)
			ps = append(ps, policyserve.Publication{Domain: domain, Body: []byte(want[domain]), State: policyserve.Current})
		}
		before, had := table, table.Len()
		next, err := table.With(ps, gone)
		if err != nil {
			t.Fatal(err)
		}
		if table = next; table.Len() != len(want) || len(table.Hosts()) != len(want) {
			t.Fatalf("step %d: %d and %d hosts, want %d", step, table.Len(), len(table.Hosts()), len(want))
		}
		for i := range 100 {
			domain := fmt.Sprintf("d%d.example", i)
			if body, _ := table.Lookup("mta-sts." + domain); string(body) != want[domain] {
				t.Fatalf("step %d: %s: %q, want %q", step, domain, body, want[domain])
			}
		}
		if before.Len() != had {
			t.Fatalf("step %d: the table before changed", step)
		}
	}
}
