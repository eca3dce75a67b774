package reports

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"mtasts-server/internal/database"
	"mtasts-server/mtasts"
)

//go:embed steps/*.sql
var stepFiles embed.FS

// Keep says how long what is kept is kept; sums longest.
type Keep struct {
	Raw     time.Duration // reports as they came
	Details time.Duration // what each report says; older ones are not taken any more
	Sums    time.Duration // per day
	Asides  time.Duration // what could not be used
}

// DefaultKeep is what most want: a quarter to look back at in detail, and two years in sums.
func DefaultKeep() Keep {
	const day = 24 * time.Hour
	return Keep{Raw: 30 * day, Details: 100 * day, Sums: 730 * day, Asides: 30 * day}
}

// Options of a Store. All but Log are required.
type Options struct {
	DB       *database.DB
	Known    func(domain string) bool  // whether reports on it are kept
	DomainOf func(token string) string // the domain that a token of an address stands for; "" for none
	Keep     Keep
	Now      func() time.Time
	Log      *slog.Logger // nil discards
}

// Store keeps reports, each domain's apart. Its methods may be called from any goroutine,
// and by several processes on one database.
type Store struct {
	o      Options
	db     *database.DB
	packer *packer
	flood  *flood
	big    sync.Mutex // of reports that take much memory one is read at a time

	mu                    sync.Mutex
	asideRows, asideBytes int // since they were counted last
}

// New returns a store. It does not wait for the database.
func New(o Options) (*Store, error) {
	switch {
	case o.DB == nil || o.Known == nil || o.DomainOf == nil || o.Now == nil:
		return nil, errors.New("reports: an option is missing")
	case o.Keep.Details <= 0 || o.Keep.Raw <= 0 || o.Keep.Sums <= 0 || o.Keep.Asides <= 0:
		return nil, errors.New("reports: nothing would be kept")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Store{o: o, db: o.DB, packer: newPacker(), flood: newFlood()}, nil
}

// Prepare brings the tables up to date. What needs them does so by itself.
func (s *Store) Prepare(ctx context.Context) error {
	if err := s.db.Migrate(ctx, "reports", stepFiles); err != nil {
		return fmt.Errorf("reports: %w", err)
	}
	return nil
}

// Fate is what became of an arrival. It is a metric label.
type Fate string

const (
	Taken    Fate = "taken"
	Repeated Fate = "repeated" // it is there already: a success without effect
	Aside    Fate = "aside"    // it cannot be used, and is kept apart with the reason
)

// Fates lists them all.
func Fates() []Fate { return []Fate{Taken, Repeated, Aside} }

// Outcome says what became of an arrival.
type Outcome struct {
	Fate   Fate     // the best of its parts'
	Reason Reason   // why it, or a part of it, was set aside; "" where none was
	Detail string   // more on that, for people; bounded, escaped
	Noted  bool     // it says something otherwise than RFC 8460 wants
	Parts  []Stored // that are new, one for each domain
}

// Stored is what one arrival said of a domain, and was not known before.
type Stored struct {
	ID                 ID
	Successful, Failed int64            // sessions
	Failures           map[string]int64 // sessions by result type
}

// Put stores arrivals, in their order. What it returns is in that order, too. With an
// error it is of those that were stored before; to store these again has no effect.
func (s *Store) Put(ctx context.Context, arrivals []*Arrival) ([]Outcome, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	outcomes := make([]Outcome, 0, len(arrivals))
	for len(outcomes) < len(arrivals) {
		sifted := s.siftSome(arrivals[len(outcomes):])
		fresh, err := s.write(ctx, sifted)
		s.uncount(sifted, fresh)
		if err != nil {
			return outcomes, err
		}
		s.trimAsides(ctx, sifted)
		for i := range sifted {
			outcomes = append(outcomes, sifted[i].outcome(fresh))
		}
	}
	return outcomes, nil
}

// maxHeld bounds what is read and waits to be stored, in bytes as it weighs: some thousand
// of the usual reports, or two of those that a stranger makes large and packs small.
const maxHeld = 32 << 20

// siftSome reads the first of arrivals, one at least, until they are as many as memory is
// to hold.
func (s *Store) siftSome(arrivals []*Arrival) []sifted {
	list := make([]sifted, len(arrivals))
	var next, held atomic.Int64
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for held.Load() < maxHeld {
				i := next.Add(1) - 1
				if i >= int64(len(arrivals)) {
					return
				}
				list[i] = s.siftOne(arrivals[i])
				held.Add(list[i].weight)
			}
		})
	}
	wait.Wait()
	return list[:min(next.Load(), int64(len(arrivals)))]
}

// siftOne reads an arrival, and packs what is kept of it. One that we stumble over is set
// aside: it must not end the server, and again at each start.
func (s *Store) siftOne(a *Arrival) (x sifted) {
	defer func() {
		if fault := recover(); fault != nil {
			why := strconv.QuoteToASCII(fmt.Sprint(fault))
			s.o.Log.Error("a mistake while a report was read, which was set aside", "err", why, "stack", string(debug.Stack()))
			x = sifted{asides: []*aside{newAside(a, sha256.Sum256(a.Data), "", Unreadable, "a mistake of this program: "+why, a.Data)}}
		}
	}()
	x.parts, x.asides = s.sift(a)
	for _, p := range x.parts {
		x.weight += 3 * int64(len(p.details)) // the report as it was read is some more
		p.details, p.raw = s.packer.pack(p.details), s.packer.pack(p.raw)
		x.weight += int64(len(p.details) + len(p.raw))
	}
	for _, a := range x.asides {
		x.weight += int64(len(a.data))
	}
	return x
}

// uncount has what is not new count for nothing: repeats, and all that could not be stored,
// which is tried again and again while the database is gone.
func (s *Store) uncount(all []sifted, fresh map[*part]int64) {
	for _, x := range all {
		for _, p := range x.parts {
			if _, isNew := fresh[p]; !isNew && p.arrival.Channel != File {
				s.flood.giveBack(p.domain, mtasts.OrganizationalDomain(p.arrival.Submitter), p.places)
			}
		}
	}
}

// sifted is what an arrival comes to.
type sifted struct {
	parts  []*part
	asides []*aside
	weight int64 // bytes, about
}

// outcome says what became of it, fresh being the parts that were not known.
func (x *sifted) outcome(fresh map[*part]int64) Outcome {
	o := Outcome{Fate: Aside}
	for _, a := range x.asides {
		o.Reason, o.Detail = a.reason, a.detail
	}
	for _, p := range x.parts {
		o.Noted = o.Noted || len(p.report.Notes) > 0
		id, isNew := fresh[p]
		switch {
		case isNew:
			o.Fate = Taken
			o.Parts = append(o.Parts, Stored{ID{p.domain, id}, p.successful, p.failed, failuresOf(p)})
		case o.Fate == Aside:
			o.Fate = Repeated
		}
	}
	return o
}
