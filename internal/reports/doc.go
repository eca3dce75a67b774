// Package reports keeps the TLS reports of senders (RFC 8460): it stores what came in
// before it is looked at, splits it by policy domain, keeps each domain's apart, and
// sums up. What is in a report never decides anything here.
package reports
