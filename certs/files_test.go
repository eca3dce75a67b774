package certs_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mtasts-server/certs"
)

const host = "mta-sts.example.com"

// write writes files below dir: name and content in turn.
func write(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, data, 0o600))
	}
}

func link(t testing.TB, target, path string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.RemoveAll(path))
	must(t, os.Symlink(target, path))
}

// openFiles is a Manager of the PEM files in dir.
func openFiles(t *testing.T, dir string, now func() time.Time, hosts ...string) (*certs.Manager, told) {
	t.Helper()
	log := make(told, 10_000)
	m, err := certs.New(certs.Options{Source: certs.SourceFiles, FilesDir: dir, Log: slog.New(log), Now: now})
	must(t, err)
	m.Manage(hosts)
	return m, log
}

// serves fails the test unless m hands out p for name, with its key and a chain of
// so many.
func serves(t *testing.T, why string, m *certs.Manager, name string, p certs.TestPair, chain int) {
	t.Helper()
	c := served(t, m, name)
	if c == nil {
		t.Errorf("%s: %s has no certificate: %+v", why, name, m.Status())
		return
	}
	if !bytes.Equal(c.Certificate[0], p.Leaf.Raw) || len(c.Certificate) != chain {
		t.Errorf("%s: %s has another certificate, or not a chain of %d but of %d", why, name, chain, len(c.Certificate))
	}
	if key := c.PrivateKey.(crypto.Signer).Public().(interface{ Equal(crypto.PublicKey) bool }); !key.Equal(p.Leaf.PublicKey) {
		t.Errorf("%s: the key of %s does not fit", why, name)
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func encode(kind string, der []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// How files are called and spread means nothing: key and certificate belong
// together when their public keys are the same.
func TestFilesArePairedByTheirKeys(t *testing.T) {
	ca := certs.NewTestCA(t)
	p := ca.Issue(t, certs.TestLeaf{Names: []string{host}})
	other := ca.Issue(t, certs.TestLeaf{Names: []string{"mta-sts.example.net"}})
	wild := ca.Issue(t, certs.TestLeaf{Names: []string{"*.example.com"}})
	shouted := ca.Issue(t, certs.TestLeaf{Names: []string{"MTA-STS.Example.COM"}})
	for _, c := range []struct {
		why   string
		files map[string][]byte
		want  certs.TestPair
		chain int
	}{
		{"as certbot calls them", map[string][]byte{"fullchain.pem": p.Chain, "privkey.pem": p.Key}, p, 2},
		{"as Kubernetes calls them", map[string][]byte{"tls.crt": p.Chain, "tls.key": p.Key}, p, 2},
		{"without a suffix", map[string][]byte{"1": p.Key, "2": p.Chain}, p, 2},
		{"called the wrong way round", map[string][]byte{"a.key": p.Chain, "a.crt": p.Key}, p, 2},
		{"two pairs whose names are crossed", map[string][]byte{"a.crt": p.Chain, "a.key": other.Key, "b.crt": other.Chain, "b.key": p.Key}, p, 2},
		{"in different directories", map[string][]byte{"certs/a": p.Chain, "private/keys/a": p.Key}, p, 2},
		{"in one file, key first", map[string][]byte{"a.pem": join(p.Key, p.Chain)}, p, 2},
		{"in one file, key last", map[string][]byte{"a.pem": join(p.Chain, p.Key)}, p, 2},
		{"all keys in one file", map[string][]byte{"keys": join(other.Key, p.Key), "a": p.Chain, "b": other.Chain}, p, 2},
		{"the longer chain of two copies", map[string][]byte{"cert.pem": p.Cert, "fullchain.pem": p.Chain, "z.pem": p.Cert, "key": p.Key}, p, 2},
		{"no chain", map[string][]byte{"a": p.Cert, "b": p.Key}, p, 1},
		{"with text around it", map[string][]byte{"a": join([]byte("Bag Attributes\r\n  friendlyName: x\r\n"), p.Chain, []byte("\n# -----\n"), p.Key)}, p, 2},
		{"with blocks that mean nothing here", map[string][]byte{"a": join(encode("DH PARAMETERS", []byte{1}, nil), encode("EC PARAMETERS", []byte{1}, nil), p.Chain, p.Key)}, p, 2},
		{"beside files that are nothing", map[string][]byte{"README": []byte("hello"), "empty": nil, "zero": make([]byte, 9), "cert.der": p.Leaf.Raw, "a": p.Chain, "b": p.Key}, p, 2},
		{"beside a file that is too big", map[string][]byte{"big": bytes.Repeat(p.Chain, 999), "a": p.Chain, "b": p.Key}, p, 2},
		{"beside broken ones", map[string][]byte{"bad": encode("CERTIFICATE", []byte("x"), nil), "worse": encode("PRIVATE KEY", []byte("x"), nil), "a": p.Chain, "b": p.Key}, p, 2},
		{"a wildcard", map[string][]byte{"a": wild.Chain, "b": wild.Key}, wild, 2},
		{"a name in upper case", map[string][]byte{"a": shouted.Chain, "b": shouted.Key}, shouted, 2},
	} {
		dir := t.TempDir()
		write(t, dir, c.files)
		m, _ := openFiles(t, dir, nil, host)
		serves(t, c.why, m, host, c.want, c.chain)
		if _, err := dial(t, m, &tls.Config{ServerName: host, RootCAs: ca.Roots}); (err == nil) != (c.chain == 2) {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}

func TestKindsOfKeys(t *testing.T) {
	ca := certs.NewTestCA(t)
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	sec1, err := x509.MarshalECPrivateKey(ec)
	for _, c := range []struct {
		why  string
		key  crypto.Signer
		data []byte // nil: PKCS #8
	}{
		{"ECDSA", ec, nil},
		{"ECDSA, SEC 1", ec, encode("EC PRIVATE KEY", sec1, err)},
		{"RSA", rsaKey, nil},
		{"RSA, PKCS #1", rsaKey, encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil)},
		{"Ed25519", ed, nil},
	} {
		p := ca.Issue(t, certs.TestLeaf{Names: []string{host}, Key: c.key})
		if c.data == nil {
			c.data = p.Key
		}
		dir := t.TempDir()
		write(t, dir, map[string][]byte{"cert": p.Chain, "key": c.data})
		old := time.Now().Add(-time.Hour)
		for _, name := range []string{"cert", "key"} {
			must(t, os.Chtimes(filepath.Join(dir, name), old, old)) // or they would be read again below
		}
		m, _ := openFiles(t, dir, nil, host)
		serves(t, c.why, m, host, p, 2)
		write(t, dir, map[string][]byte{"other": ca.Issue(t, certs.TestLeaf{Names: []string{"mta-sts.example.net"}}).Chain})
		m.Reload() // all are matched anew
		serves(t, c.why+", after a reload", m, host, p, 2)
		if _, err := dial(t, m, &tls.Config{ServerName: host, RootCAs: ca.Roots}); err != nil {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}

// What is of no use is not handed out, and the person who looks is told why.
func TestFilesOfNoUse(t *testing.T) {
	ca := certs.NewTestCA(t)
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	issue := func(leaf certs.TestLeaf) certs.TestPair {
		if leaf.NotBefore.IsZero() {
			leaf.NotBefore = now.Add(-time.Hour)
		}
		return ca.Issue(t, leaf)
	}
	p := issue(certs.TestLeaf{Names: []string{host}})
	client := issue(certs.TestLeaf{Names: []string{host}, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	deep := issue(certs.TestLeaf{Names: []string{"*.com", "*.a.example.com", "example.com"}})
	expired := issue(certs.TestLeaf{Names: []string{host}, NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-time.Hour)})
	future := issue(certs.TestLeaf{Names: []string{host}, NotBefore: now.Add(time.Hour)})
	legacy := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("x")})
	const (
		nobody    = `no certificate below "DIR" names "mta-sts.example.com" or "*.example.com"`
		keyless   = `no file has the private key of the certificate in "DIR/cert"`
		encrypted = "the private key is encrypted: store it without a passphrase, readable for this program only"
	)
	for _, c := range []struct {
		why     string
		files   map[string][]byte
		problem string
		logged  string // of a file
		state   certs.State
	}{
		{"nothing there", nil, nobody, "", certs.StatePending},
		{"other names only", map[string][]byte{"cert": deep.Chain, "key": deep.Key}, nobody, "", certs.StatePending},
		{"for clients only", map[string][]byte{"cert": client.Chain, "key": client.Key}, nobody, "", certs.StatePending},
		{"the CA's own", map[string][]byte{"cert": bytes.TrimPrefix(p.Chain, p.Cert), "key": p.Key}, nobody, "", certs.StatePending},
		{"hidden", map[string][]byte{".cert": p.Chain, ".key": p.Key, ".git/cert": p.Chain, "..data/cert": p.Chain}, nobody, "", certs.StatePending},
		{"not text but DER", map[string][]byte{"cert": p.Leaf.Raw, "key": p.Key}, nobody, "neither a certificate nor a private key is in it", certs.StatePending},
		{"no key", map[string][]byte{"cert": p.Chain}, keyless, "", certs.StatePending},
		{"another key", map[string][]byte{"cert": p.Chain, "key": expired.Key}, keyless, "", certs.StatePending},
		{"an encrypted key", map[string][]byte{"cert": p.Chain, "key": encode("ENCRYPTED PRIVATE KEY", []byte("x"), nil)}, keyless, encrypted, certs.StatePending},
		{"an encrypted key as openssl once wrote it", map[string][]byte{"cert": p.Chain, "key": legacy}, keyless, encrypted, certs.StatePending},
		{"a broken key", map[string][]byte{"cert": p.Chain, "key": encode("PRIVATE KEY", []byte("x"), nil)}, keyless, "private key: ", certs.StatePending},
		{"a broken certificate", map[string][]byte{"cert": encode("CERTIFICATE", []byte("x"), nil), "key": p.Key}, nobody, "x509: malformed certificate", certs.StatePending},
		{"half a certificate", map[string][]byte{"cert": p.Cert[:400], "key": p.Key}, nobody, "a PEM block is cut off", certs.StatePending},
		{"half a chain", map[string][]byte{"cert": p.Chain[:len(p.Chain)-100], "key": p.Key}, nobody, "a PEM block is cut off", certs.StatePending},
		{"too big", map[string][]byte{"cert": bytes.Repeat(p.Chain, 999), "key": p.Key}, nobody, "file is too big: more than 262144 bytes", certs.StatePending},
		{"expired", map[string][]byte{"cert": expired.Chain, "key": expired.Key}, `the certificate in "DIR/cert" expired on 2026-06-01T11:00:00Z`, "", certs.StateFailing},
		{"not valid yet", map[string][]byte{"cert": future.Chain, "key": future.Key}, `the certificate in "DIR/cert" is not valid before 2026-06-01T13:00:00Z`, "", certs.StateFailing},
	} {
		dir := t.TempDir()
		write(t, dir, c.files)
		m, log := openFiles(t, dir, func() time.Time { return now }, host)
		if got := served(t, m, host); (got != nil) != (c.state == certs.StateFailing) {
			t.Errorf("%s: served is %v", c.why, got)
		}
		h := m.Status()[0]
		if h.LastError != strings.ReplaceAll(c.problem, "DIR", dir) || h.State != c.state {
			t.Errorf("%s: %s, %s\nwant %s", c.why, h.State, h.LastError, c.problem)
		}
		if sum := m.Summary(); sum.Pending+sum.Failing != 1 || (sum.Failing == 1) != (c.state == certs.StateFailing) {
			t.Errorf("%s: %+v", c.why, sum)
		}
		for range 3 { // what was said once is not said again
			m.Reload()
		}
		var said []string
		for len(log) > 0 {
			r := <-log
			r.Attrs(func(a slog.Attr) bool {
				if r.Message == "a certificate file is not usable" && a.Key == "err" {
					said = append(said, a.Value.String())
				}
				return true
			})
		}
		if len(said) > 1 || len(said) == 1 && (c.logged == "" || !strings.Contains(said[0], c.logged)) || len(said) == 0 && c.logged != "" {
			t.Errorf("%s: logged %q, want %q", c.why, said, c.logged)
		}
	}
}
