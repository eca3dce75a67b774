package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// units of time in the configuration. A month or a year is no unit: nobody
// agrees on their seconds.
var units = map[byte]time.Duration{
	's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
}

// parseDuration reads whole numbers with the units s, m, h, d and w, largest
// first or not: "2w", "1d12h". A number without a unit counts seconds.
func parseDuration(s string) (time.Duration, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return seconds(n)
	}
	var sum time.Duration
	for rest := s; rest != ""; {
		i := 0
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		n, err := strconv.ParseInt(rest[:i], 10, 64)
		if err != nil || i == len(rest) || units[rest[i]] == 0 {
			return 0, fmt.Errorf("%q is no time: write a number of seconds, or numbers with the units s, m, h, d, w", s)
		}
		unit := units[rest[i]]
		if n > int64((math.MaxInt64-sum)/unit) {
			return 0, fmt.Errorf("%q is too long", s)
		}
		sum += time.Duration(n) * unit
		rest = rest[i+1:]
	}
	if s == "" {
		return 0, errors.New("the time is empty")
	}
	return sum, nil
}

func seconds(n int64) (time.Duration, error) {
	if n > math.MaxInt64/int64(time.Second) || n < math.MinInt64/int64(time.Second) {
		return 0, fmt.Errorf("%d seconds are too long", n)
	}
	return time.Duration(n) * time.Second, nil
}

// duration reads a time: a whole number of seconds, or a string for parseDuration.
func (t *table) duration(name, example string) (time.Duration, bool) {
	v, ok := t.get(name)
	if !ok {
		return 0, false
	}
	var d time.Duration
	var err error
	switch v := v.(type) {
	case int64:
		d, err = seconds(v)
	case string:
		d, err = parseDuration(v)
	default:
		err = fmt.Errorf("is %s, want seconds or a string like %q", kind(v), example)
	}
	if err != nil {
		t.errorf(name, "", fmt.Sprintf("write %s = %q", name, example), "%s: %v", name, err)
	}
	return d, err == nil
}
