package e2e_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"mtasts-server/tlsrpt"
)

// reportsMemory is what the server may take while strangers do with the ways in for
// reports what they like: 64 MiB of posted bodies (PostLimits), 60 MiB of mails and 25 MiB
// of their connections (maillimits.go), a report that is read, the cache of the database,
// and garbage.
const reportsMemory = 256 << 20

const reportsAddress = "tlsrpt@" + reportsAt

// bombs are small and come to much, or look as if.
func bombs(domain string) map[string][]byte {
	report := string(reportOn(domain, "bomb", 1, 1))
	before, policy, _ := strings.Cut(report, `"policies":[`)
	policy, after, _ := strings.Cut(policy, `],"report-id"`)
	policies := before + `"policies":[` + strings.Repeat(policy+",", 999_999) + policy + `],"report-id"` + after
	failures := strings.Replace(report, `"failure-details":[`, `"failure-details":[`+strings.Repeat(`{"result-type":"x"},`, 1_000_000), 1)
	zeros := gzipZeros(64<<20, 160) // 10 GiB
	return map[string][]byte{
		"10 GiB of zeros":           zeros,
		"10 GiB of zeros, twice":    packed(zeros),
		"a million policies":        packed([]byte(policies)),
		"a million failures":        packed([]byte(failures)),
		"a million empty policies":  packed([]byte(before + `"policies":[` + strings.Repeat("{},", 1_000_000) + `{}],"report-id"` + after)),
		"a million keys":            packed([]byte(strings.Replace(report, "{", "{"+strings.Repeat(`"a":1,`, 1_000_000), 1))),
		"deep lists":                packed([]byte(before + `"policies":` + strings.Repeat("[", 10_000_000))),
		"deep objects":              packed([]byte(strings.Repeat(`{"policies":[`, 1_000_000))),
		"a long name":               packed([]byte(strings.Replace(report, "Company-X", strings.Repeat("x", 9_000_000), 1))),
		"characters that grow":      packed([]byte(strings.Replace(report, "Company-X", strings.Repeat(`\u0000`, 1_500_000), 1))),
		"bytes that are no text":    packed([]byte(strings.Replace(report, "Company-X", strings.Repeat("\xff", 9_000_000), 1))),
		"a zip of 10 GiB":           zipBomb(1, 10<<30),
		"a zip of a thousand files": zipBomb(1000, 10<<20),
		"noise":                     noise(tlsrpt.MaxPackedSize),
	}
}

// gzipZeros are n bytes, in so many members of one gzip file.
func gzipZeros(n, members int) []byte {
	return bytes.Repeat(packed(make([]byte, n)), members)
}

