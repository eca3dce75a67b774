package review

import (
	"iter"
	"time"
)

// Input is what a Page is made of. What is nil has nothing to say.
type Input struct {
	Name        string    // of whose review it is; "" for none
	From, Until time.Time // the period; Until is the time of the review

	Steps   []string // where domains may stand, in the order in which they come to stand there
	Testing string   // that of them where they should not stay
	Drift   []string // the codes of findings by which what is out there has left what is written

	Domains      iter.Seq[DomainLine]
	Findings     iter.Seq[Finding] // that are open, or closed in the period; by domain, as EachFinding has them
	States       iter.Seq[State]
	Reports      iter.Seq[ReportLine]
	Changes      iter.Seq[PolicyChange]
	Overrides    iter.Seq[Override]
	Ownerless    iter.Seq[Ownerless]
	Certificates iter.Seq[Certificate]
	Silences     []Silence
}

// DomainLine says where a domain stands, and what is next.
type DomainLine struct {
	Domain string    `json:"domain"`
	Step   string    `json:"step"`
	Since  time.Time `json:"since,omitzero"`
	Was    string    `json:"was,omitempty"`    // its step when the period began; "" where it was not there
	Waits  []string  `json:"waits,omitempty"`  // what the next step waits for
	Next   string    `json:"next,omitempty"`   // the next step; "" for none
	NextAt time.Time `json:"next_at,omitzero"` // when it may be taken at the earliest
	Ready  bool      `json:"ready,omitempty"`  // it may be taken now
}

// ReportLine sums up what senders reported on a domain in the period.
type ReportLine struct {
	Domain             string
	Successful, Failed int64 // sessions
	Failures           []ReportedFailure
}

// ReportedFailure is how sessions failed, and who saw it.
type ReportedFailure struct {
	Result   string // result type of RFC 8460 §4.3
	MX       string // "" where it is not said
	Sessions int64
	SeenBy   []string // who sent the reports
	Unsigned bool     // nobody knows who sent them
}

// PolicyChange is a policy that took the place of another one.
type PolicyChange struct {
	Domain string    `json:"domain"`
	At     time.Time `json:"at"`
	From   string    `json:"from,omitempty"` // "testing, max_age 86400"; "" for none
	To     string    `json:"to"`
}

