package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
	"mtasts-server/internal/reports"
)

const reportsShowLong = `show prints one report down to the single failure: ID is as the verb list prints it, as
example.com/17, or aside/3 for what was set aside.

With --raw it prints the report as it came, unpacked, and nothing else; of what was set
aside the first bytes. On a terminal it escapes what a terminal would obey.

Exit status: 0 fine, 1 there is no such report, or no more, 2 wrong usage.`

func newReportsShow() *cobra.Command {
	var raw, asJSON bool
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Print one report down to the single failure, or as it came",
		Long:    reportsShowLong,
		Example: "  mtasts-server reports show example.com/17\n  mtasts-server reports show --raw example.com/17 | jq .\n  mtasts-server reports show aside/3",
		Args:    exactly(1, "the ID of one report, as the verb list prints it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && raw {
				return usageError{errors.New("--json and --raw exclude each other")}
			}
			find, err := reportNamed(args[0])
			if err != nil {
				return usageError{err}
			}
			r, err := openReports(cmd, false)
			if err != nil {
				return err
			}
			defer r.Close()
			s, err := find(cmd.Context(), r)
			if err != nil {
				return err
			}
			switch out := cmd.OutOrStdout(); {
			case raw:
				return printRaw(out, s.raw)
			case asJSON:
				return printJSON(jsonWriter{out}, s.json)
			default:
				w := &stickyWriter{out: out}
				s.text(w)
				return w.err
			}
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print the report as it came, and nothing else")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// shown is a report in its forms.
type shown struct {
	raw  []byte
	json any
	text func(io.Writer)
}

// reportNamed returns what finds the report of an ID, or says that it is none.
func reportNamed(id string) (func(context.Context, *app.Reports) (*shown, error), error) {
	if number, is := strings.CutPrefix(id, "aside/"); is {
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is nothing that was set aside: write it as the verb list prints it, as aside/3", id)
		}
		return func(ctx context.Context, r *app.Reports) (*shown, error) {
			e, err := r.Store.ShowAside(ctx, n)
			if err != nil {
				return nil, err
			}
			return &shown{e.Data, e, func(w io.Writer) { printAside(w, e) }}, nil
		}, nil
	}
	parsed, err := reports.ParseID(id)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, r *app.Reports) (*shown, error) {
		whole, err := r.Store.Show(ctx, parsed)
		if err != nil {
			return nil, err
		}
		return &shown{whole.Raw, whole, func(w io.Writer) { printReport(w, whole) }}, nil
	}, nil
}

// printRaw writes what came, byte for byte, unless a terminal would obey it.
func printRaw(out io.Writer, data []byte) error {
	if data == nil {
		return errors.New("the report as it came was given up, as it is old: see what it says without --raw")
	}
	if file, ok := out.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			data = tame(data)
		}
	}
	_, err := out.Write(data)
	return err
}

// tame escapes all but the characters and the white space of text.
func tame(data []byte) []byte {
	var b strings.Builder
	for line := range strings.Lines(string(data)) {
		text := strings.TrimSuffix(line, "\n")
		for i, part := range strings.Split(text, "\t") {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(printable(part, len(part)))
		}
		if text != line {
			b.WriteByte('\n')
		}
	}
	return []byte(b.String())
}
