// Package certs obtains, keeps, renews and hands out the certificates of a set
// of policy hosts ("mta-sts.example.com").
//
// It is one door to four sources: ACME by certmagic, ACME by autocert, a
// directory of PEM files, and a certificate authority of its own for trying the
// program without one. Whatever the source, the promise is the same: a
// certificate is there before the first sender comes, a handshake reads memory
// and never waits for a CA, each host fails for itself, and neither a CA nor a
// disk that fails takes away what is handed out already.
//
// It is not for serving (it opens no listener), not for deciding which domains
// there are, and not a general ACME client: one certificate has one host.
//
// internal/app calls it: New and Run once, Manage at each reload,
// GetCertificate, NextProtos and HTTPHandler from the listeners, Status, Summary
// and the metrics from the admin listener.
package certs