// Override is a word by which something goes on without its evidence.
type Override struct {
	Domain string    `json:"domain"`
	What   string    `json:"what"`
	Reason string    `json:"reason"`
	Author string    `json:"author,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

// Ownerless is a domain without somebody to mend it.
type Ownerless struct {
	Domain  string  `json:"domain"`
	Missing []Owner `json:"missing"`
}

// Certificate is one that mail or a policy depends on.
type Certificate struct {
	Domain   string    `json:"domain"`
	Host     string    `json:"host"`
	Whose    Owner     `json:"whose"` // who renews it
	NotAfter time.Time `json:"not_after"`
	Trouble  string    `json:"trouble,omitempty"` // why it is not renewed
}

// Table has the worst rows of many.
type Table[T any] struct {
	Rows []T `json:"rows"`
	More int `json:"more"` // that are left out
}

// Len is how many rows there are, with those that are left out.
func (t Table[T]) Len() int { return len(t.Rows) + t.More }

// Page is the review of a period, for managers and engineers.
type Page struct {
	Name    string    `json:"name,omitempty"`
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	Summary []string  `json:"summary"` // a few sentences
	Fine    []string  `json:"fine"`    // what there is nothing to say about

	Domains  int         `json:"domains"`
	Steps    []StepCount `json:"steps"`
	Moves    []Move      `json:"moves"`
	Findings Totals      `json:"findings"`
	Weeks    []Week      `json:"weeks"`
	Owners   []OwnerLoad `json:"owners"`

	Open         Table[Marked]       `json:"open"` // errors first, and the oldest
	Kinds        Table[Kind]         `json:"kinds"`
	Stuck        Table[DomainLine]   `json:"stuck"` // in testing, the longest first
	StuckWhy     Table[Why]          `json:"stuck_why"`
	Drifted      Table[Drift]        `json:"drifted"`
	Failures     Table[Failure]      `json:"failures"`
	Sessions     Sessions            `json:"sessions"`
	Changes      Table[PolicyChange] `json:"changes"`
	Overrides    Table[Override]     `json:"overrides"`
	Silenced     Table[Silence]      `json:"silences"`
	Useless      Table[SilenceNote]  `json:"useless_silences"` // expired, or fitting nothing
	Ownerless    Table[Ownerless]    `json:"ownerless"`
	Certificates Table[Certificate]  `json:"certificates"` // with trouble, or about to expire
	Plan         Table[DomainLine]   `json:"plan"`         // next steps until a period later
	PlanSteps    Table[Planned]      `json:"plan_steps"`
}

// StepCount is how many domains stand on a step, and stood there when the period began.
type StepCount struct {
	Step string `json:"step"`
	Now  int    `json:"now"`
	Was  int    `json:"was"`

	place int // among Input.Steps: its colour
}

// Move is how many domains went from one step to another one. From is "" for new domains.
type Move struct {
	From    string `json:"from,omitempty"`
	To      string `json:"to"`
	Domains int    `json:"domains"`
	Back    bool   `json:"back,omitempty"` // to an earlier step
}

// Totals counts findings.
type Totals struct {
	Errors       int `json:"errors"`        // open, and not silenced
	ErrorDomains int `json:"error_domains"` // that have such errors
	Warnings     int `json:"warnings"`      // open, and not silenced
	Silenced     int `json:"silenced"`      // open
	Opened       int `json:"opened"`        // in the period
	Closed       int `json:"closed"`        // in the period
	CameBack     int `json:"came_back"`     // of all these, closed and opened again
}

// Week counts the findings that opened and closed in a week of the period.
type Week struct {
	Start  time.Time `json:"start"`
	Opened int       `json:"opened"`
	Closed int       `json:"closed"`
}

// OwnerLoad is how much is open that somebody can mend.
type OwnerLoad struct {
	Owner    Owner `json:"owner"`
	Errors   int   `json:"errors"`
	Warnings int   `json:"warnings"`
}

// Kind counts findings with one code.
type Kind struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"` // the worst that is open
	Open     int      `json:"open"`
	Opened   int      `json:"opened"`
	Closed   int      `json:"closed"`
	Fix      string   `json:"fix"`
}

// Why is how many domains are stuck for a reason.
type Why struct {
	Text    string `json:"text"`
	Domains int    `json:"domains"`
}

// Drift is something out there that is not any more as it was.
type Drift struct {
	Domain string    `json:"domain"`
	At     time.Time `json:"at"`
	Code   string    `json:"code,omitempty"` // of the finding; "" where only the MX set is another one
	What   string    `json:"what"`
	Closed time.Time `json:"closed,omitzero"`
	Open   bool      `json:"open"`
}

// Failure is how sessions of a domain failed, and who saw it.
type Failure struct {
	Domain   string   `json:"domain"`
	Result   string   `json:"result"`
	MX       string   `json:"mx,omitempty"`
	Sessions int64    `json:"sessions"`
	Of       int64    `json:"of"` // all sessions of the domain that were reported
	SeenBy   []string `json:"seen_by"`
	MoreSeen int      `json:"more_seen_by,omitempty"`
	Unsigned bool     `json:"unsigned,omitempty"`
}

// Sessions counts what senders reported.
type Sessions struct {
	Domains    int   `json:"domains"` // that reports came on
	Successful int64 `json:"successful"`
	Failed     int64 `json:"failed"`
}

// Planned is how many domains have a next step until a period later.
type Planned struct {
	Next    string    `json:"next"`
	Domains int       `json:"domains"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}
