package docs_test

import (
	"encoding/json"
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	metricName = regexp.MustCompile(`\bmtasts_[a-z0-9_]+`)
	labelValue = regexp.MustCompile(`\b([a-z_]+)(=~|!~|=|!=)"([^"]*)"`)
	verb       = regexp.MustCompile("`mtasts-server ([a-z]+)")
)

// words are all texts in the code, the metrics whose names are put together, and the verbs.
func words(t *testing.T) (texts, verbs map[string]bool) {
	t.Helper()
	texts, verbs = map[string]bool{}, map[string]bool{}
	goFiles(t, func(path string, file *ast.File) {
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "bench/") {
			return
		}
		prefix := ""
		var calls []string
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if text := unquote(n); text != "" {
					texts[text] = true
					if strings.HasPrefix(text, "mtasts_") && strings.HasSuffix(text, "_") {
						prefix = text
					}
				}
			case *ast.CallExpr: // desc("hosts", ...)
				if fn, ok := n.Fun.(*ast.Ident); ok && fn.Name == "desc" && len(n.Args) > 0 {
					if lit, ok := n.Args[0].(*ast.BasicLit); ok {
						calls = append(calls, unquote(lit))
					}
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Use" && strings.HasPrefix(path, "cmd/") {
					if lit, ok := n.Value.(*ast.BasicLit); ok {
						name, _, _ := strings.Cut(unquote(lit), " ")
						verbs[name] = true
					}
				}
			}
			return true
		})
		for _, name := range calls {
			texts[prefix+name] = true
		}
	})
	return texts, verbs
}

func unquote(lit *ast.BasicLit) string {
	text, err := strconv.Unquote(lit.Value)
	if lit.Kind != token.STRING || err != nil {
		return ""
	}
	return text
}

// expressions of the rules, and those of the dashboard.
func expressions(t *testing.T) (rules, panels []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^\s+expr: (.*)$`).FindAllStringSubmatch(read(t, "examples/prometheus/alerts.yaml"), -1) {
		rules = append(rules, m[1])
	}
	var board struct {
		Annotations struct{ List []struct{ Expr string } }
		Templating  struct {
			List []struct{ Query any }
		}
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "examples/prometheus/dashboard.json")), &board); err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range board.Panels {
		if seen[p.ID] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %d, %q: its number is another's, it has no title, shows nothing or is too wide", p.ID, p.Title)
		}
		seen[p.ID] = true
		for _, target := range p.Targets {
			panels = append(panels, target.Expr)
		}
	}
	for _, a := range board.Annotations.List {
		panels = append(panels, a.Expr)
	}
	for _, v := range board.Templating.List {
		if q, ok := v.Query.(map[string]any); ok {
			panels = append(panels, q["query"].(string))
		}
	}
	return rules, panels
}

// What the examples for Prometheus ask for exists: metrics, and the values of their labels.
func TestPrometheusExamplesAskForWhatThereIs(t *testing.T) {
	texts, _ := words(t)
	rules, panels := expressions(t)
	if len(rules) < 20 || len(panels) < 30 {
		t.Fatalf("found %d rules and %d expressions of panels", len(rules), len(panels))
	}
	for _, expr := range append(rules, panels...) {
		for _, name := range metricName.FindAllString(expr, -1) {
			if !texts[name] {
				t.Errorf("there is no metric %s: %s", name, expr)
			}
		}
		for _, m := range labelValue.FindAllStringSubmatch(expr, -1) {
			if m[1] == "job" || m[1] == "instance" || m[1] == "__name__" {
				continue
			}
			for value := range strings.SplitSeq(m[3], "|") {
				if !texts[value] {
					t.Errorf("no label is %q: %s", value, expr)
				}
			}
		}
	}
}

// Each rule says how bad it is, what is wrong, and what to do.
func TestPrometheusRulesSayWhatToDo(t *testing.T) {
	_, verbs := words(t)
	rules := strings.Split(read(t, "examples/prometheus/alerts.yaml"), "- alert: ")[1:]
	for _, rule := range rules {
		name, _, _ := strings.Cut(rule, "\n")
		for _, want := range []string{`expr: \S`, `labels: \{severity: (critical|warning)\}`, `summary: \S`, `description: \S.{40}`} {
			if !regexp.MustCompile(want).MatchString(rule) {
				t.Errorf("%s has no %s", name, want)
			}
		}
		for _, m := range verb.FindAllStringSubmatch(rule, -1) {
			if !verbs[m[1]] {
				t.Errorf("%s: there is no verb %q", name, m[1])
			}
		}
	}
}
