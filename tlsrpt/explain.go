package tlsrpt

// Explanation says in plain words what a result type is about. Each part is one sentence
// or two.
type Explanation struct {
	Meaning string `json:"meaning"`
	Cause   string `json:"cause"` // the usual one
	Fix     string `json:"fix"`
}

// Explain explains t (RFC 8460 §4.3). A type that the RFC does not name gets the
// explanation of all such, so that none is without.
func (t ResultType) Explain() Explanation {
	if e, ok := explainNegotiation(t); ok {
		return e
	}
	if e, ok := explainPolicy(t); ok {
		return e
	}
	return Explanation{
		Meaning: "The sender names a kind of failure that RFC 8460 does not.",
		Cause:   "The sender has a word of its own, or is newer than this program.",
		Fix:     "Look at the report itself: its reason code and additional information say what the sender meant.",
	}
}

// explainNegotiation explains the failures between a sender and an MX host (RFC 8460
// §4.3.1).
func explainNegotiation(t ResultType) (Explanation, bool) {
	switch t {
	case StartTLSNotSupported:
		return Explanation{
			Meaning: "The MX host did not offer STARTTLS to the sender.",
			Cause:   "TLS is switched off or has no certificate at that host, or a firewall on the way removes STARTTLS from the greeting.",
			Fix:     "Switch on STARTTLS at every MX host, backup hosts included, and switch off SMTP inspection in firewalls.",
		}, true
	case CertificateHostMismatch:
		return Explanation{
			Meaning: "The certificate of the MX host is not for the name that the sender looked for.",
			Cause:   "The certificate lacks the name that the MX record has, or the host shows its default certificate; a common name alone does not count.",
			Fix:     "Get a certificate that has the name of the MX record as a subject alternative name, and have the host show it.",
		}, true
	case CertificateExpired:
		return Explanation{
			Meaning: "The certificate of the MX host has expired.",
			Cause:   "The renewal failed, or it went well and the mail server was not reloaded.",
			Fix:     "Renew the certificate, reload the mail server, and look at why that did not happen by itself.",
		}, true
	case CertificateNotTrusted:
		return Explanation{
			Meaning: "The sender does not trust the certificate of the MX host.",
			Cause:   "The host does not send the intermediate certificates, or the certificate is self-signed or of a private CA.",
			Fix:     "Use a certificate of a public CA, and send the whole chain, without the root.",
		}, true
	case ValidationFailure:
		return Explanation{
			Meaning: "The session failed in a way that has no type of its own; the reason code of the report says more.",
			Cause:   "Often the MX record names a host that the policy does not allow (Microsoft writes MX_HOSTS_MISMATCH); else TLS itself failed, as with old versions or ciphers.",
			Fix:     "Read the reason codes by the verb reports show. Where the policy lacks a host, add it to the policy; else mend TLS at that host.",
		}, true
	}
	return Explanation{}, false
}

// explainPolicy explains the failures of policies: those of DANE (RFC 8460 §4.3.2.1) and
// of MTA-STS (§4.3.2.2).
func explainPolicy(t ResultType) (Explanation, bool) {
	switch t {
	case TLSAInvalid:
		return Explanation{
			Meaning: "No TLSA record of the MX host fits its certificate, or none can be used (DANE).",
			Cause:   "The certificate or its key was changed and the TLSA records were not.",
			Fix:     "Publish a TLSA record for the key that is in use now. At a change, publish the new record first and use the new key after the TTL.",
		}, true
	case DNSSECInvalid:
		return Explanation{
			Meaning: "The sender's resolver got no valid answer for the MX host or its TLSA records (DNSSEC).",
			Cause:   "Signatures have expired, or the DS record in the parent zone does not fit the keys.",
			Fix:     "Check the zones of the domain and of its MX hosts with a DNSSEC debugger. Sign them again, or correct the DS record.",
		}, true
	case DANERequired:
		return Explanation{
			Meaning: "The sender insists on DANE for this domain, and the MX host has no TLSA record that DNSSEC protects.",
			Cause:   "An agreement with that sender is not kept any more: TLSA records or DNSSEC went away, or an MX host came without.",
			Fix:     "Publish TLSA records in a signed zone for every MX host, or ask the sender to give up the requirement.",
		}, true
	case STSPolicyFetchError:
		return Explanation{
			Meaning: "The sender could not fetch the MTA-STS policy.",
			Cause:   "The policy host was not reachable from there, was too slow, or answered with a redirect or an error.",
			Fix:     "Check by the verb verify that each address of mta-sts.DOMAIN answers on port 443 with status 200. A few of these are passing trouble.",
		}, true
	case STSPolicyInvalid:
		return Explanation{
			Meaning: "The sender fetched the MTA-STS policy and could not read it.",
			Cause:   "Another server than this answers for the policy host, or something in front of it changes the text.",
			Fix:     "Compare what each address of mta-sts.DOMAIN serves with what the verb policy prints.",
		}, true
	case STSWebPKIInvalid:
		return Explanation{
			Meaning: "The certificate of the policy host is not good, so that the MTA-STS policy cannot be believed.",
			Cause:   "It has expired, is for another name, or another server answers at one of the addresses.",
			Fix:     "Check the certificate that each address of mta-sts.DOMAIN shows, by the verb verify.",
		}, true
	}
	return Explanation{}, false
}
