package certs

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

const day = 24 * time.Hour

// born is when the certificates of these tests begin to be valid.
var born = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// living is a certificate that is valid from born on.
func living(lifetime time.Duration) *certificate {
	return &certificate{from: momentOf(born), until: momentOf(born.Add(lifetime))}
}

// span is a window that begins and ends so long after born.
func span(start, end time.Duration) window {
	return window{start: born.Add(start), end: born.Add(end)}
}

func TestRenewTime(t *testing.T) {
	foreign := living(90 * day)
	foreign.foreign = true
	if at := renewTime(foreign, span(50*day, 54*day), 0.5); !at.Equal(born) {
		t.Errorf("from a CA that is not asked any more: at %v, want at once", at)
	}
	for _, c := range []struct {
		why    string
		life   time.Duration
		window window
		chance float64
		want   time.Duration // after born
	}{
		{"two thirds of 90 days, at the latest", 90 * day, window{}, 0, 60 * day},
		{"a day 90 is spread over almost four days", 90 * day, window{}, 1, 56*day + 6*time.Hour},
		{"two thirds of six days", 6 * day, window{}, 0, 4 * day},
		{"a sixth of a day earlier by chance", 6 * day, window{}, 1, 4*day - 6*time.Hour},
		{"what only a test CA issues", 6 * time.Minute, window{}, 0, 4 * time.Minute},
		{"half a window is none", 90 * day, window{start: born.Add(30 * day)}, 0.5, 60*day - 45*time.Hour},
		{"the beginning of the window", 90 * day, span(50*day, 54*day), 0, 50 * day},
		{"its middle", 90 * day, span(50*day, 54*day), 0.5, 52 * day},
		{"its end", 90 * day, span(50*day, 54*day), 1, 54 * day},
		{"a window without length", 90 * day, span(50*day, 50*day), 0.7, 50 * day},
		{"later than we would, but not too late", 90 * day, span(70*day, 74*day), 0.5, 72 * day},
		{"capped: the last sixth is ours", 90 * day, span(70*day, 80*day), 1, 75 * day},
		{"capped as a whole", 90 * day, span(85*day, 89*day), 0, 75 * day},
		{"capped, though the certificate has expired by then", 90 * day, span(100*day, 200*day), 0.5, 75 * day},
		{"capped for a short life too", 6 * day, span(5*day+12*time.Hour, 6*day), 0, 5 * day},
		{"the CA revokes it: at once", 90 * day, span(-2*day, -1*day), 0.5, -36 * time.Hour},
	} {
		got := renewTime(living(c.life), c.window, c.chance).Sub(born).Round(time.Millisecond)
		if got != c.want {
			t.Errorf("%s: after %v, want %v", c.why, got, c.want)
		}
	}
}

// Whatever the CA says, a certificate is renewed before its last sixth begins, and
// in the CA's window where that allows it.
func TestRenewTimeIsNeverTooLate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	lives := []time.Duration{time.Minute, time.Hour, day, 6 * day, 47 * day, 90 * day, 398 * day}
	for range 20_000 {
		life := lives[r.IntN(len(lives))]
		start := time.Duration((r.Float64()*4 - 2) * float64(life))
		w := span(start, start+time.Duration(r.Float64()*2*float64(life)))
		if r.IntN(4) == 0 {
			w = window{}
		}
		chance := r.Float64()
		c := living(life)
		at := renewTime(c, w, chance)
		latest := born.Add(life*5/6 + time.Millisecond)
		if at.After(latest) {
			t.Fatalf("life %v, window %v to %v, chance %v: renewed at %v, after %v", life, w.start, w.end, chance, at, latest)
		}
		if w == (window{}) {
			if at.Before(born.Add(life * 5 / 8)) {
				t.Fatalf("life %v, no window, chance %v: renewed already at %v", life, chance, at)
			}
			continue
		}
		if at.After(w.end) || at.Before(w.start) && at.Add(time.Millisecond).Before(born.Add(life*5/6)) {
			t.Fatalf("life %v, window %v to %v, chance %v: renewed at %v, outside of it", life, w.start, w.end, chance, at)
		}
	}
}

