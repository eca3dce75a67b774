// Package sendercheck walks as a sending mail server does: discovery, policy fetch, MX hosts,
// STARTTLS (RFC 8461 §3 to §5), for any domain, and says what it found in the words of
// RFC 8460 §4.3. It changes nothing anywhere. The verbs verify and records ask it, and
// publication, before an id is announced.
package sendercheck
