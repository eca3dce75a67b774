package sendercheck

import (
	"cmp"
	"slices"
	"strings"

	"mtasts-server/tlsrpt"
)

// entry is what is always the same of a finding. "$" in a fix stands for the domain.
type entry struct {
	severity  Severity
	result    tlsrpt.ResultType
	rule      string
	text, fix string
}

// Rule is a finding that there may be, as it usually is.
type Rule struct {
	Code     string
	Severity Severity
	Result   tlsrpt.ResultType
	Rule     string // "RFC 8461 §3.1"
	Text     string
	Fix      string // of the domain "DOMAIN"
}

// Rules are all findings that there may be, by their codes.
func Rules() []Rule {
	all := make([]Rule, 0, len(catalogue))
	for code, e := range catalogue {
		all = append(all, Rule{code, e.severity, e.result, e.rule, e.text, strings.ReplaceAll(e.fix, "$", "DOMAIN")})
	}
	slices.SortFunc(all, func(a, b Rule) int { return cmp.Compare(a.Code, b.Code) })
	return all
}

// catalogue has all findings.
var catalogue = map[string]entry{
	DomainMissing: {
		Error, "", "RFC 5321 §5.1", "the domain does not exist in DNS",
		"correct the name, or register the domain and delegate it",
	},
	NotPublished: {
		Warning, "", "RFC 8461 §3", "the domain publishes no MTA-STS: whoever is in the way can have its mail sent in clear",
		"to publish a policy, begin with mode testing: serve it at https://mta-sts.$/.well-known/mta-sts.txt, then announce it at _mta-sts.$",
	},

	RecordUnknown: {
		Unknown, "", "RFC 8461 §3.1", "DNS does not say whether there is a record",
		"look at the name servers of the domain, and of what the record is an alias of; then try again",
	},
	RecordAliasLoop: {
		Error, "", "RFC 8461 §3.1", "the record is an alias that leads nowhere: its CNAMEs go round, or are too many",
		"correct the CNAME at _mta-sts.$",
	},
	RecordDangling: {
		Error, "", "RFC 8461 §3.1", "the record is an alias of a name that has no record",
		"correct the CNAME at _mta-sts.$, or publish the record where it leads to",
	},
	RecordMissing: {
		Error, "", "RFC 8461 §3.1", "a policy is served, and no record announces it: senders do not look for it",
		"publish a TXT record at _mta-sts.$",
	},
	RecordMultiple: {
		Error, "", "RFC 8461 §3.1", "there is more than one record, so that senders see none",
		"remove all but one of the TXT records at _mta-sts.$",
	},
	RecordMisspelt: {
		Error, "", "RFC 8461 §3.1", "the record does not begin with \"v=STSv1;\" to the letter, so that senders see none",
		"write the record as v=STSv1; id=...; without quotes or blanks before",
	},
	RecordInvalid: {
		Error, "", "RFC 8461 §3.1", "the record is not valid, so that senders see none",
		"write the record as v=STSv1; id=...; with 1 to 32 letters and digits as the id",
	},
	RecordNeighbours: {
		Warning, "", "RFC 8461 §3.1", "there are other TXT records beside it, where some senders (maddy) see none then",
		"remove the other TXT records at _mta-sts.$; a wildcard may bring them",
	},
	RecordTwoIDs: {
		Warning, "", "RFC 8461 §3.1", "the record has two ids: senders must take the first, and some take the last",
		"leave one id in the record",
	},

	PolicyHostUnknown: {
		Unknown, tlsrpt.STSPolicyFetchError, "RFC 8461 §3.3", "DNS does not say which addresses the policy host has",
		"look at the name servers of the domain, and of what mta-sts.$ is an alias of; then try again",
	},
	PolicyHostAliasLoop: {
		Error, tlsrpt.STSPolicyFetchError, "RFC 8461 §3.3", "the policy host is an alias that leads nowhere: its CNAMEs go round, or are too many",
		"correct the CNAME at mta-sts.$",
	},
	PolicyHostMissing: {
		Error, tlsrpt.STSPolicyFetchError, "RFC 8461 §3.3", "the policy host has no address",
		"publish a CNAME, or A and AAAA, at mta-sts.$ that leads to the server of the policy",
	},
	PolicyAddressRefused: {
		Unknown, tlsrpt.STSPolicyFetchError, "RFC 8461 §3.3", "not probed: the policy host has an address that is not on the internet, where senders do not get",
		"publish an address at mta-sts.$ that the internet leads to; to connect all the same allow private addresses",
	},
	PolicyNoRoute: {
		Unknown, "", "RFC 8461 §3.3", "not probed: this machine has no way to addresses of this kind",
		"try from a machine that has IPv4 and IPv6",
	},
	PolicyNotFetched: {
		Unknown, "", "RFC 8461 §3.3", "not probed: the check was ended before",
		"try again",
	},
	PolicyConnectFailed: {
		Error, tlsrpt.STSPolicyFetchError, "RFC 8461 §3.3", "the policy host takes no connection",
		"start the server there, open port 443, or remove the address from DNS",
	},
	PolicyTimeout: {
		Error, tlsrpt.STSPolicyFetchError, "RFC 8461 §3.3", "the policy host does not answer in time",
		"find out what holds the server up, or remove the address from DNS",
	},
	PolicyTLSFailed: {
		Error, tlsrpt.STSPolicyFetchError, "RFC 8461 §3.3", "the policy host does not come to terms about TLS",
		"give the server a certificate for mta-sts.$, to be chosen by the server name (SNI)",
	},
	PolicyTLSOld: {
		Error, tlsrpt.STSPolicyFetchError, "RFC 9325 §3.1.1", "the policy host speaks versions of TLS below 1.2 only",
		"have the server speak TLS 1.2 and 1.3",
	},
	PolicyCertName: {
		Error, tlsrpt.STSWebPKIInvalid, "RFC 8461 §3.3", "the policy host's certificate is for another name",
		"give the server a certificate that has mta-sts.$ as a DNS name",
	},
	PolicyCertExpired: {
		Error, tlsrpt.STSWebPKIInvalid, "RFC 8461 §3.3", "the policy host's certificate is not valid at this time",
		"renew the certificate of mta-sts.$, and find out why it was not renewed by itself",
	},
	PolicyCertUntrusted: {
		Error, tlsrpt.STSWebPKIInvalid, "RFC 8461 §3.3", "the policy host's certificate comes from nobody whom senders trust",
		"use a certificate of a public CA, and serve it with the intermediate ones",
	},
	PolicyCertExpiresSoon: {
		Warning, "", "RFC 8461 §3.3", "the policy host's certificate expires soon",
		"renew the certificate of mta-sts.$",
	},
	PolicyHTTPFailed: {
		Error, tlsrpt.STSPolicyFetchError, "RFC 8461 §3.3", "the policy host's answer is not HTTP, or breaks off",
		"have the server answer with the policy and its length, and read its log",
	},
	PolicyRedirect: {
		Error, tlsrpt.STSPolicyFetchError, "RFC 8461 §3.3", "the policy host redirects, which senders must not follow",
		"serve the policy itself at https://mta-sts.$/.well-known/mta-sts.txt",
	},
	PolicyStatus: {
		Error, tlsrpt.STSPolicyFetchError, "RFC 8461 §3.3", "the policy host does not answer with status 200",
		"serve the policy at https://mta-sts.$/.well-known/mta-sts.txt, to everybody",
	},
	PolicyTooLarge: {
		Error, tlsrpt.STSPolicyFetchError, "RFC 8461 §3.3", "the policy is longer than senders read",
		"name fewer mx, or use a wildcard",
	},
	PolicySlow: {
		Warning, "", "RFC 8461 §3.3", "the policy host takes so long that some senders (postfix-tlspol, after 2 s) do not wait",
		"find out what holds the server up",
	},
	PolicyMediaType: {
		Warning, tlsrpt.STSPolicyFetchError, "RFC 8461 §3.2", "the media type is not text/plain: postfix-mta-sts-resolver, postfix-tlspol and maddy refuse the policy",
		"serve it with Content-Type: text/plain",
	},
	PolicyDiffers: {
		Warning, "", "RFC 8461 §3.1", "the addresses of the policy host serve different policies",
		"serve the same policy everywhere before a record announces it",
	},

	PolicyInvalid: {
		Error, tlsrpt.STSPolicyInvalid, "RFC 8461 §3.2", "the policy is not valid, so that senders have none",
		"write version, mode, mx and max_age, a line each, as RFC 8461 §3.2 has it",
	},
	PolicyHTML: {
		Error, tlsrpt.STSPolicyInvalid, "RFC 8461 §3.2", "there is a web page where the policy should be",
		"serve the policy as a text file at https://mta-sts.$/.well-known/mta-sts.txt",
	},
	PolicyBOM: {
		Error, tlsrpt.STSPolicyInvalid, "RFC 8461 §3.2", "the policy begins with a byte order mark, for which every known sender refuses it",
		"save the file as ASCII, or as UTF-8 without BOM",
	},
	PolicyBlankLine: {
		Error, tlsrpt.STSPolicyInvalid, "RFC 8461 §3.2", "the policy has a blank line or a comment, for which mox, postfix-tlspol and maddy refuse it, and only postfix-mta-sts-resolver does not mind",
		"remove blank lines and comments",
	},
	PolicyMXDot: {
		Error, tlsrpt.STSPolicyInvalid, "RFC 8461 §3.2", "an mx has a final dot: mox refuses the policy, and for postfix-mta-sts-resolver that mx matches no host",
		"write the mx without a final dot",
	},
	PolicyDuplicateField: {
		Warning, "", "RFC 8461 §3.2", "a field stands twice: the first counts, yet postfix-mta-sts-resolver, maddy and Stalwart take the last, and KumoMTA refuses the policy",
		"leave one line of it",
	},
	PolicyExtension: {
		Warning, "", "RFC 8461 §3.2", "a field that RFC 8461 does not name has a colon in its value, for which maddy refuses the policy",
		"remove the field",
	},
	PolicyMaxAge: {
		Warning, "", "RFC 8461 §3.2", "max_age is not as senders expect it",
		"write max_age: 86400 in mode testing, and 1209600 or more, up to 31557600, once enforce has run clean",
	},
	PolicyMX: {
		Warning, "", "RFC 8461 §3.2", "the mx of the policy are not as they should be",
		"name the domain's MX hosts, in lower case, each on a line of its own",
	},
	ModeTesting: {
		Note, "", "RFC 8461 §5", "mode testing: senders report what fails, and deliver all the same",
		"when reports have been clean for two weeks, write mode: enforce",
	},
	ModeNone: {
		Note, "", "RFC 8461 §5", "mode none: senders do as if there were no policy",
		"to protect the domain's mail begin with mode: testing",
	},

	MXUnknown: {
		Unknown, "", "RFC 5321 §5.1", "DNS does not say where the domain's mail goes",
		"look at the name servers of the domain; then try again",
	},
	MXNull: {
		Note, "", "RFC 7505 §3", "the domain takes no mail (null MX)",
		"if that is meant, it needs no policy",
	},
	MXMissing: {
		Error, "", "RFC 5321 §5.1", "no mail can be delivered: the domain has neither MX records nor addresses",
		"publish MX records, or a null MX if no mail is wanted",
	},
	MXImplicit: {
		Note, "", "RFC 5321 §5.1", "there are no MX records, so that mail goes to the addresses of the domain itself",
		"publish an MX record, so that the policy can name a host",
	},
	MXTooMany: {
		Unknown, "", "RFC 8461 §8.4", "not probed: there are more MX hosts than are looked at",
		"publish fewer MX records",
	},
	MXNameInvalid: {
		Error, "", "RFC 5321 §5.1", "an MX record names no host",
		"have the MX record name a host, not an address",
	},
	MXAlias: {
		Warning, "", "RFC 5321 §5.1", "the name in an MX record is an alias, where senders disagree about the name that a certificate must have",
		"have the MX record name the host itself",
	},
	MXNotInPolicy: {
		Error, tlsrpt.ValidationFailure, "RFC 8461 §4.1", "the policy does not allow this MX host: in mode enforce no mail is delivered to it",
		"add the host to the policy, then publish a new id; or remove it from the MX records",
	},
	MXPatternUnused: {
		Note, "", "RFC 8461 §4.1", "the policy allows hosts that no MX record names",
		"if no MX record is about to name one, remove the mx from the policy",
	},
	MXHostUnknown: {
		Unknown, "", "RFC 5321 §5.1", "not probed: DNS does not say which addresses the MX host has",
		"look at the name servers of the host; then try again",
	},
	MXHostMissing: {
		Error, "", "RFC 5321 §5.1", "the MX host has no address",
		"give the host an address, or remove it from the MX records",
	},

	MXSkipped: {
		Note, "", "RFC 8461 §4.2", "not probed: MX hosts were not to be connected to",
		"check from a machine that may connect to port 25",
	},
	MXAddressRefused: {
		Unknown, "", "RFC 5321 §5.1", "not probed: the MX host has an address that is not on the internet",
		"give the host an address that the internet leads to; to connect all the same allow private addresses",
	},
	MXNoRoute: {
		Unknown, "", "RFC 8461 §4.2", "not probed: this machine has no way to addresses of this kind",
		"try from a machine that has IPv4 and IPv6",
	},
	MXNotProbed: {
		Unknown, "", "RFC 8461 §4.2", "not probed: there is no connection to port 25",
		"if this machine may not connect to port 25, as often in clouds, check from one that may; else mend the host",
	},
	MXRefused: {
		Unknown, "", "RFC 8461 §4.2", "not probed: the MX host wants nothing to do with us",
		"check from a machine that the host does not block",
	},
	MXSMTPFailed: {
		Unknown, "", "RFC 8461 §4.2", "not probed: the MX host does not keep to SMTP, or does not answer in time",
		"look at what answers on port 25 of the host",
	},
	MXNoSTARTTLS: {
		Error, tlsrpt.StartTLSNotSupported, "RFC 8461 §4.2", "the MX host does not offer STARTTLS",
		"have the host offer STARTTLS to everybody; if it does, something on the way strips it",
	},
	MXSTARTTLSRefused: {
		Error, tlsrpt.StartTLSNotSupported, "RFC 8461 §4.2", "the MX host offers STARTTLS and then refuses it",
		"see in the host's log why: often its key or certificate cannot be read",
	},
	MXTLSFailed: {
		Error, tlsrpt.ValidationFailure, "RFC 8461 §7.2", "the MX host does not come to terms about TLS",
		"have the host speak TLS 1.2 and 1.3 with common cipher suites",
	},
	MXTLSOld: {
		Error, tlsrpt.ValidationFailure, "RFC 8461 §7.2", "the MX host speaks versions of TLS below 1.2 only",
		"have the host speak TLS 1.2 and 1.3",
	},
	MXCertName: {
		Error, tlsrpt.CertificateHostMismatch, "RFC 8461 §4.2", "the MX host's certificate is for another name than that in the MX record",
		"give the host a certificate that has its name as a DNS name",
	},
	MXCertExpired: {
		Error, tlsrpt.CertificateExpired, "RFC 8461 §4.2", "the MX host's certificate is not valid at this time",
		"renew the certificate, and find out why it was not renewed by itself",
	},
	MXCertUntrusted: {
		Error, tlsrpt.CertificateNotTrusted, "RFC 8461 §4.2", "the MX host's certificate comes from nobody whom senders trust",
		"use a certificate of a public CA, and send it with the intermediate ones",
	},
	MXCertExpiresSoon: {
		Warning, "", "RFC 8461 §4.2", "the MX host's certificate expires soon",
		"renew the certificate",
	},
	DANE: {
		Note, "", "RFC 8461 §2", "the MX host has DANE: for senders that know it, DANE decides, and MTA-STS does not override it",
		"change certificates and TLSA records together (RFC 7672 §3.1)",
	},
	DANEUnsigned: {
		Note, "", "RFC 7672 §2.2", "the MX host has TLSA records that DNSSEC does not prove, so that senders ignore them",
		"sign the zone, or ask a resolver that validates",
	},
	DANEUnknown: {
		Warning, tlsrpt.DNSSECInvalid, "RFC 7672 §2.1.3", "DNS does not say whether the MX host has TLSA records: senders with DANE do not deliver to it",
		"look at the name servers of the host, which must answer for TLSA too",
	},
	DANEMismatch: {
		Error, tlsrpt.TLSAInvalid, "RFC 7672 §3", "the MX host's certificate fits none of its TLSA records: senders with DANE do not deliver to it",
		"publish a TLSA record for the certificate that is used",
	},

	TLSRPTUnknown: {
		Unknown, "", "RFC 8460 §3", "DNS does not say whether reports are wanted",
		"look at the name servers of the domain; then try again",
	},
	TLSRPTMissing: {
		Warning, "", "RFC 8460 §3", "nobody reports what fails, as there is no _smtp._tls record",
		"publish a TXT record at _smtp._tls.$: v=TLSRPTv1; rua=mailto:...",
	},
	TLSRPTMultiple: {
		Warning, "", "RFC 8460 §3", "there is more than one _smtp._tls record, so that nobody reports",
		"remove all but one of the TXT records at _smtp._tls.$",
	},
	TLSRPTInvalid: {
		Warning, "", "RFC 8460 §3", "the _smtp._tls record is not valid, so that nobody reports",
		"write it as v=TLSRPTv1; rua=mailto:... or rua=https://...",
	},

	Publication: {
		Note, "", "RFC 8461 §8.1", "how far publication is", "nothing is to be done about it by hand",
	},
	IDDiffers: {
		Error, "", "RFC 8461 §3.1", "the record has another id than the policy that is meant",
		"once every address serves the policy, publish its id at _mta-sts.$",
	},
	IDEarly: {
		Error, "", "RFC 8461 §8.1", "the id is announced, and not every address serves the policy that it belongs to: senders may hold another one for it",
		"have every address serve the policy; if senders may have fetched another one in between, publish a new id",
	},
	ServedDiffers: {
		Error, "", "RFC 8461 §8.1", "another policy is served than is meant",
		"have the server there take in the configuration, or lead mta-sts.$ to one that did",
	},
	HostElsewhere: {
		Error, "", "RFC 8461 §8.2", "the policy host does not lead to where it should",
		"correct the CNAME, or A and AAAA, at mta-sts.$",
	},
	RUADiffers: {
		Error, "", "RFC 8460 §3", "the _smtp._tls record does not ask for reports as is meant",
		"publish the record that is meant at _smtp._tls.$",
	},
}
