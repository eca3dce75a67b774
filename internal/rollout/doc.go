// Package rollout has the rules by which a domain comes from its first policy to one that
// protects it, and away again: which step it stands on, what the next one waits for, and
// when it may be taken. RFC 8461 leaves that to the operator but for its order (§8); the
// numbers are what Google, Microsoft and the British NCSC advise, and every one can be set.
//
// It is advice from evidence and time: pure functions, with no I/O, no clock and no
// configuration. Whoever calls gathers the Facts, and acts.
//
// Three rules hold whatever is reported. More failures never open a gate. What nobody
// known has sent never opens one; it may hold a step back, or alarm. And nothing here ever
// steps down: who can make failures must not be able to switch protection off.
package rollout
