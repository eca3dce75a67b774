package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mtasts-server/internal/app"
	"mtasts-server/mtasts"
)

// days is a flag: a number of days, as "30d" or "4w". Zero stands for all.
type days int

// maxDays is more than is kept of anything.
const maxDays = 3660

func (d *days) Type() string { return "days" }

func (d *days) String() string {
	if *d == 0 {
		return ""
	}
	return fmt.Sprintf("%dd", int(*d))
}

func (d *days) Set(s string) error {
	number, unit := strings.TrimRight(s, "dw"), 1
	if strings.HasSuffix(s, "w") {
		unit = 7
	}
	n, err := strconv.Atoi(number)
	if err != nil || len(s) != len(number)+1 || n < 1 || n > maxDays/unit {
		return errors.New(`want days or weeks, as 30d or 4w`)
	}
	*d = days(n * unit)
	return nil
}

// period is the last days, today included: from the start of the first to the end of the
// last, in UTC as reports are (RFC 8460 §4.1). The start is zero for all.
func (d days) period(now time.Time) (since, until time.Time) {
	until = now.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)
	if d > 0 {
		since = until.AddDate(0, 0, -int(d))
	}
	return since, until
}

// domainsOf returns the domains that are named, or all that r has.
func domainsOf(r *app.Reports, args []string) ([]string, error) {
	if len(args) == 0 {
		if len(r.Domains) == 0 {
			return nil, errors.New("no domain is configured: write a policy file, or have one written by the verb init")
		}
		return r.Domains, nil
	}
	domains := make([]string, len(args))
	for i, arg := range args {
		var err error
		if domains[i], err = mtasts.ParseDomain(arg); err != nil {
			return nil, usageError{err}
		}
	}
	return domains, nil
}
