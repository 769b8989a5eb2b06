package lint

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/coredns-headless/headless/internal/output"
)

// Formats are those that Write knows.
var Formats = []string{"text", "json", "yaml", "sarif", "github"}

// Write writes findings in a format: text for people, json or yaml for programs, sarif 2.1.0 for code scanning, or
// github for annotations in the log of a workflow. Looked is how many objects were looked at.
func Write(w io.Writer, format, version string, findings []Finding, looked int) error {
	switch format {
	case "json", "yaml":
		return output.Encode(w, format, struct {
			Version  int       `json:"version"` // of this form
			Objects  int       `json:"objects"`
			Findings []Finding `json:"findings"`
		}{1, looked, append([]Finding{}, findings...)})
	case "sarif":
		return output.Encode(w, format, sarif(version, findings))
	}
	var b strings.Builder
	for _, f := range findings {
		if format == "github" {
			b.WriteString(f.github())
		} else {
			b.WriteString(f.text())
		}
	}
	if format == "text" {
		fmt.Fprintf(&b, "%s: %s, %s\n", output.Count(looked, "object"), output.Count(number(findings, Error), "error"), output.Count(number(findings, Warning), "warning"))
	}
	_, err := io.WriteString(w, output.Printable(b.String()))
	return err
}

// number returns how many findings are of a severity.
func number(findings []Finding, severity Severity) (n int) {
	for _, f := range findings {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

// text writes a finding as compilers do, and the fix below it.
func (f *Finding) text() string {
	at := ""
	if f.File != "" {
		at = fmt.Sprintf("%s:%d: ", f.File, f.Line)
	}
	return fmt.Sprintf("%s%s: %s: %s [%s]\n    fix: %s\n", at, f.Severity, f.Object, f.Text, f.ID, f.Fix)
}

// github writes a finding as a workflow command of GitHub Actions.
func (f *Finding) github() string {
	message := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	at := ""
	if f.File != "" {
		at = fmt.Sprintf("file=%s,line=%d,", property.Replace(f.File), f.Line)
	}
	return fmt.Sprintf("::%s %stitle=%s::%s\n", f.Severity, at, property.Replace(f.ID), message.Replace(f.Object+": "+f.Text+"; fix: "+f.Fix))
}

// sarif returns findings as a log of SARIF 2.1.0.
func sarif(version string, findings []Finding) any {
	type object = map[string]any
	rules, results := []object{}, []object{}
	for _, r := range Rules {
		rules = append(rules, object{
			"id": r.ID, "shortDescription": object{"text": r.About}, "defaultConfiguration": object{"level": r.Severity},
			"helpUri": "https://github.com/coredns-headless/headless/blob/main/docs/lint.md",
		})
	}
	for _, f := range findings {
		result := object{
			"ruleId": f.ID, "ruleIndex": rank(f.ID), "level": f.Severity, "message": object{"text": f.Object + ": " + f.Text + ". Fix: " + f.Fix + "."},
		}
		location := object{"logicalLocations": []object{{"fullyQualifiedName": f.Object}}}
		if f.File != "" {
			location["physicalLocation"] = object{
				"artifactLocation": object{"uri": filepath.ToSlash(f.File)}, "region": object{"startLine": f.Line},
			}
		}
		result["locations"] = []object{location}
		results = append(results, result)
	}
	return object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{
			"tool":    object{"driver": object{"name": "headless-lint", "version": version, "informationUri": "https://github.com/coredns-headless/headless", "rules": rules}},
			"results": results,
		}},
	}
}
