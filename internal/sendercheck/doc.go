// Package sendercheck walks as a sending mail server does: discovery, policy fetch, MX hosts,
// STARTTLS (RFC 8461 §3 to §5), for any domain, and says what it found in the words of
// RFC 8460 §4.3. It changes nothing anywhere. The verbs verify and records ask it, and
// publication, before an id is announced.
//
// A look first gathers what is there, each part by itself, then judges it: catalogue.go has
// all findings. What could not be looked at is never called good.
package sendercheck
