// Package app runs the server: it ties the rooms together.
//
// Here configuration becomes the options of the rooms (wire.go), an edit becomes a
// policy that is served (publisher.go), and the listeners open, drain and close
// (app.go). What the verbs beside a running server must see as it does, a domain's
// policy and the answer at /certs, is here too, so that both say the same.
//
// It is not for the command line, for exit codes or for printing to people, which is
// the door's, and it knows nothing that a room could know alone.
//
// cmd/mtasts-server is its only caller: the verb serve calls New and Run, check calls
// CheckCertificates, policy and forget call OpenView, and certs reads a CertsView.
package app