func TestRetryWait(t *testing.T) {
	for _, c := range []struct {
		why      string
		failures int
		lifetime time.Duration
		chance   float64
		want     time.Duration
	}{
		{"who counts from zero waits too", 0, 0, 0, 5 * time.Minute},
		{"the first is quick", 1, 0, 0, 5 * time.Minute},
		{"the second keeps the hour", 2, 0, 0, 70 * time.Minute},
		{"third", 3, 0, 0, 2 * time.Hour},
		{"fourth", 4, 0, 0, 4 * time.Hour},
		{"four a day from then on", 5, 0, 0, 6 * time.Hour},
		{"for ever", 1 << 40, 0, 0, 6 * time.Hour},
		{"up to a fifth longer", 1, 0, 1, 6 * time.Minute},
		{"up to a fifth longer at the end", 9, 0, 1, 7*time.Hour + 12*time.Minute},
		{"90 days leave time for it", 5, 90 * day, 0, 6 * time.Hour},
		{"so do six", 5, 6 * day, 0, 6 * time.Hour},
		{"an hour does not: a tenth", 5, time.Hour, 0, 6 * time.Minute},
		{"but its first retry is as quick", 1, time.Hour, 0, 5 * time.Minute},
		{"minutes neither", 1, 10 * time.Minute, 0, time.Minute},
		{"the fifth is one of the shorter wait", 1, 10 * time.Minute, 1, 72 * time.Second},
		{"a lifetime below zero is none", 1, -time.Hour, 0, 5 * time.Minute},
	} {
		if got := retryWait(c.failures, c.lifetime, c.chance); got != c.want {
			t.Errorf("%s: %v, want %v", c.why, got, c.want)
		}
	}
}

// Let's Encrypt allows five failed validations per host and hour; an attempt may
// cost two. Certificates of less than half a day are a test CA's.
func TestNeverThreeAttemptsInAnHour(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, life := range []time.Duration{0, 12 * time.Hour, 6 * day, 90 * day} {
		for range 1000 {
			var at []time.Duration
			now := time.Duration(0)
			for failures := 1; failures < 20; failures++ {
				at = append(at, now)
				now += retryWait(failures, life, r.Float64())
			}
			for i := 2; i < len(at); i++ {
				if at[i]-at[i-2] <= time.Hour {
					t.Fatalf("lifetime %v: attempts at %v, %v and %v", life, at[i-2], at[i-1], at[i])
				}
			}
		}
	}
}

func TestLookWait(t *testing.T) {
	for _, c := range []struct {
		failures int
		want     time.Duration
	}{
		{1, 10 * time.Second},
		{2, 20 * time.Second},
		{5, 160 * time.Second},
		{6, 5 * time.Minute},
		{1 << 40, 5 * time.Minute},
	} {
		if got := lookWait(c.failures); got != c.want {
			t.Errorf("after %d failures: %v, want %v", c.failures, got, c.want)
		}
	}
}

func TestFirstAsk(t *testing.T) {
	for _, c := range []struct {
		why    string
		life   time.Duration
		chance float64
		want   time.Duration
	}{
		{"a CA that wants each new certificate renewed at once is asked an hour later", 90 * day, 0, time.Hour},
		{"within the usual interval", 90 * day, 1, 6 * time.Hour},
		{"spread evenly", 90 * day, 0.5, 3*time.Hour + 30*time.Minute},
		{"a twentieth of a short life", 20 * time.Hour, 1, time.Hour},
		{"and half of that at least", 20 * time.Hour, 0, 30 * time.Minute},
		{"what only a test CA issues", 20 * time.Minute, 0.5, 45 * time.Second},
	} {
		if got := firstAsk(c.life, c.chance); got != c.want {
			t.Errorf("%s: %v, want %v", c.why, got, c.want)
		}
	}
}

