package app

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mtasts-server/certs"
	"mtasts-server/config"
	"mtasts-server/internal/dnsrecords"
	"mtasts-server/internal/lookup"
	"mtasts-server/internal/sendercheck"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// RecordsOptions say how the verb records looks at the world.
type RecordsOptions struct {
	Offline   bool             // ask nobody: print what is wanted, ids included
	Resolvers []string         // name servers, "address:port"; none for those that are configured
	Parallel  int              // domains at a time; 0: a few per processor
	Done      func()           // called after each domain, by one at a time; may be nil
	Now       func() time.Time // nil is time.Now
}

// stateWithheld is for a record that must not be published yet.
const stateWithheld dnsrecords.State = "withheld"

// RecordView is one record that a domain must publish, beside what is in DNS.
type RecordView struct {
	Name  string           `json:"name"`
	Type  string           `json:"type"`
	Value string           `json:"value,omitempty"` // empty where it is withheld
	TTL   int              `json:"ttl,omitempty"`
	State dnsrecords.State `json:"state,omitempty"`
	Today []string         `json:"today"`
	Do    string           `json:"do,omitempty"`  // what to change
	Why   string           `json:"why,omitempty"` // it is withheld, or wanted

	record dnsrecords.Record
}

// RecordsView is what a domain must publish.
type RecordsView struct {
	Domain  string       `json:"domain"`
	State   state        `json:"state"`
	Records []RecordView `json:"records"`
	Notes   []string     `json:"notes,omitempty"`

	// Unsure says what is not known of records that may be there. A tool that removes what
	// is not written must not be given the Sheet then.
	Unsure string `json:"unsure,omitempty"`
}

// OK reports whether DNS has all that it should have.
func (v *RecordsView) OK() bool {
	return !slices.ContainsFunc(v.Records, func(r RecordView) bool { return r.State != dnsrecords.StateOK })
}

// Sheet is what of v can be published now.
func (v *RecordsView) Sheet() dnsrecords.Sheet {
	s := dnsrecords.Sheet{Domain: v.Domain, Notes: slices.Clone(v.Notes)}
	for _, r := range v.Records {
		switch {
		case r.Value != "" && r.Name != v.Domain && !strings.HasSuffix(r.Name, "."+v.Domain):
			s.Notes = append(s.Notes, "above the domain: "+r.record.String()) // where its zone file does not reach
		case r.Value != "":
			s.Records = append(s.Records, r.record)
		case r.State == stateWithheld:
			s.Notes = append(s.Notes, fmt.Sprintf("%s. %s: withheld: %s", r.Name, r.Type, r.Why))
			if len(r.Today) == 1 { // it stays, also where a tool removes what is not written
				if _, err := mtasts.ParseRecord(r.Today[0]); err == nil {
					r.record.Value = r.Today[0]
					s.Records = append(s.Records, r.record)
				}
			}
		case r.Why != "":
			s.Notes = append(s.Notes, fmt.Sprintf("%s. %s: %s", r.Name, r.Type, r.Why))
		}
	}
	return s
}

