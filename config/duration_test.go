package config

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{
		"1d": day, "2w": 14 * day, "1w2d": 9 * day, "90m": 90 * time.Minute, "3600s": time.Hour, "0s": 0, "36h": 36 * time.Hour, "86400": day,
	} {
		if got, err := parseDuration(s); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	}
	for s, why := range map[string]string{
		"": "nothing", "d": "no number", "1y": "a year has no fixed length", "1 d": "a space", "-1d": "negative",
		"1.5d": "a fraction", "2w3": "a number without a unit", "99999999999999999999w": "overflow", "999999999w": "overflow", "1M": "a month has no fixed length",
	} {
		if got, err := parseDuration(s); err == nil {
			t.Errorf("%q is taken as %v: %s", s, got, why)
		}
	}
}
