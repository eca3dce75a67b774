// Package policyserve answers /.well-known/mta-sts.txt by host, from an immutable
// table of ready bytes (RFC 8461 §3.2, §3.3).
//
// It reads no configuration, no disk and no clock but the connection's deadlines,
// and knows nothing of how a policy came to be: whoever calls it hands over a new
// Table, which replaces the old one at once and for all requests to come. It is not
// a general web server: there is one path, and nothing else is ever found. A host that
// has no policy may be another's to answer for, on the same listeners (Options.Hosts).
//
// internal/app calls it: New once, Publish at each reload, and ServeTLS,
// ServePlain and ServeRedirect for each listener.
package policyserve
