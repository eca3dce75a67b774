package sendercheck

// The findings, by their codes. Codes are stable: pipelines may rest on them.
const (
	// The domain.
	DomainMissing = "domain-missing"
	NotPublished  = "not-published"

	// The _mta-sts record.
	RecordUnknown    = "record-unknown"
	RecordAliasLoop  = "record-alias-loop"
	RecordDangling   = "record-dangling"
	RecordMissing    = "record-missing"
	RecordMultiple   = "record-multiple"
	RecordMisspelt   = "record-misspelt"
	RecordInvalid    = "record-invalid"
	RecordNeighbours = "record-neighbours"
	RecordTwoIDs     = "record-two-ids"

	// The policy host.
	PolicyHostUnknown     = "policy-host-unknown"
	PolicyHostAliasLoop   = "policy-host-alias-loop"
	PolicyHostMissing     = "policy-host-missing"
	PolicyAddressRefused  = "policy-address-refused"
	PolicyNoRoute         = "policy-no-route"
	PolicyNotFetched      = "policy-not-fetched"
	PolicyConnectFailed   = "policy-connect-failed"
	PolicyTimeout         = "policy-timeout"
	PolicyTLSFailed       = "policy-tls-failed"
	PolicyTLSOld          = "policy-tls-old"
	PolicyCertName        = "policy-cert-name"
	PolicyCertExpired     = "policy-cert-expired"
	PolicyCertUntrusted   = "policy-cert-untrusted"
	PolicyCertExpiresSoon = "policy-cert-expires-soon"
	PolicyHTTPFailed      = "policy-http-failed"
	PolicyRedirect        = "policy-redirect"
	PolicyStatus          = "policy-status"
	PolicyTooLarge        = "policy-too-large"
	PolicySlow            = "policy-slow"
	PolicyMediaType       = "policy-media-type"
	PolicyDiffers         = "policy-differs"

	// What the policy says.
	PolicyInvalid        = "policy-invalid"
	PolicyHTML           = "policy-html"
	PolicyBOM            = "policy-bom"
	PolicyBlankLine      = "policy-blank-line"
	PolicyMXDot          = "policy-mx-dot"
	PolicyDuplicateField = "policy-duplicate-field"
	PolicyExtension      = "policy-extension"
	PolicyMaxAge         = "policy-max-age"
	PolicyMX             = "policy-mx"
	ModeTesting          = "mode-testing"
	ModeNone             = "mode-none"

	// Where mail goes.
	MXUnknown       = "mx-unknown"
	MXNull          = "mx-null"
	MXMissing       = "mx-missing"
	MXImplicit      = "mx-implicit"
	MXTooMany       = "mx-too-many"
	MXNameInvalid   = "mx-name-invalid"
	MXAlias         = "mx-alias"
	MXNotInPolicy   = "mx-not-in-policy"
	MXPatternUnused = "mx-pattern-unused"
	MXHostUnknown   = "mx-host-unknown"
	MXHostMissing   = "mx-host-missing"

	// MX hosts.
	MXSkipped         = "mx-skipped"
	MXAddressRefused  = "mx-address-refused"
	MXNoRoute         = "mx-no-route"
	MXNotProbed       = "mx-not-probed"
	MXRefused         = "mx-refused"
	MXSMTPFailed      = "mx-smtp-failed"
	MXNoSTARTTLS      = "mx-no-starttls"
	MXSTARTTLSRefused = "mx-starttls-refused"
	MXTLSFailed       = "mx-tls-failed"
	MXTLSOld          = "mx-tls-old"
	MXCertName        = "mx-cert-name"
	MXCertExpired     = "mx-cert-expired"
	MXCertUntrusted   = "mx-cert-untrusted"
	MXCertExpiresSoon = "mx-cert-expires-soon"
	DANE              = "dane"
	DANEUnsigned      = "dane-unsigned"
	DANEUnknown       = "dane-unknown"
	DANEMismatch      = "dane-mismatch"

	// The _smtp._tls record.
	TLSRPTUnknown  = "tlsrpt-unknown"
	TLSRPTMissing  = "tlsrpt-missing"
	TLSRPTMultiple = "tlsrpt-multiple"
	TLSRPTInvalid  = "tlsrpt-invalid"

	// Domains of ours: what is there against what is meant.
	Publication   = "publication"
	IDDiffers     = "id-differs"
	IDEarly       = "id-early"
	ServedDiffers = "served-differs"
	HostElsewhere = "host-elsewhere"
	RUADiffers    = "rua-differs"
)
