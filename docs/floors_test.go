package docs_test

import (
	"go/ast"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "mtasts-server/"

// floors says which rooms a room may import. Words stand at the bottom, then
// the rooms, which never import each other but ask DNS through lookup, then app, which ties
// them together; the door is at the top.
var floors = map[string][]string{
	"mtasts":               nil,
	"tlsrpt":               nil,
	"policyserve":          {"mtasts", "tlsrpt"},
	"certs":                {"mtasts", "tlsrpt", "internal/lookup"},
	"config":               {"mtasts", "tlsrpt"},
	"internal/lookup":      nil,
	"internal/ledger":      {"mtasts", "tlsrpt"},
	"internal/sendercheck": {"mtasts", "tlsrpt", "internal/lookup"},
	"internal/dnsrecords":  {"mtasts", "tlsrpt", "internal/lookup", "internal/webhook"},
	"internal/database":    nil,
	"internal/webhook":     nil,
	"internal/reports":     {"mtasts", "tlsrpt", "internal/database"},
	"internal/alert":       {"internal/database", "internal/webhook"},
	"internal/review":      {"mtasts", "tlsrpt", "internal/database"},
	"internal/rollout":     {"mtasts", "tlsrpt"},

	"internal/reports/intake":         {"mtasts", "tlsrpt", "internal/reports", "internal/lookup"}, // a side room of reports
	"internal/database/databasetest":  {"internal/database"},
	"internal/lookup/lookuptest":      nil,
	"internal/sendercheck/sendertest": nil,
}

// tops may import everything below them: app ties the rooms together, and the door is above it.
var tops = []string{"internal/app", "cmd/mtasts-server"}

// words may use no network, no files and no clock.
var banned = map[string][]string{
	"mtasts": {"net", "net/http", "os", "time", "io/fs", "path/filepath"},
	"tlsrpt": {"net", "net/http", "os", "io/fs", "path/filepath"},

	// Pure rules: facts and the time are given.
	"internal/rollout": {"net", "net/http", "os", "io", "io/fs", "path/filepath", "log/slog"},
}

// Reports are of a time, but words do not know which time it is.
var clocks = []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}

func TestFloors(t *testing.T) {
	seen := map[string]bool{}
	goFiles(t, func(path string, file *ast.File) {
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "internal/e2e/") || strings.HasPrefix(path, "bench/") {
			return
		}
		room := path[:strings.LastIndex(path, "/")]
		seen[room] = true
		may, known := floors[room]
		top := slices.Contains(tops, room)
		if !known && !top {
			t.Errorf("%s: the room %q stands on no floor", path, room)
			return
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if other, ours := strings.CutPrefix(imported, module); ours && (top && other == "cmd/mtasts-server" || !top && !slices.Contains(may, other)) {
				t.Errorf("%s: %s may not import %s", path, room, other)
			}
			if slices.Contains(banned[room], imported) {
				t.Errorf("%s: %s may not import %s", path, room, imported)
			}
		}
	})
	goFiles(t, func(path string, file *ast.File) {
		if room := path[:strings.LastIndex(path, "/")]; banned[room] == nil || strings.HasSuffix(path, "_test.go") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains(clocks, sel.Sel.Name) {
					t.Errorf("%s looks at a clock: time.%s", path, sel.Sel.Name)
				}
			}
			return true
		})
	})
	for room := range floors {
		if !seen[room] {
			t.Errorf("there is no room %q", room)
		}
	}
}
