package review

import (
	"cmp"
	"fmt"
	"strings"
)

// as says how a cell is shown.
type as int

const (
	words  as = iota
	name      // of something: in the type of code, and never a link
	figure    // to the right
	alarm     // of an error
)

// cell is one of a table.
type cell struct {
	Text string
	As   as
}

// section is a part of the page: a sentence and a table.
type section struct {
	Title string
	Intro string
	Head  []string
	Rows  [][]cell
	More  int
}

// sections lists those that have something to say.
func (p *Page) sections() []section {
	var list []section
	for _, s := range []section{
		p.kindSection(), p.openSection(), p.whySection(), p.stuckSection(), p.driftSection(), p.failureSection(), p.moveSection(), p.changeSection(),
		p.overrideSection(), p.silenceSection(), p.uselessSection(), p.ownerSection(), p.certificateSection(), p.plannedSection(), p.planSection(),
	} {
		if len(s.Rows) > 0 {
			list = append(list, s)
		}
	}
	return list
}

// rows has a row of cells for each row of a table.
func rows[T any](s section, t Table[T], row func(T) []cell) section {
	for _, r := range t.Rows {
		s.Rows = append(s.Rows, row(r))
	}
	s.More = t.More
	return s
}

func (p *Page) openSection() section {
	var load []string
	for _, o := range p.Owners {
		load = append(load, fmt.Sprintf("%s owners %s and %s", cmp.Or(string(o.Owner), "other"), many(o.Errors, "error"), many(o.Warnings, "warning")))
	}
	s := section{Title: titleOf(p.Open.More, "Open findings"), Head: []string{"Severity", "Domain", "What is wrong", "Which", "Since", "Owner", "Seen", "What to do"}}
	if len(load) > 0 {
		s.Intro = "To mend: " + strings.Join(load, "; ") + "."
	}
	return rows(s, p.Open, func(f Marked) []cell {
		severity := cell{string(f.Severity), words}
		if f.Severity == Error {
			severity.As = alarm
		}
		if f.Silence != nil {
			severity = cell{string(f.Severity) + ", silenced until " + lastDay(f.Silence.Until), words}
		}
		since := date(f.FirstSeen)
		if f.Times > 0 {
			since += fmt.Sprintf(", came back %s", times(f.Times))
		}
		return []cell{severity, {f.Domain, name}, {f.Text, words}, {strings.TrimSpace(f.Code + " " + f.Subject), name}, {since, words}, {string(f.Owner), words}, {f.Evidence, name}, {f.Fix, words}}
	})
}

// titleOf says of a table that has not all rows which these are.
func titleOf(more int, title string) string {
	if more > 0 {
		return title + ": the oldest"
	}
	return title
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return number(n) + " times"
}

// kindSection is for when not all that is open is listed.
func (p *Page) kindSection() section {
	if p.Open.More == 0 {
		return section{}
	}
	return rows(section{Title: "Findings by kind", Head: []string{"Severity", "What", "Open", "Opened", "Closed", "What to do"}}, p.Kinds, func(k Kind) []cell {
		severity := cell{string(k.Severity), words}
		if k.Severity == Error && k.Open > 0 {
			severity.As = alarm
		}
		return []cell{severity, {k.Code, name}, {number(k.Open), figure}, {number(k.Opened), figure}, {number(k.Closed), figure}, {k.Fix, words}}
	})
}

func (p *Page) stuckSection() section {
	return rows(section{Title: titleOf(p.Stuck.More, "Stuck in testing"), Head: []string{"Domain", "Since", "Waits for", "Next step"}}, p.Stuck, func(d DomainLine) []cell {
		return []cell{{d.Domain, name}, {date(d.Since), words}, {cmp.Or(strings.Join(d.Waits, "; "), "nothing: the next edit"), words}, {next(d), words}}
	})
}

func next(d DomainLine) string {
	switch {
	case d.Next == "":
		return ""
	case d.Ready:
		return d.Next + ", now"
	case d.NextAt.IsZero():
		return d.Next
	}
	return d.Next + ", not before " + date(d.NextAt)
}

func (p *Page) whySection() section {
	if p.Stuck.More == 0 {
		return section{}
	}
	return rows(section{Title: "Why domains are stuck in testing", Head: []string{"Waits for", "Domains"}}, p.StuckWhy, func(w Why) []cell {
		return []cell{{w.Text, words}, {number(w.Domains), figure}}
	})
}

func (p *Page) driftSection() section {
	return rows(section{Title: "What drifted", Head: []string{"Domain", "On", "What", "Seen", "Now"}}, p.Drifted, func(d Drift) []cell {
		now := ""
		switch {
		case d.Open:
			now = "open"
		case !d.Closed.IsZero():
			now = "closed on " + date(d.Closed)
		}
		return []cell{{d.Domain, name}, {date(d.At), words}, {cmp.Or(d.Code, "mx-changed"), name}, {d.What, name}, {now, words}}
	})
}

