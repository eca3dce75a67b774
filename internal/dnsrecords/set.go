package dnsrecords

// Set is what one domain announces.
type Set struct {
	Domain string
	ID     string   // of the policy; "" while it is not to be announced
	RUA    []string // where senders report to; none for no _smtp._tls record
}
