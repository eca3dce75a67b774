package app

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/dnsrecords"
)

// exportEvery is how long changes are gathered before the file of all domains is written:
// 100,000 make 20 MB.
const exportEvery = 2 * time.Second

const (
	// exportAgain is when it is tried again what could not be written.
	exportAgain = time.Minute

	// exportWaits is how long the file of all domains is left as it is, after the start, for
	// domains of which DNS is to say what was announced: the file may be where DNS has it from.
	exportWaits = time.Hour
)

// exporter writes zone files of what is announced.
type exporter struct {
	settings config.DNS
	log      *slog.Logger
	writing  errand
	began    time.Time
	waits    func(domain string) bool // whether DNS is to say first what was announced; may be nil
	waiting  func() bool              // whether one of them waits for that; may be nil

	mu      sync.Mutex
	sets    map[string]dnsrecords.Set
	changed map[string]bool // since they were written
	pending bool            // they are about to be
	swept   bool            // files of domains that went before the start were looked for
	err     error
}

func newExporter(d config.DNS, log *slog.Logger) *exporter {
	return &exporter{
		settings: d, log: log, began: time.Now(), writing: errand{name: "writing zone files"},
		sets: map[string]dnsrecords.Set{}, changed: map[string]bool{},
	}
}

// take notes what is announced, and has it written in a moment.
func (x *exporter) take(sets []dnsrecords.Set, removed []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range sets {
		x.sets[s.Domain], x.changed[s.Domain] = s, true
	}
	for _, domain := range removed {
		delete(x.sets, domain)
		x.changed[domain] = true
	}
	if len(x.changed) > 0 || !x.swept { // at the start also where there is nothing
		x.writeAfter(exportEvery)
	}
}

// writeAfter has what changed written after a while. The mutex is held.
func (x *exporter) writeAfter(wait time.Duration) {
	if !x.pending {
		x.pending = true
		time.AfterFunc(wait, func() { x.writing.begin(x.write) })
	}
}

// write writes what changed. What could not be written is written with the next change, or
// after a minute.
func (x *exporter) write() {
	x.mu.Lock()
	x.pending = false
	changed := x.changed
	x.changed = map[string]bool{}
	sets, sweep := maps.Clone(x.sets), !x.swept
	x.mu.Unlock()
	whole := !sweep || x.sweep(changed, sets)
	later := x.waiting != nil && x.waiting() && time.Since(x.began) < exportWaits
	err := x.writeSets(changed, sets, later)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.swept = x.swept || err == nil && whole
	if err != nil && x.err == nil {
		x.log.Error("zone files cannot be written", "err", err)
	}
	if err != nil || later || !whole {
		maps.Copy(x.changed, changed)
		x.writeAfter(exportAgain)
	}
	x.err = err
}

// sweep adds to what changed the domains that went while nobody could write it, as between
// the ledger and the files when the server is killed. It returns false where it left some
// alone: what stands there is all that is known of them.
func (x *exporter) sweep(changed map[string]bool, sets map[string]dnsrecords.Set) (whole bool) {
	whole = true
	for _, domain := range dnsrecords.WrittenDomains(x.settings.Export.Directory) {
		if _, ok := sets[domain]; ok {
			continue
		}
		if x.waits != nil && x.waits(domain) {
			whole = false
			continue
		}
		changed[domain] = true
	}
	return whole
}

func (x *exporter) writeSets(changed map[string]bool, sets map[string]dnsrecords.Set, later bool) error {
	o := dnsrecords.ExportOptions{TTL: x.settings.TTL, Target: x.settings.Target}
	if z := x.settings.Zone; z != nil {
		o.Zone = z.Name
	}
	var first error // one file that cannot be written keeps none of the others from it
	if dir := x.settings.Export.Directory; dir != "" {
		for _, domain := range slices.Sorted(maps.Keys(changed)) {
			set, ok := sets[domain]
			first = cmp.Or(first, dnsrecords.WriteDomainFile(dir, domain, set, ok, o))
		}
	}
	if file := x.settings.Export.File; file != "" && !later {
		inOrder := func(yield func(dnsrecords.Set) bool) {
			for _, domain := range slices.Sorted(maps.Keys(sets)) {
				if !yield(sets[domain]) {
					return
				}
			}
		}
		first = cmp.Or(first, dnsrecords.WriteZoneFile(file, inOrder, o))
	}
	return first
}

// amiss says in one line that files cannot be written, "" where they can.
func (x *exporter) amiss() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err == nil {
		return ""
	}
	return "zone files cannot be written: " + x.err.Error()
}
