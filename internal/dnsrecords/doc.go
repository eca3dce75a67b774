// Package dnsrecords knows the records that a domain must publish for MTA-STS and TLSRPT
// (RFC 8461 §3.1 and §8, RFC 8460 §3), prints them, publishes them by dynamic update or
// hook, answers for them under delegation, and writes zone files. Which id may be announced,
// and when, is decided by whoever calls.
package dnsrecords
