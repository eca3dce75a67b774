package dnsrecords_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/dnsrecords"
)

// A zone file is replaced in one step, and only when it says something else.
func TestWriteZoneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "all.zone")
	o := dnsrecords.ExportOptions{TTL: time.Hour, Target: []string{"192.0.2.1"}}
	write := func(sets ...dnsrecords.Set) os.FileInfo {
		t.Helper()
		if err := dnsrecords.WriteZoneFile(path, slices.Values(sets), o); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(left) != 1 {
			t.Errorf("%v are left, %v", left, err)
		}
		return fi
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), ".new-all.zone"), []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, b := dnsrecords.Set{Domain: "a.example", ID: "1"}, dnsrecords.Set{Domain: "b.example"}
	first := write(a, b)
	if same := write(a, b); !os.SameFile(first, same) {
		t.Error("it was written anew, and is the same")
	}
	if other := write(a); os.SameFile(first, other) {
		t.Error("it was written over")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, rest, _ := strings.Cut(string(text), "\n"); rest != "mta-sts.a.example. 3600 IN A 192.0.2.1\n_mta-sts.a.example. 3600 IN TXT \"v=STSv1; id=1;\"\n" {
		t.Errorf("%s", text)
	}
	o.Zone = "sts.example.net"
	write(a)
	if text, _ = os.ReadFile(path); !strings.Contains(string(text), "_mta-sts.a.example.sts.example.net. 3600 IN TXT") {
		t.Errorf("%s", text)
	}
}

// Whoever includes the file of a domain finds it also when it announces nothing any more.
func TestWriteDomainFile(t *testing.T) {
	dir := t.TempDir()
	set := dnsrecords.Set{Domain: "a.example", ID: "1"}
	for _, announced := range []bool{true, false} {
		if err := dnsrecords.WriteDomainFile(dir, "a.example", set, announced, dnsrecords.ExportOptions{TTL: time.Hour}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "a.example.zone"))
		if err != nil || strings.Contains(string(text), "id=1") != announced {
			t.Errorf("announced is %v: %s, %v", announced, text, err)
		}
	}
	for _, domain := range []string{"../a.example", "a.example/b", "", ".", "A.example", "a.example."} {
		if err := dnsrecords.WriteDomainFile(dir, domain, dnsrecords.Set{}, true, dnsrecords.ExportOptions{}); err == nil {
			t.Errorf("%q is a file", domain)
		}
	}
	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dnsrecords.WriteDomainFile(blocked, "a.example", set, true, dnsrecords.ExportOptions{}); err == nil {
		t.Error("a directory that is none was written to")
	}
}
