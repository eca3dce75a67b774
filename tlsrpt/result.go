package tlsrpt

import "slices"

// ResultType says how a session failed, in the words of RFC 8460 §4.3. The registry is
// open (§6.6): a report may bring others.
type ResultType string

// STARTTLS and the certificates of MX hosts (RFC 8460 §4.3.1).
const (
	StartTLSNotSupported    ResultType = "starttls-not-supported"
	CertificateHostMismatch ResultType = "certificate-host-mismatch"
	CertificateExpired      ResultType = "certificate-expired"
	CertificateNotTrusted   ResultType = "certificate-not-trusted"
	ValidationFailure       ResultType = "validation-failure"
)

// DANE (RFC 8460 §4.3.2.1).
const (
	TLSAInvalid   ResultType = "tlsa-invalid"
	DNSSECInvalid ResultType = "dnssec-invalid"
	DANERequired  ResultType = "dane-required"
)

// MTA-STS (RFC 8460 §4.3.2.2).
const (
	STSPolicyFetchError ResultType = "sts-policy-fetch-error"
	STSPolicyInvalid    ResultType = "sts-policy-invalid"
	STSWebPKIInvalid    ResultType = "sts-webpki-invalid"
)

// ResultTypes lists those that RFC 8460 §4.3 names.
func ResultTypes() []ResultType {
	return []ResultType{
		StartTLSNotSupported, CertificateHostMismatch, CertificateExpired, CertificateNotTrusted, ValidationFailure,
		TLSAInvalid, DNSSECInvalid, DANERequired, STSPolicyFetchError, STSPolicyInvalid, STSWebPKIInvalid,
	}
}

// Known reports whether RFC 8460 names the type.
func (t ResultType) Known() bool { return slices.Contains(ResultTypes(), t) }
