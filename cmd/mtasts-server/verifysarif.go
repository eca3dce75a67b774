package main

import (
	"fmt"
	"net/url"

	"mtasts-server/internal/sendercheck"
)

// verifySARIF prints one SARIF 2.1.0 log, piece by piece. A finding about a domain of
// ours stands at the file that configures it, so that a review shows it there; every one
// has the name that it is about as its logical location.
type verifySARIF struct{ results list }

type sarifText struct {
	Text string `json:"text"`
}

type sarifRule struct {
	ID         string            `json:"id"`
	Short      sarifText         `json:"shortDescription"`
	Help       sarifText         `json:"help"`
	Default    map[string]string `json:"defaultConfiguration"`
	Properties map[string]string `json:"properties"`
}

type sarifResult struct {
	RuleID       string            `json:"ruleId"`
	Level        string            `json:"level"`
	Message      sarifText         `json:"message"`
	Locations    []sarifLocation   `json:"locations"`
	Fingerprints map[string]string `json:"partialFingerprints"`
	Properties   map[string]string `json:"properties"`
}

type sarifLocation struct {
	Physical *sarifPhysical `json:"physicalLocation,omitempty"`
	Logical  []sarifLogical `json:"logicalLocations"`
}

type sarifPhysical struct {
	Artifact map[string]string `json:"artifactLocation"`
	Region   map[string]int    `json:"region"`
}

type sarifLogical struct {
	Name string `json:"fullyQualifiedName"`
	Kind string `json:"kind"`
}

// sarifLevel is how SARIF calls a severity. What is unknown is a warning there: a level
// of its own, "open", is shown by no viewer.
func sarifLevel(s sendercheck.Severity) string {
	switch s {
	case sendercheck.Error:
		return "error"
	case sendercheck.Note:
		return "note"
	}
	return "warning"
}

func newVerifySARIF(out *stickyWriter) *verifySARIF {
	var rules []sarifRule
	for _, r := range sendercheck.Rules() {
		properties := map[string]string{"rfc": r.Rule}
		if r.Result != "" {
			properties["result-type"] = string(r.Result)
		}
		rules = append(rules, sarifRule{r.Code, sarifText{r.Text}, sarifText{r.Fix}, map[string]string{"level": sarifLevel(r.Severity)}, properties})
	}
	fmt.Fprint(out, `{
  "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
  "version": "2.1.0",
  "runs": [
    {
      "tool": `)
	out.put("      ", map[string]any{"driver": map[string]any{"name": "mtasts-server", "version": version(), "rules": rules}})
	fmt.Fprint(out, ",\n      \"results\": [")
	return &verifySARIF{list{out: out, prefix: "        "}}
}

func (p *verifySARIF) report(v verified) {
	for _, f := range v.Findings {
		message := about(f) + ": " + f.Text
		if f.Evidence != "" {
			message += ": " + f.Evidence
		}
		result := sarifResult{
			RuleID: f.Code, Level: sarifLevel(f.Severity), Message: sarifText{message + ". Fix: " + f.Fix + "."},
			Locations:    []sarifLocation{{sarifFile(v.file), []sarifLogical{{f.Subject, "resource"}}}},
			Fingerprints: map[string]string{"finding/v1": v.Domain + "/" + f.Code + "/" + f.Subject},
			Properties:   map[string]string{"domain": v.Domain, "severity": string(f.Severity), "rfc": f.Rule},
		}
		if f.Result != "" {
			result.Properties["result-type"] = string(f.Result)
		}
		p.results.put(result)
	}
}

func sarifFile(file string) *sarifPhysical {
	if file == "" {
		return nil
	}
	file, below := shownFile(file)
	artifact := map[string]string{"uri": (&url.URL{Path: file}).String(), "uriBaseId": "%SRCROOT%"}
	if !below {
		artifact = map[string]string{"uri": (&url.URL{Scheme: "file", Path: file}).String()}
	}
	return &sarifPhysical{artifact, map[string]int{"startLine": 1}}
}

func (p *verifySARIF) end(verifySummary) error {
	fmt.Fprint(p.results.out, "\n      ]\n    }\n  ]\n}\n")
	return p.results.out.err
}
