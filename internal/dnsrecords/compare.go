package dnsrecords

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"mtasts-server/internal/lookup"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// State is how a wanted record compares with what is in DNS.
type State string

// The states of a record.
const (
	StateOK      State = "ok"
	StateMissing State = "missing" // nothing of the kind is there
	StateDiffers State = "differs" // something else is there
	StateUnknown State = "unknown" // DNS does not say
)

// Today is what is in DNS in place of a wanted record.
type Today struct {
	State  State
	Values []string // of the kind: TXT of the same version, addresses, the alias; escaped and bounded
	By     string   // the last of the aliases that lead to them, "" for none
	Do     string   // what to change; "" for nothing
}

const (
	// maxShown bounds the values that are shown, maxValue the length of each.
	maxShown = 8
	maxValue = 300
)

// Compare asks DNS what is there in place of the wanted records, which have one name and
// one type, or are the addresses of one host.
func Compare(ctx context.Context, r *lookup.Resolver, wanted []Record) Today {
	w := wanted[0]
	switch w.Type {
	case "TXT":
		return compareTXT(ctx, r, w)
	case "CNAME":
		return compareAlias(ctx, r, w)
	}
	return compareAddresses(ctx, r, wanted)
}

// compareTXT looks at the records that begin as the wanted one: others at the name mean
// nothing (RFC 8461 §3.1, RFC 8460 §3).
func compareTXT(ctx context.Context, r *lookup.Resolver, w Record) Today {
	a, err := r.Lookup(ctx, w.Name, dns.TypeTXT)
	if err != nil {
		return unknown(err)
	}
	version, _, _ := strings.Cut(w.Value, ";")
	var there []string
	for _, rr := range a.Records {
		if txt, ok := rr.(*dns.TXT); ok && strings.HasPrefix(strings.Join(txt.Txt, ""), version) {
			there = append(there, strings.Join(txt.Txt, ""))
		}
	}
	t := Today{State: StateOK, Values: shown(there), By: alias(a)}
	switch {
	case len(there) == 0:
		t.State, t.Do = StateMissing, "publish it"
	case len(there) > 1:
		t.State, t.Do = StateDiffers, "leave one record: with several, senders see none"
	case !sameTXT(there[0], w.Value):
		t.State, t.Do = StateDiffers, "replace it"
	}
	if t.Do != "" && t.By != "" {
		t.Do += fmt.Sprintf(" at %s, where %s leads to", t.By, w.Name)
	}
	return t
}

// sameTXT reports whether senders read the same from two texts.
func sameTXT(there, wanted string) bool {
	if there == wanted {
		return true
	}
	if r, err := mtasts.ParseRecord(wanted); err == nil {
		other, err := mtasts.ParseRecord(there)
		return err == nil && other.ID == r.ID
	}
	r, err := tlsrpt.ParseRecord(wanted)
	other, oerr := tlsrpt.ParseRecord(there)
	return err == nil && oerr == nil && slices.Equal(r.RUA, other.RUA)
}

// compareAlias accepts addresses that are those of the wanted name: a host may lead to it
// by other means than a CNAME, as ALIAS records do.
func compareAlias(ctx context.Context, r *lookup.Resolver, w Record) Today {
	a, err := r.Lookup(ctx, w.Name, dns.TypeCNAME)
	if err != nil {
		return unknown(err)
	}
	if len(a.Records) > 0 { // then there is one (RFC 1034 §3.6.2)
		target := strings.TrimSuffix(dns.CanonicalName(a.Records[0].(*dns.CNAME).Target), ".")
		t := Today{State: StateOK, Values: shown([]string{target})}
		if target != w.Value {
			t.State, t.Do = StateDiffers, "replace it"
		}
		return t
	}
	there, err := addresses(ctx, r, w.Name)
	if err != nil {
		return unknown(err)
	}
	if len(there) == 0 {
		return Today{State: StateMissing, Do: "publish it"}
	}
	if ours, err := addresses(ctx, r, w.Value); err == nil && len(ours) > 0 && subset(there, ours) {
		return Today{State: StateOK, Values: shown(there)}
	}
	return Today{State: StateDiffers, Values: shown(there), Do: "replace the addresses by it"}
}

func compareAddresses(ctx context.Context, r *lookup.Resolver, wanted []Record) Today {
	there, err := addresses(ctx, r, wanted[0].Name)
	if err != nil {
		return unknown(err)
	}
	var values []string
	for _, w := range wanted {
		values = append(values, w.Value)
	}
	t := Today{State: StateOK, Values: shown(there)}
	switch {
	case len(there) == 0:
		t.State, t.Do = StateMissing, "publish it"
	case !subset(there, values):
		t.State, t.Do = StateDiffers, "replace what leads elsewhere"
	}
	return t
}

// addresses are those of name, at the end of its aliases.
func addresses(ctx context.Context, r *lookup.Resolver, name string) ([]string, error) {
	var all []string
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		a, err := r.Lookup(ctx, name, kind)
		if err != nil {
			return nil, err
		}
		for _, addr := range a.Addresses() {
			all = append(all, addr.String())
		}
	}
	return all, nil
}

func subset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

func unknown(err error) Today {
	return Today{State: StateUnknown, Do: "look again when DNS answers: " + escape(err.Error(), maxValue)}
}

// alias is the name that the records belong to, where aliases lead there.
func alias(a lookup.Answer) string {
	if len(a.Aliases) == 0 {
		return ""
	}
	return escape(strings.TrimSuffix(a.Name, "."), maxValue)
}

// shown makes values from outside fit to be shown.
func shown(values []string) []string {
	var out []string
	for _, v := range values[:min(len(values), maxShown)] {
		out = append(out, escape(v, maxValue))
	}
	return out
}

// escape makes s fit for a terminal or a log: printable ASCII, at most most bytes of it.
func escape(s string, most int) string {
	cut := ""
	if len(s) > most {
		s, cut = s[:most], "..."
	}
	text := strconv.QuoteToASCII(s)
	return strings.ReplaceAll(text[1:len(text)-1], `\"`, `"`) + cut
}
