package dnsrecords

import (
	"time"
)

// Changes returns what is to be set and removed to bring want about, where before is what
// was announced: the host's records first if the domain is new, the id last; but an id that
// is to go goes first. The addresses of a host are one change for each type, as hooks have
// to do with APIs that take whole record sets.
func Changes(want, before Set, isNew bool, target []string, ttl time.Duration) []Change {
	now, was := grouped(Wanted(want, target, ttl)), grouped(Wanted(before, target, ttl))
	find := func(rs []Record, r Record) *Record {
		for i := range rs {
			if rs[i].Name == r.Name && rs[i].Type == r.Type {
				return &rs[i]
			}
		}
		return nil
	}
	var cs []Change
	for i := len(was) - 1; i >= 0; i-- {
		if r := was[i]; find(now, r) == nil {
			cs = append(cs, removal(want.Domain, r))
		}
	}
	for _, r := range now {
		old := find(was, r)
		c := Change{Domain: want.Domain, Name: r.Name, Type: r.Type, Action: "set", Value: r.Value, TTL: int(r.TTL.Seconds()), ID: want.ID}
		switch {
		case old == nil, r.Type != "TXT" && isNew:
		case r.Type != "TXT", old.Value == r.Value:
			continue
		default:
			c.Before = old.Value
		}
		cs = append(cs, c)
	}
	return cs
}

// Leaving returns the changes that remove the records of a domain's policy host, when all
// others are gone.
func Leaving(domain string, target []string, ttl time.Duration) []Change {
	var cs []Change
	for _, r := range grouped(Wanted(Set{Domain: domain}, target, ttl)) {
		cs = append(cs, removal(domain, r))
	}
	return cs
}

func removal(domain string, r Record) Change {
	return Change{Domain: domain, Name: r.Name, Type: r.Type, Action: "remove", Before: r.Value}
}

// grouped puts the addresses of a host together, those of each type in one value.
func grouped(rs []Record) []Record {
	var sets []Record
next:
	for _, r := range rs {
		for i := range sets {
			if s := &sets[i]; s.Name == r.Name && s.Type == r.Type {
				s.Value += " " + r.Value
				continue next
			}
		}
		sets = append(sets, r)
	}
	return sets
}
