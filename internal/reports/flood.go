package reports

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// aDay is how many reports are taken in a day on a domain from one submitter, and from
	// all together of whom nobody knows who they are. Submitters send one, or a few; anybody
	// can send any number.
	aDay = 500

	// perPlace is what a report may come to, in bytes: what is larger counts as several. So
	// it is some 100 MiB a day at most that one can fill on a domain, and not ten gigabytes.
	perPlace = 256 << 10

	// namesADay is how many of the strangers' reports of a day keep, in sums, the name that
	// they claim. Those behind are summed up under one: made-up names would fill them.
	namesADay = 50

	// floodCells bounds what counting takes: 8 MiB. Domains and submitters that share a cell
	// are counted as one, which of five million reports a day makes two or three of each.
	floodCells = 1 << 22
)

// flood counts what came in today.
type flood struct {
	mu    sync.Mutex
	seed  maphash.Seed // unknown to who would want to share somebody's cell
	day   int64
	cells []uint16
}

func newFlood() *flood { return &flood{seed: maphash.MakeSeed()} }

// places is how many reports one of size counts as.
func places(size int) int { return 1 + size/perPlace }

// count counts n reports on domain, and says the how many-th of the day that is; submitter
// is "" for strangers. What would come to more than aDay is not counted.
func (f *flood) count(domain, submitter string, n int, now time.Time) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cells == nil {
		f.cells = make([]uint16, floodCells)
	}
	if day := dayOf(now); day != f.day {
		f.day = day
		clear(f.cells)
	}
	cell := &f.cells[maphash.String(f.seed, domain+" "+submitter)%floodCells]
	if int(*cell)+n > aDay {
		return aDay + 1
	}
	*cell += uint16(n)
	return int(*cell)
}

// giveBack takes back what count counted, as the report was not taken.
func (f *flood) giveBack(domain, submitter string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	cell := &f.cells[maphash.String(f.seed, domain+" "+submitter)%floodCells]
	*cell -= uint16(min(int(*cell), n)) // a day may have begun meanwhile
}
