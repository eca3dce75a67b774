package tlsrpt

import (
	"encoding/json"
	"time"
)

// The report as RFC 8460 §4.4 has it.
type (
	reportJSON struct {
		OrganizationName string       `json:"organization-name"`
		DateRange        rangeJSON    `json:"date-range"`
		ContactInfo      string       `json:"contact-info"`
		ReportID         string       `json:"report-id"`
		Policies         []policyJSON `json:"policies"`
	}
	rangeJSON struct {
		Start time.Time `json:"start-datetime"`
		End   time.Time `json:"end-datetime"`
	}
	policyJSON struct {
		Policy  policyTextJSON `json:"policy"`
		Summary summaryJSON    `json:"summary"`
		Details []detailsJSON  `json:"failure-details,omitempty"`
	}
	policyTextJSON struct {
		Type   PolicyType `json:"policy-type"`
		Text   []string   `json:"policy-string,omitempty"`
		Domain string     `json:"policy-domain"`
		MX     []string   `json:"mx-host,omitempty"`
	}
	summaryJSON struct {
		Successful int64 `json:"total-successful-session-count"`
		Failed     int64 `json:"total-failure-session-count"`
	}
	detailsJSON struct {
		ResultType            ResultType `json:"result-type"`
		SendingMTAIP          string     `json:"sending-mta-ip,omitempty"`
		ReceivingMXHostname   string     `json:"receiving-mx-hostname,omitempty"`
		ReceivingMXHelo       string     `json:"receiving-mx-helo,omitempty"`
		ReceivingIP           string     `json:"receiving-ip,omitempty"`
		FailedSessions        int64      `json:"failed-session-count"`
		AdditionalInformation string     `json:"additional-information,omitempty"`
		FailureReasonCode     string     `json:"failure-reason-code,omitempty"`
	}
)

// MarshalJSON prints the report as RFC 8460 §4.4 wants it, without its notes: what
// deviated is normalised. ParseReport reads the same from it.
func (r *Report) MarshalJSON() ([]byte, error) {
	out := reportJSON{
		OrganizationName: r.OrganizationName, ContactInfo: r.ContactInfo, ReportID: r.ReportID,
		DateRange: rangeJSON{r.Start.UTC(), r.End.UTC()}, Policies: make([]policyJSON, len(r.Policies)),
	}
	for i, p := range r.Policies {
		out.Policies[i] = policyJSON{
			Policy:  policyTextJSON{p.Type, p.Text, p.Domain, p.MXHosts},
			Summary: summaryJSON{p.Successful, p.Failed},
			Details: make([]detailsJSON, len(p.FailureList)),
		}
		for k, d := range p.FailureList {
			out.Policies[i].Details[k] = detailsJSON{
				d.ResultType, d.SendingMTAIP, d.ReceivingMXHostname, d.ReceivingMXHelo, d.ReceivingIP,
				d.FailedSessions, d.AdditionalInformation, d.FailureReasonCode,
			}
		}
	}
	return json.Marshal(out)
}