func (p *Page) failureSection() section {
	return rows(section{Title: "What failed, and who saw it", Head: []string{"Domain", "Failure", "MX host", "Sessions", "Of all", "Seen by"}}, p.Failures, func(f Failure) []cell {
		seen := strings.Join(f.SeenBy, ", ")
		if f.MoreSeen > 0 {
			seen += fmt.Sprintf(" and %s more", number(f.MoreSeen))
		}
		if f.Unsigned {
			seen = strings.TrimPrefix(seen+" (not authenticated)", " ")
		}
		return []cell{{f.Domain, name}, {f.Result, name}, {f.MX, name}, {number(f.Sessions), figure}, {share(f.Sessions, f.Of), figure}, {seen, name}}
	})
}

func (p *Page) moveSection() section {
	t := Table[Move]{Rows: p.Moves}
	return rows(section{Title: "Who moved on", Head: []string{"From", "To", "Domains"}}, t, func(m Move) []cell {
		to := cell{m.To, words}
		if m.Back {
			to.Text += " (back)"
		}
		return []cell{{cmp.Or(m.From, "(new)"), words}, to, {number(m.Domains), figure}}
	})
}

func (p *Page) changeSection() section {
	return rows(section{Title: "Policies that changed", Head: []string{"Domain", "On", "From", "To"}}, p.Changes, func(c PolicyChange) []cell {
		return []cell{{c.Domain, name}, {date(c.At), words}, {cmp.Or(c.From, "(none)"), words}, {c.To, words}}
	})
}

func (p *Page) overrideSection() section {
	return rows(section{Title: "Overrides", Head: []string{"Domain", "What", "Why", "By", "Until"}}, p.Overrides, func(o Override) []cell {
		return []cell{{o.Domain, name}, {o.What, words}, {o.Reason, words}, {o.Author, words}, {cmp.Or(lastDay(o.Until), "no end"), words}}
	})
}

func (p *Page) silenceSection() section {
	return rows(section{Title: "Silences", Head: []string{"Domain", "What", "Why", "By", "Until"}}, p.Silenced, Silence.cells)
}

func (s Silence) cells() []cell {
	return []cell{{s.Domain, name}, {cmp.Or(strings.TrimSpace(s.Code+" "+s.Subject), "anything"), name}, {s.Reason, words}, {s.Author, words}, {lastDay(s.Until), words}}
}

func (p *Page) uselessSection() section {
	return rows(section{Title: "Silences that may go", Head: []string{"Domain", "What", "Why", "By", "Until", ""}}, p.Useless, func(n SilenceNote) []cell {
		state := "nothing open fits"
		if n.Expired {
			state = "expired"
		}
		return append(n.cells(), cell{state, words})
	})
}

func (p *Page) ownerSection() section {
	return rows(section{Title: "Owners missing", Head: []string{"Domain", "Nobody for"}}, p.Ownerless, func(o Ownerless) []cell {
		var missing []string
		for _, owner := range o.Missing {
			missing = append(missing, string(owner))
		}
		return []cell{{o.Domain, name}, {strings.Join(missing, ", "), words}}
	})
}

func (p *Page) certificateSection() section {
	return rows(section{Title: "Certificates", Head: []string{"Host", "Domain", "Expires", "Owner", "Trouble"}}, p.Certificates, func(c Certificate) []cell {
		expires := cell{date(c.NotAfter), words}
		if !c.NotAfter.After(p.Until) {
			expires = cell{date(c.NotAfter) + ", expired", alarm}
		}
		return []cell{{c.Host, name}, {c.Domain, name}, expires, {string(c.Whose), words}, {c.Trouble, words}}
	})
}

// plannedSection is for when not all that is planned is listed.
func (p *Page) plannedSection() section {
	if p.Plan.More == 0 {
		return section{}
	}
	return rows(section{Title: "The plan until " + date(p.planEnd()), Head: []string{"Step", "Domains", "First", "Last"}}, p.PlanSteps, func(s Planned) []cell {
		return []cell{{s.Next, words}, {number(s.Domains), figure}, {date(s.First), words}, {date(s.Last), words}}
	})
}

func (p *Page) planSection() section {
	title := "The plan until " + date(p.planEnd())
	if p.Plan.More > 0 {
		title = "The first of these"
	}
	return rows(section{Title: title, Head: []string{"On", "Domain", "Now", "Next step", "Waits for"}}, p.Plan, func(d DomainLine) []cell {
		on := date(d.NextAt)
		if d.Ready {
			on = "now"
		}
		return []cell{{on, words}, {d.Domain, name}, {d.Step, words}, {d.Next, words}, {strings.Join(d.Waits, "; "), words}}
	})
}
