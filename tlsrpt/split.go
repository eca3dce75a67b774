package tlsrpt

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Split takes the report apart by policy domain: no part says anything of another, and
// "" has the policies without a domain. A part keeps the notes on the report as a whole
// and on its own policies, by their places in the part. Keys that stand twice are left
// out: they are a stranger's text of anywhere.
func (r *Report) Split() map[string]*Report {
	type place struct {
		part *Report
		at   int
	}
	parts := map[string]*Report{}
	now := map[int]place{} // by the place in the JSON
	at := r.places()
	for i, p := range r.Policies {
		part := parts[p.Domain]
		if part == nil {
			whole := *r
			part = &whole
			part.Policies, part.Notes = nil, nil
			parts[p.Domain] = part
		}
		now[at[i]] = place{part, len(part.Policies)}
		part.Policies = append(part.Policies, p)
	}
	for _, n := range r.Notes {
		i, tail, ofPolicy := policyPath(n.Path)
		switch {
		case n.Code == NoteDuplicateKey:
		case !ofPolicy:
			for _, part := range parts {
				part.Notes = append(part.Notes, n)
			}
		case now[i].part != nil:
			n.Path = fmt.Sprintf("policies[%d]%s", now[i].at, tail)
			now[i].part.Notes = append(now[i].part.Notes, n)
		}
	}
	return parts
}

// For returns the part of the report that is about domain; nil if none is.
func (r *Report) For(domain string) *Report { return r.Split()[domain] }

// policyPath takes "policies[7].summary" apart.
func policyPath(path string) (i int, tail string, ok bool) {
	rest, ok := strings.CutPrefix(path, "policies[")
	number, tail, closed := strings.Cut(rest, "]")
	i, err := strconv.Atoi(number)
	return i, tail, ok && closed && err == nil
}

// places are those of the policies in the JSON, where those that are no objects count too.
// That they were left out is noted, or so late that nothing behind them is.
func (r *Report) places() []int {
	left := map[int]bool{}
	for _, n := range r.Notes {
		if i, tail, ok := policyPath(n.Path); ok && tail == "" && n.Code == NoteWrongType {
			left[i] = true
		}
	}
	var at []int
	for i := 0; len(at) < len(r.Policies); i++ {
		if !left[i] {
			at = append(at, i)
		}
	}
	return at
}

// Key is the same for the same report on domain, by whatever way and however often it
// comes: by what submitter says that it is of, its id and its window. An id alone is not
// unique, not even for one submitter, and mail subjects have others. submitter is who was
// authenticated, "" for nobody: then a forged report never stands in for a genuine one.
func (r *Report) Key(domain, submitter string) [sha256.Size]byte {
	var b []byte
	for _, s := range []string{domain, submitter, r.ReportID} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, at := range []time.Time{r.Start, r.End} {
		b = binary.BigEndian.AppendUint64(b, uint64(at.Unix()))
	}
	return sha256.Sum256(b)
}