func zipBomb(files int, size int64) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	const piece = 64 << 20
	var member bytes.Buffer
	w, _ := gzip.NewWriterLevel(&member, gzip.BestCompression)
	_, _ = w.Write(make([]byte, min(piece, size)))
	_ = w.Close()
	for i := range files {
		f, err := z.CreateRaw(&zip.FileHeader{Name: fmt.Sprintf("%d.json", i), Method: zip.Deflate, CompressedSize64: uint64(member.Len()), UncompressedSize64: uint64(size)})
		if err == nil {
			_, err = f.Write(member.Bytes())
		}
		if err != nil {
			panic(err) // it is in memory
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// startBombed starts a server that takes reports by HTTPS and SMTP, and good senders that
// fetch policies from it.
func startBombed(t *testing.T) (p *program, mail string, good *goodSenders) {
	t.Helper()
	s, e := newReportsSite(t, 8, fmt.Sprintf("addresses = [%q]\nsmtp = [\"127.0.0.1:0\"]", reportsAddress))
	var err error
	if s.bin, err = buildPlain(); err != nil {
		t.Fatal(err)
	}
	p = e.startReports(t)
	p.saysNothing()
	eventually(t, "mail is taken", func() error {
		for _, line := range p.lines() {
			var l struct{ Msg, By, Address string }
			if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "taking reports by mail" && l.By == "smtp" {
				mail = l.Address
				return nil
			}
		}
		return errors.New("it is not")
	})
	return p, mail, newGoodSenders(p, e.files[0].domains)
}

// checkBombed wants no policy fetch to have failed, little memory to have been taken, and
// reports to be taken as before.
func checkBombed(t *testing.T, p *program, mail string, good *goodSenders, bound int) {
	t.Helper()
	if n := len(good.failures); n > 0 {
		t.Errorf("%d of %d good fetches failed; the first ones:\n%s", n, n+len(good.latencies), strings.Join(good.failures[:min(n, 3)], "\n"))
	}
	if n := len(good.latencies); n < 10 {
		t.Errorf("%d good fetches tell nothing", n)
	}
	peak := p.status("VmHWM")
	t.Logf("%d good fetches, peak memory %d MiB", len(good.latencies), peak>>20)
	if peak > int64(bound) {
		t.Errorf("the server took %d MiB, want at most %d", peak>>20, bound>>20)
	}
	domain := good.domains[0]
	honest := p.client(false)
	eventually(t, "an honest report is taken by HTTPS", func() error {
		status, err := post(t.Context(), honest, "/", packed(reportOn(domain, "honest", 1, 1)))
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("it is answered %d", status)
		}
		return err
	})
	eventually(t, "an honest report is taken by mail", func() error {
		return p.sendMail(mail, net.IPv4(127, 0, 0, 1), mailWith("application/tlsrpt+gzip", packed(reportOn(domain, "honest by mail", 1, 1))))
	})
	p.awaitEmptySpool()
	stored := p.entries()
	for _, id := range []string{"honest", "honest by mail"} {
		if _, ok := stored[id]; !ok {
			t.Errorf("the %s report is not stored", id)
		}
	}
	p.saysNothing()
	p.stop()
}

// mailWith is a mail with an attachment.
func mailWith(mediaType string, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("From: tlsrpt@sender.test\r\nTo: " + reportsAddress + "\r\nMIME-Version: 1.0\r\nContent-Type: " + mediaType + "\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	text := base64.StdEncoding.EncodeToString(data)
	for ; len(text) > 76; text = text[76:] {
		b.WriteString(text[:76] + "\r\n")
	}
	b.WriteString(text + "\r\n")
	return b.Bytes()
}

// sendMail sends a mail as one who comes from an address of his own.
func (p *program) sendMail(addr string, from net.IP, mail []byte) error {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: programPatience}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(programPatience))
	c, err := smtp.NewClient(conn, reportsAt)
	if err != nil {
		return err
	}
	if err := c.StartTLS(&tls.Config{RootCAs: p.roots(), ServerName: reportsAt}); err != nil {
		return err
	}
	if err := errors.Join(c.Mail("tlsrpt@sender.test"), c.Rcpt(reportsAddress)); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	_, err = w.Write(mail)
	return errors.Join(err, w.Close())
}

// from is a client with an address of its own.
func (p *program) from(ip net.IP) *http.Client {
	tr := p.transport(true)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}}
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return d.DialContext(ctx, network, p.https)
	}
	return &http.Client{Transport: tr, Timeout: programPatience}
}

// TestReportsBombs sends what comes to much when it is unpacked or read, by HTTPS and by
// mail, from many addresses at once.
func TestReportsBombs(t *testing.T) {
	p, mail, good := startBombed(t)
	all := bombs(good.domains[0])
	rounds := drillCount(t, "MTASTS_BOMB_ROUNDS", 2)
	good.run(func() {
		var senders sync.WaitGroup
		room := make(chan struct{}, 2*runtime.GOMAXPROCS(0)+4)
		i := 0
		for range rounds {
			for name, bomb := range all {
				i++
				ip := net.IPv4(127, 2, 0, byte(i))
				client, mime := p.from(ip), mailWith("application/tlsrpt+gzip", bomb)
				for _, send := range []func() error{
					func() error { _, err := post(t.Context(), client, "/", bomb); return err },
					func() error { return p.sendMail(mail, ip, mime) },
				} {
					room <- struct{}{}
					senders.Go(func() {
						defer func() { <-room }()
						if err := send(); err != nil && !strings.HasPrefix(err.Error(), "4") && !errors.Is(err, io.EOF) {
							t.Errorf("%s: %v", name, err)
						}
					})
				}
			}
		}
		senders.Wait()
		p.awaitEmptySpool()
	})
	if n := p.series(`mtasts_reports_total{channel="smtp",fate="aside"}`); n < float64(len(all)/2) {
		t.Errorf("of %d bombs %v came by mail", len(all), n)
	}
	checkBombed(t, p, mail, good, reportsMemory)
}