// Names lists the domains that are configured or published, sorted.
func (v *View) Names() []string {
	var names []string
	for _, d := range v.snap.Domains {
		names = append(names, d.Name)
	}
	for _, e := range v.ledger.All() {
		names = append(names, e.Domain)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// inquiry is one run of the verb records.
type inquiry struct {
	o        RecordsOptions
	settings config.DNS
	resolver *lookup.Resolver
	checker  *sendercheck.Checker
	cas      *certs.Inspector // nil: no CA is asked for certificates
}

// Records says of each domain what it must publish, and asks DNS and the domain's policy
// host what there is. The views come in the order of domains.
func (v *View) Records(ctx context.Context, domains []string, o RecordsOptions) ([]*RecordsView, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Parallel == 0 {
		o.Parallel = 8 * runtime.GOMAXPROCS(0)
	}
	in := &inquiry{o: o, settings: v.snap.Settings.DNS}
	if !o.Offline {
		if err := in.prepare(v.snap.Settings); err != nil {
			return nil, err
		}
	}
	known := make(map[string]*config.Domain, len(v.snap.Domains))
	for _, d := range v.snap.Domains {
		known[d.Name] = d
	}
	views := make([]*RecordsView, len(domains))
	var eg errgroup.Group
	eg.SetLimit(o.Parallel)
	var telling sync.Mutex
	for i, domain := range domains {
		eg.Go(func() error {
			p, err := v.published(domain, known[domain])
			if err != nil {
				return err
			}
			views[i] = in.view(ctx, p)
			if o.Done != nil {
				telling.Lock()
				defer telling.Unlock()
				o.Done()
			}
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, err
	}
	return views, ctx.Err()
}

func (in *inquiry) prepare(s config.Settings) (err error) {
	servers := s.DNS.Resolvers
	if len(in.o.Resolvers) > 0 {
		servers = in.o.Resolvers
	}
	in.resolver = lookup.New(servers, in.o.Now)
	in.checker, err = sendercheck.New(sendercheck.Options{Resolver: in.resolver, AllowPrivate: s.DNS.Private, HTTPTimeout: seeLimit, Now: in.o.Now})
	if err != nil {
		return err
	}
	co, err := certsOptions(s)
	if err != nil {
		return nil // the verb check says so; here it means that nobody is asked
	}
	co.Now = in.o.Now
	in.cas, err = certs.NewInspector(co)
	return err
}

// seeLimit is how long a policy host may take to answer when its policy is to be announced.
// Some senders wait for two seconds only; the check tells of that.
const seeLimit = 10 * time.Second

// publication is what a server publishes for a domain.
type publication struct {
	domain string
	state  state
	id     string
	body   []byte
	rua    []string
	why    string // it is not as configured
	noRUA  bool   // rua is not known
}

// published returns what a server publishes for domain, which d configures, unless nil.
func (v *View) published(domain string, d *config.Domain) (publication, error) {
	e, ok := v.ledger.Lookup(domain)
	if d != nil {
		d = v.served(d)
	}
	if d != nil && !(ok && contested(v.snap, e, d)) {
		return publication{domain: domain, state: stateCurrent, id: d.ID, body: d.Body, rua: d.TLSRPT}, nil
	}
	if !ok {
		return publication{}, fmt.Errorf("%q is neither configured nor published; %s", domain, nextStep(v.snap, domain))
	}
	p := publication{domain: domain, state: stateKept, id: e.ID, body: e.Body, why: keep(v.snap, e).why()}
	a, ok := v.ledger.Announced(domain)
	p.rua, p.noRUA = announced(a).RUA, !ok
	return p, nil
}

// view compares what p's domain must publish with what there is.
func (in *inquiry) view(ctx context.Context, p publication) *RecordsView {
	v := &RecordsView{Domain: p.domain, State: p.state}
	if p.why != "" {
		v.Notes = append(v.Notes, "served as last published: "+p.why)
	}
	if z := in.settings.Zone; z != nil {
		for _, r := range dnsrecords.Delegation(p.domain, z.Name, len(p.rua) > 0, in.settings.TTL) {
			v.Records = append(v.Records, in.compare(ctx, r))
		}
	} else {
		in.addOwn(ctx, v, p)
		if p.noRUA {
			in.keepReports(ctx, v)
		}
	}
	in.addCAA(ctx, v)
	return v
}

// addOwn adds the records of a domain that publishes them in its own zone.
func (in *inquiry) addOwn(ctx context.Context, v *RecordsView, p publication) {
	host := mtasts.PolicyHost(p.domain)
	if len(in.settings.Target) == 0 {
		v.Records = append(v.Records, in.unnamed(ctx, host))
	}
	var hosts, rest []dnsrecords.Record
	for _, r := range dnsrecords.Wanted(dnsrecords.Set{Domain: p.domain, ID: p.id, RUA: p.rua}, in.settings.Target, in.settings.TTL) {
		if r.Name == host {
			hosts = append(hosts, r)
		} else {
			rest = append(rest, r)
		}
	}
	for _, r := range hosts { // the addresses of a host are one thing
		view := in.compare(ctx, hosts...)
		view.Type, view.Value, view.record = r.Type, r.Value, r
		v.Records = append(v.Records, view)
	}
	for _, r := range rest {
		view := in.compare(ctx, r)
		if r.Name == mtasts.RecordName(p.domain) {
			if view.State == dnsrecords.StateUnknown {
				v.Unsure = view.Do
			}
			in.withhold(ctx, &view, p)
		}
		v.Records = append(v.Records, view)
	}
}

// keepReports adds the record that says where to report to as it is, for a domain of which
// nobody knows now where that should be.
func (in *inquiry) keepReports(ctx context.Context, v *RecordsView) {
	r := dnsrecords.Record{Name: tlsrpt.RecordName(v.Domain), Type: "TXT", Value: "v=" + tlsrpt.Version + ";", TTL: in.settings.TTL}
	if in.o.Offline {
		v.Unsure = "its configuration is broken, and offline nobody knows what it had at " + r.Name
		return
	}
	switch there := dnsrecords.Compare(ctx, in.resolver, []dnsrecords.Record{r}); {
	case there.State == dnsrecords.StateUnknown:
		v.Unsure = there.Do
	case len(there.Values) == 1:
		if _, err := tlsrpt.ParseRecord(there.Values[0]); err == nil {
			r.Value = there.Values[0]
			v.Records = append(v.Records, RecordView{
				Name: r.Name, Type: r.Type, Value: r.Value, TTL: int(r.TTL.Seconds()), State: dnsrecords.StateOK, Today: there.Values, record: r,
			})
		}
	}
}

// unnamed is for a policy host of which nobody said where it should lead.
func (in *inquiry) unnamed(ctx context.Context, host string) RecordView {
	view := RecordView{
		Name: host, Type: "CNAME", Today: []string{},
		Why: "a CNAME, or A and AAAA, that leads to this server; set dns.target to have it written here",
	}
	if in.o.Offline {
		return view
	}
	there := dnsrecords.Compare(ctx, in.resolver, []dnsrecords.Record{{Name: host, Type: "A"}})
	view.Today = append(view.Today, there.Values...)
	if view.State = there.State; there.State == dnsrecords.StateDiffers {
		view.State = dnsrecords.StateOK // whether it leads here is seen by the policy
	} else if there.Do != "" {
		view.Do = there.Do
	}
	return view
}

func (in *inquiry) compare(ctx context.Context, wanted ...dnsrecords.Record) RecordView {
	r := wanted[0]
	view := RecordView{Name: r.Name, Type: r.Type, Value: r.Value, TTL: int(r.TTL.Seconds()), Today: []string{}, record: r}
	if in.o.Offline {
		return view
	}
	there := dnsrecords.Compare(ctx, in.resolver, wanted)
	view.State, view.Do = there.State, there.Do
	view.Today = append(view.Today, there.Values...)
	return view
}

// withhold takes the id out of view until the policy was seen from outside, byte for byte,
// on every address of its host (RFC 8461 §8.1).
func (in *inquiry) withhold(ctx context.Context, view *RecordView, p publication) {
	if in.o.Offline {
		return
	}
	if in.settings.IDDelay > 0 && view.State != dnsrecords.StateOK {
		view.Do += fmt.Sprintf(", at least %s after the new policy is on every server", in.settings.IDDelay)
	}
	err := in.checker.Fetch(ctx, p.domain).Same(p.body)
	if err == nil {
		return
	}
	view.Why = err.Error()
	if view.State == dnsrecords.StateOK {
		view.State, view.Do = stateWithheld, "it is announced already, although the policy is not seen: mend the policy host first"
		return
	}
	view.Value, view.State = "", stateWithheld
	view.Do = "wait until each address of the host serves the policy, then run this again"
	if len(view.Today) > 0 {
		view.Do = "leave it as it is; " + view.Do
	}
}

// addCAA adds what is missing for a CA to issue, if it is.
func (in *inquiry) addCAA(ctx context.Context, v *RecordsView) {
	if in.cas == nil {
		return
	}
	finding, owner, issuer, err := in.cas.CAA(ctx, mtasts.PolicyHost(v.Domain))
	switch {
	case err != nil:
		v.Notes = append(v.Notes, err.Error())
	case finding == "":
	case owner == "":
		v.Notes = append(v.Notes, finding)
	default:
		r := dnsrecords.Record{Name: owner, Type: "CAA", Value: fmt.Sprintf("0 issue %q", issuer), TTL: in.settings.TTL}
		v.Records = append(v.Records, RecordView{
			Name: r.Name, Type: r.Type, Value: r.Value, TTL: int(r.TTL.Seconds()), State: dnsrecords.StateMissing,
			Today: []string{}, Do: "add it beside those that are there", Why: finding, record: r,
		})
	}
}