func TestNextAsk(t *testing.T) {
	again := func(d time.Duration) window { return window{again: born.Add(d)} }
	for _, c := range []struct {
		why      string
		window   window
		failures int
		chance   float64
		want     time.Duration
	}{
		{"the CA does not say", window{}, 0, 0, 6 * time.Hour},
		{"spread by a fifth", window{}, 0, 1, 7*time.Hour + 12*time.Minute},
		{"as the CA says", again(2 * time.Hour), 0, 0, 2 * time.Hour},
		{"never before", again(2 * time.Hour), 0, 0.5, 2*time.Hour + 12*time.Minute},
		{"under a minute is a minute (RFC 9773 §4.3.3)", again(time.Second), 0, 0, time.Minute},
		{"in the past is a minute", again(-day), 0, 0, time.Minute},
		{"over a day is a day (RFC 9773 §4.3.3)", again(30 * day), 0, 0, day},
		{"first failure", window{}, 1, 0, 15 * time.Minute},
		{"second failure", window{}, 2, 0, 30 * time.Minute},
		{"fifth failure", window{}, 5, 0, 4 * time.Hour},
		{"sixth failure", window{}, 6, 0, 6 * time.Hour},
		{"failing for ever", window{}, 1 << 40, 0, 6 * time.Hour},
		{"a failure spread by a fifth", window{}, 1, 1, 18 * time.Minute},
	} {
		if got := nextAsk(c.window, c.failures, born, c.chance); got != c.want {
			t.Errorf("%s: %v, want %v", c.why, got, c.want)
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, c := range []struct{ why, in, want string }{
		{"nothing to do", "dial tcp: connection refused", "dial tcp: connection refused"},
		{"nothing at all", "", ""},
		{"letters of the world stay", "größer: 例え", "größer: 例え"},
		{"no second log line", "a\nlevel=ERROR b\r\nc", "a level=ERROR b  c"},
		{"no terminal sequence", "a\x1b[31mred\x07", "a [31mred "},
		{"no C1 control", "a\u009b31m", "a 31m"},
		{"no NUL, no tab", "a\x00b\tc", "a b c"},
		{"no text that runs backwards", "a\u202eb\u2066c", "a b c"},
		{"no separator of lines", "a\u2028b\u2029c\u0085d", "a b c d"},
		{"no invisible space", "a\u200bb\ufeffc", "a b c"},
		{"no broken UTF-8", "a\xff\xc3(b", "a\ufffd\ufffd(b"},
		{"as long as it may be", strings.Repeat("x", maxErrorText), strings.Repeat("x", maxErrorText)},
		{"a byte too long", strings.Repeat("x", maxErrorText+1), strings.Repeat("x", maxErrorText) + "…"},
		{"not cut within a letter", "x" + strings.Repeat("ä", maxErrorText), "x" + strings.Repeat("ä", maxErrorText/2-1) + "…"},
		{"broken UTF-8 grows before it is cut", strings.Repeat("\xff", maxErrorText), strings.Repeat("\ufffd", maxErrorText/3) + "…"},
	} {
		got := errorText(errors.New(c.in))
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
		if errorText(errors.New(strings.TrimSuffix(got, "…"))) != strings.TrimSuffix(got, "…") {
			t.Errorf("%s: %q is changed by being read again", c.why, got)
		}
	}
}

func FuzzErrorText(f *testing.F) {
	f.Add("urn:ietf:params:acme:error:dns: no valid A records\n\x1b[2J")
	f.Add("\xff\xfe\u202e")
	f.Add(strings.Repeat("ü", maxErrorText))
	f.Fuzz(func(t *testing.T, in string) {
		got := errorText(errors.New(in))
		if !utf8.ValidString(got) || len(got) > maxErrorText+len("…") {
			t.Errorf("%d bytes: %q", len(got), got)
		}
		if i := strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("not printable at %d: %q", i, got)
		}
	})
}
