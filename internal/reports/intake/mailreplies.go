package intake

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/emersion/go-smtp"
)

// What senders are told (RFC 5321 §4.2, RFC 3463). Nothing of theirs is in it.
var (
	errManyMails = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "that is a lot of mail for one connection, come again"}
	errGivenUp   = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "a mail in chunks was given up, come again"}
	errBusy      = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "too many mails at the moment, come later"}
	errCutOff    = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 4, 2}, Message: "the mail did not come in full, or too slowly"}
	errLongLine  = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "a line of the mail is too long"}
	errUnknown   = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 5}, Message: "DNS does not answer for the key of the signature, come later"}
	errNotKept   = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "the report cannot be kept now, come later"}

	errRelay      = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "relaying denied: TLS reports are taken here, for our addresses"}
	errNoMailbox  = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such address: TLS reports are taken here, and no other mail"}
	errPostmaster = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "nobody reads mail at this host, which takes TLS reports alone: write to the postmaster of the domain that you mean"}
)

// tooManyCalls is the whole talk with whom there is no place for.
const tooManyCalls = "421 4.7.0 too many connections, come later\r\n"

// smtpLog passes on what the library has to say: panics, and how connections end.
type smtpLog struct{ log *slog.Logger }

// Printf is how the library logs.
func (l smtpLog) Printf(format string, v ...any) {
	if strings.HasPrefix(format, "panic") {
		l.log.Error("a mistake while a report came by mail", "err", fmt.Sprintf(format, v...))
		return
	}
	l.log.Debug("a connection that brings reports", "err", fmt.Sprintf(format, v...))
}

// Println likewise.
func (l smtpLog) Println(v ...any) { l.Printf("%s", fmt.Sprint(v...)) }
