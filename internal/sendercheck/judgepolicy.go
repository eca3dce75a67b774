package sendercheck

import (
	"bytes"
	"strings"

	"mtasts-server/mtasts"
)

// invalid sorts why a body is no policy, as far as the reason is a common one.
func invalid(body []byte, err error) (code, evidence string) {
	evidence = errorText(err)
	start := strings.ToLower(string(bytes.TrimSpace(body[:min(len(body), 512)])))
	switch {
	case bytes.HasPrefix(body, []byte("\ufeff")):
		return PolicyBOM, "it begins with the bytes ef bb bf"
	case strings.HasPrefix(start, "<!doctype html"), strings.HasPrefix(start, "<html"):
		return PolicyHTML, "it begins with " + quote(firstLine(body))
	}
	// Each of these is believed only if the policy is well without it.
	if stripped, line := withoutBlank(body); line > 0 && parses(stripped) {
		return PolicyBlankLine, evidence
	}
	if stripped := withoutDots(body); !bytes.Equal(stripped, body) && parses(stripped) {
		return PolicyMXDot, evidence
	}
	return PolicyInvalid, evidence
}

func parses(body []byte) bool {
	_, err := mtasts.Parse(body)
	return err == nil
}

func firstLine(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body[:min(len(body), 512)])), "\n")
	return line
}

// withoutBlank is the body without blank lines and comments, and how many there are.
func withoutBlank(body []byte) (rest []byte, n int) {
	for line := range bytes.SplitAfterSeq(body, []byte("\n")) {
		if s := bytes.TrimSpace(line); len(line) > 0 && (len(s) == 0 || s[0] == '#') {
			n++
			continue
		}
		rest = append(rest, line...)
	}
	return rest, n
}

// withoutDots is the body without final dots in mx.
func withoutDots(body []byte) (rest []byte) {
	for line := range bytes.SplitAfterSeq(body, []byte("\n")) {
		s := bytes.TrimRight(line, " \t\r\n")
		if bytes.HasPrefix(s, []byte("mx:")) && bytes.HasSuffix(s, []byte(".")) {
			rest = append(append(rest, s[:len(s)-1]...), '\n')
			continue
		}
		rest = append(rest, line...)
	}
	return rest
}

// content looks at the policy that senders get: as a publisher should (Validate), and
// as senders do that are stricter than the RFC, or read it otherwise.
func (j *judgement) content() {
	p, host := &j.r.Policy.policy, j.r.Host.Host
	for _, problem := range p.Validate(j.r.Domain) {
		code := map[string]string{"max_age": PolicyMaxAge, "mx": PolicyMX, "mode": PolicyInvalid, "": PolicyTooLarge}[problem.Field]
		f := j.find(code, host, plain(problem.Text))
		f.Rule = problem.Rule
		tooGreat := problem.Field == "max_age" && p.MaxAge > mtasts.MaxMaxAge // most senders take the policy all the same
		if problem.Severity == mtasts.Error && !tooGreat {
			f.Severity = Error
		}
	}
	for _, x := range p.Extensions {
		if strings.Contains(x.Value, ":") {
			j.find(PolicyExtension, host, quote(x.Name+": "+x.Value))
		}
	}
	j.duplicates()
	switch p.Mode {
	case mtasts.ModeTesting:
		j.find(ModeTesting, host, "")
	case mtasts.ModeNone:
		j.find(ModeNone, host, "")
	}
}

// duplicates looks for fields that stand twice, which Parse ignores as it must.
func (j *judgement) duplicates() {
	seen := map[string]bool{}
	for line := range strings.SplitSeq(j.r.Policy.Text, "\n") {
		name, _, ok := strings.Cut(line, ":")
		if !ok || name == "mx" {
			continue
		}
		if seen[name] {
			j.find(PolicyDuplicateField, j.r.Host.Host, quote(line))
		}
		seen[name] = true
	}
}
