// Package docs_test holds the documents to the code that they speak of.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the top of the source tree.
const root = ".."

// goFiles calls f for every Go file, those of the nested module included.
func goFiles(t *testing.T, f func(path string, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f(filepath.ToSlash(rel), file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What rfc-coverage.md cites exists: files, and tests by their names.
func TestCoverageIsTrue(t *testing.T) {
	tests := map[string]bool{}
	goFiles(t, func(path string, file *ast.File) {
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && strings.HasSuffix(path, "_test.go") {
				tests[fn.Name.Name] = true
			}
		}
	})
	cited := regexp.MustCompile("`([^`]+)`")
	rows := 0
	for n, line := range strings.Split(read(t, "docs/rfc-coverage.md"), "\n") {
		cells := strings.Split(line, " | ")
		if len(cells) != 4 || strings.HasPrefix(line, "| § ") || strings.HasPrefix(line, "| # ") {
			continue
		}
		rows++
		files, names := cited.FindAllStringSubmatch(cells[2], -1), cited.FindAllStringSubmatch(cells[3], -1)
		if len(files) == 0 || len(names) == 0 {
			t.Errorf("line %d: no code or no test: %s", n+1, line)
		}
		for _, m := range files {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("line %d: %v", n+1, err)
			}
		}
		for _, m := range names {
			if !tests[m[1]] {
				t.Errorf("line %d: there is no test %s", n+1, m[1])
			}
		}
	}
	if rows < 20 {
		t.Errorf("only %d rows were understood", rows)
	}
}

// The links in the documents lead somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^):#]+)(#[^)]*)?\)`)
	for _, doc := range []string{"README.md", "docs/design.md", "docs/configuration.md", "docs/rfc-coverage.md"} {
		for _, m := range link.FindAllStringSubmatch(read(t, doc), -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
	}
}

// Every key that the configuration knows has its paragraph.
func TestEveryKeyIsExplained(t *testing.T) {
	doc := read(t, "docs/configuration.md")
	key := regexp.MustCompile(`\.(?:string|strings|bool|int|duration|sub|text|date|tables)\("([a-z_0-9]+)"|addresses\("([a-z]+)"|\{"([a-z_]+)", &l\.`)
	found := map[string]bool{}
	for _, path := range []string{"config/settings.go", "config/policyfile.go", "config/dns.go", "config/reports.go", "config/rollout.go", "config/review.go"} {
		for _, m := range key.FindAllStringSubmatch(read(t, path), -1) {
			found[m[1]+m[2]+m[3]] = true
		}
	}
	if len(found) < 30 {
		t.Fatalf("only %d keys were found", len(found))
	}
	for name := range found {
		if !strings.Contains(doc, "`"+name+"`") && !strings.Contains(doc, "["+name) && !strings.Contains(doc, "."+name+"]") && !strings.Contains(doc, name+" = ") {
			t.Errorf("docs/configuration.md does not explain %s", name)
		}
	}
}
