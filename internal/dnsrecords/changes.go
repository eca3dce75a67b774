package dnsrecords

import (
	"time"
)

// Changes returns what is to be set and removed to bring want about, where before is what
// was announced: the host's record first if the domain is new, the id last; but an id that
// is to go goes first.
func Changes(want, before Set, isNew bool, target []string, ttl time.Duration) []Change {
	now, was := Wanted(want, target, ttl), Wanted(before, target, ttl)
	find := func(rs []Record, r Record) *Record {
		for i := range rs {
			if rs[i].Name == r.Name && rs[i].Type == r.Type && (r.Type == "TXT" || rs[i].Value == r.Value) {
				return &rs[i]
			}
		}
		return nil
	}
	var cs []Change
	for i := len(was) - 1; i >= 0; i-- {
		if r := was[i]; find(now, r) == nil {
			cs = append(cs, Change{Domain: want.Domain, Name: r.Name, Type: r.Type, Action: "remove", Before: r.Value, ID: want.ID})
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
