// Package intake is where TLS reports come in (RFC 8460 §3, §5): by HTTPS, by mail over
// SMTP or LMTP, and from files. It bounds what strangers can take, finds out who sent a
// report where that can be known, and hands it on as it came.
package intake
