package intake

import (
	"time"

	"mtasts-server/tlsrpt"
)

const (
	// maxCalls is how many connections there may be at a time, and maxCallsPerAddress how
	// many from one address, or an IPv6 /64. Large senders bring a few mails a day from
	// many addresses each. One has some 12 KiB of buffers, or 50 KiB with TLS.
	maxCalls           = 500
	maxCallsPerAddress = 20

	// maxReplies is how many lines one connection is answered: EHLO takes ten, a mail five.
	maxReplies = 1000

	// maxMails is after how many mails a connection is asked to come again.
	maxMails = 100

	// maxRecipients is how many addresses one mail may have; some report for several
	// domains at once. Senders bring the mail again for those beyond.
	maxRecipients = 5

	// maxMailLine bounds a line, of commands and of mail: 1000 is allowed (RFC 5321
	// §4.5.3.1.6), but JSON is written without line ends.
	maxMailLine = 16 << 10

	// callIdle is how long there may be nothing to read, and replyLimit how long an answer
	// may take. RFC 5321 §4.5.3.2.7 says 5 minutes, for senders that had to look at each
	// recipient; ours have one.
	callIdle   = 2 * time.Minute
	replyLimit = 30 * time.Second

	// commandsLimit is how long a connection may be without bringing a mail.
	commandsLimit = 3 * time.Minute

	// mailGrace and mailRate are how long a mail may take: a minute, and longer for what
	// has come at the speed of a bad line.
	mailGrace = time.Minute
	mailRate  = 64 << 10 // bytes a second

	// maxCallBytes is what a connection may send for one mail, what is thrown away
	// included: somebody who does not look at SIZE.
	maxCallBytes = 2 * tlsrpt.MaxMessageSize

	// deliverLimit bounds what we do with a mail while its sender waits. They wait 10
	// minutes (RFC 5321 §4.5.3.2.6).
	deliverLimit = time.Minute

	// smallMail is what each connection has room for: most reports take 4 to 12 KiB. For
	// what is larger there is a number of places: 16 MiB and 43 MiB together. Whoever
	// waits for one longer than placeWait is to come again.
	smallMail    = 16 << 10
	middleMail   = 256 << 10
	middlePlaces = 64
	largePlaces  = 3
	placeWait    = 10 * time.Second
)

// MailLimits are the limits that a test, or a small machine, has otherwise.
type MailLimits struct {
	Connections int // at a time
	PerAddress  int // of them
	Replies     int // on one connection, in lines
	Mails       int // on one connection

	Idle     time.Duration // nothing to read
	Commands time.Duration // no mail
	Grace    time.Duration // what a mail may take, beside its length

	Middle, Large int           // mails in memory at a time: above 16 KiB, above 256 KiB
	Wait          time.Duration // for a place among them
}

func (l MailLimits) orDefaults() MailLimits {
	return MailLimits{
		Connections: orDefault(l.Connections, maxCalls),
		PerAddress:  orDefault(l.PerAddress, maxCallsPerAddress),
		Replies:     orDefault(l.Replies, maxReplies),
		Mails:       orDefault(l.Mails, maxMails),
		Idle:        orDefault(l.Idle, callIdle),
		Commands:    orDefault(l.Commands, commandsLimit),
		Grace:       orDefault(l.Grace, mailGrace),
		Middle:      orDefault(l.Middle, middlePlaces),
		Large:       orDefault(l.Large, largePlaces),
		Wait:        orDefault(l.Wait, placeWait),
	}
}

func orDefault[T int | time.Duration](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}
