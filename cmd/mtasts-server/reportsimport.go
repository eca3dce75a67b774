package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
)

const importLong = `import takes TLS reports (RFC 8460) from files: JSON, gzip, zip, mails (.eml), mbox
files, Maildirs, directories of all these, and standard input for - or without a PATH.
What a file is is seen by how it begins, not by its name. Nothing is moved or changed,
and what was taken before is known: import the same directory as often as you like.

Mails are authenticated as they would be on arrival, by DKIM; where the key is not in
DNS any more, their reports count as unauthenticated. What is no report, or on a domain
that is not configured, is set aside; see it by: mtasts-server reports list --aside

As a mail alias, with Postfix (see docs/reports.md), in a file of alias_maps:

  tlsrpt: "|/usr/local/bin/mtasts-server --config /etc/mtasts-server.toml reports import -"

Postfix runs this as the owner of that file (of its .db), and as nobody where that is
root, as with /etc/aliases: give it to the user that the server runs as.

Exit status: 0 all was taken, known, or set aside; 1 a file could not be read; 2 wrong
usage; 75 the reports cannot be stored now: mail servers keep the mail and try again.`

// tempFail ends a verb whose work may succeed later (EX_TEMPFAIL of sysexits.h).
type tempFail struct{ error }

const exitTempFail = 75

func newReportsImport() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "import [PATH...]",
		Short:   "Take reports from files, mailboxes or standard input",
		Long:    importLong,
		Example: "  mtasts-server reports import ~/Maildir/.tlsrpt\n  mtasts-server reports import report.json.gz old.mbox\n  curl -s https://example.net/report.json | mtasts-server reports import -",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			files, err := intake.NewFiles(intake.FilesOptions{Paths: args, Stdin: cmd.InOrStdin()})
			if err != nil {
				return usageError{err}
			}
			r, err := openReports(cmd, true)
			if err != nil {
				return tempFail{err}
			}
			defer r.Close()
			bar := newImportProgress(cmd.ErrOrStderr(), files)
			sum, err := r.Import(ctx, files, bar.step, func(err error) {
				bar.clear()
				fmt.Fprintln(cmd.ErrOrStderr(), err)
			})
			bar.clear()
			if err != nil {
				return tempFail{fmt.Errorf("%w; of what was read before, %s", err, inWords(sum))}
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), sum)
			} else {
				err = printImported(cmd.OutOrStdout(), sum)
			}
			if err == nil && sum.Failed > 0 {
				return errFindings
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func inWords(sum app.Imported) string {
	return fmt.Sprintf("%d taken, %d known already, %d set aside", sum.Fates[reports.Taken], sum.Fates[reports.Repeated], sum.Fates[reports.Aside])
}

func printImported(out io.Writer, sum app.Imported) error {
	text := inWords(sum)
	if sum.Failed > 0 {
		text += fmt.Sprintf(", %d not readable", sum.Failed)
	}
	var reasons []string
	for _, r := range slices.Sorted(maps.Keys(sum.Reasons)) {
		reasons = append(reasons, fmt.Sprintf("%s %d", r, sum.Reasons[r]))
	}
	if len(reasons) > 0 {
		text += "\nset aside: " + strings.Join(reasons, ", ") + "\nto see what: mtasts-server reports list --aside"
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// importProgress shows how far reading is: by bytes where it is known how many there
// are, else by what was read.
type importProgress struct {
	*progress
	files *intake.Files
}

func newImportProgress(out io.Writer, files *intake.Files) *importProgress {
	return &importProgress{newProgress(out, 2, false), files}
}

const mebibyte = 1 << 20

func (p *importProgress) step(sum app.Imported) {
	now := time.Now()
	if !p.terminal && now.Sub(p.told) < progressEvery {
		return
	}
	p.told = now
	at := p.files.Progress()
	line := inWords(sum)
	if at.Total >= mebibyte {
		p.n, p.all, p.unit = max(1, int(at.Read/mebibyte)), int(max(at.Total, at.Read)/mebibyte), " MiB"
		line = p.line(now)
	}
	p.say(line)
}

// openReports opens the reports of the server that the flags name.
func openReports(cmd *cobra.Command, create bool) (*app.Reports, error) {
	file, err := configFile(cmd)
	if err != nil {
		return nil, err
	}
	r, err := app.OpenReports(file, create, func(err error) { fmt.Fprintln(cmd.ErrOrStderr(), err) })
	if errors.Is(err, app.ErrNoReports) {
		return nil, fmt.Errorf("%w; set [reports] up as docs/configuration.md says, or run: mtasts-server reports import", err)
	}
	return r, err
}
