package intake_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
	"mtasts-server/tlsrpt"
)

const connectionsEnded = "mtasts_reportmail_connections_ended_total"

// large is a mail of some length, in lines.
func large(size int) string {
	line := strings.Repeat("x", 998) + "\r\n"
	return "From: a@sender.example\r\n\r\n" + strings.Repeat(line, size/len(line)+1)
}

// What is larger than SIZE is refused, before and while it comes, in both ways to bring
// it; the connection goes on. What is smaller is taken.
func TestMailSize(t *testing.T) {
	o := startMail(t, nil)
	tk := o.greeted()
	tk.say(fmt.Sprintf("MAIL FROM:<> SIZE=%d", tlsrpt.MaxMessageSize+1), "552 5.3.4")
	tk.say(fmt.Sprintf("MAIL FROM:<> SIZE=%d", tlsrpt.MaxMessageSize), "250")
	tk.say("RSET", "250")
	huge := large(tlsrpt.MaxMessageSize)
	tk.deliver(huge, "552 5.3.4")
	tk.deliver(large(tlsrpt.MaxMessageSize-4096), "250")

	tk.begin(ourAddress)
	tk.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(huge), huge))
	tk.expect("552 5.3.4")
	tk.deliver(reportMail, "250")

	tk.begin(ourAddress) // too large in its second chunk
	half := tlsrpt.MaxMessageSize/2 + 1
	for _, want := range []string{"250", "552 5.3.4"} {
		tk.send(fmt.Sprintf("BDAT %d\r\n%s", half, huge[:half]))
		tk.expect(want)
	}
	if n := len(o.delivered()); n != 2 {
		t.Errorf("%d mails were delivered, want 2", n)
	}
	if o.outcome("too_large") != 1 {
		t.Error("it was not counted")
	}
}

// Somebody who does not look at SIZE, and never ends, is cut off.
func TestMailEndless(t *testing.T) {
	o := startMail(t, nil)
	tk := o.greeted()
	tk.begin(ourAddress)
	tk.say("DATA", "354")
	block, sent := strings.Repeat(strings.Repeat("x", 998)+"\r\n", 1000), 0
	_ = tk.conn.SetDeadline(time.Now().Add(patience))
	for ; sent < 10*tlsrpt.MaxMessageSize; sent += len(block) {
		if _, err := tk.conn.Write([]byte(block)); err != nil {
			break
		}
	}
	if sent > 5*tlsrpt.MaxMessageSize { // with what is under way
		t.Errorf("it takes %d bytes for one mail", sent)
	}
	if len(o.delivered()) != 0 {
		t.Error("it was delivered")
	}
}

func TestMailLongLines(t *testing.T) {
	o := startMail(t, nil)
	o.greeted().deliver("X: y\r\n\r\n"+strings.Repeat("x", 15<<10)+"\r\n", "250") // JSON in one line

	tk := o.greeted()
	tk.send("NOOP " + strings.Repeat("x", 1<<20) + "\r\n")
	if rest := tk.ended(); !strings.HasPrefix(rest, "500 5.4.0") {
		t.Errorf("the answer is %q", rest)
	}
	tk = o.greeted()
	tk.begin(ourAddress)
	tk.say("DATA", "354")
	tk.send("X: y\r\n\r\n" + strings.Repeat("x", 17<<10) + "\r\n.\r\n")
	if rest := tk.ended(); !strings.HasPrefix(rest, "554 5.6.0") {
		t.Errorf("the answer is %q", rest)
	}
	if len(o.delivered()) != 1 || o.outcome("line_too_long") != 1 {
		t.Error("it was delivered, or not counted")
	}
}

// Whoever is silent, or says a lot but brings no mail, or brings it byte by byte, is sent
// away after a while, also within the handshake of TLS.
func TestMailSlow(t *testing.T) {
	const brief, forever = 50 * time.Millisecond, time.Hour
	byteByByte := func(tk *talk, what string) {
		for i := 0; ; i++ {
			if _, err := tk.conn.Write([]byte{what[i%len(what)]}); err != nil {
				return
			}
			runtime.Gosched()
		}
	}
	for name, tt := range map[string]struct {
		limits intake.MailLimits
		do     func(tk *talk)
	}{
		"silent at once": {intake.MailLimits{Idle: brief}, func(*talk) {}},
		"half a command": {intake.MailLimits{Idle: brief}, func(tk *talk) { tk.send("EHL") }},
		"silent in a mail": {intake.MailLimits{Idle: brief}, func(tk *talk) {
			tk.say("EHLO a.example", "250")
			tk.begin(ourAddress)
			tk.say("DATA", "354")
			tk.send("X")
		}},
		"silent in a chunk": {intake.MailLimits{Idle: brief}, func(tk *talk) {
			tk.say("EHLO a.example", "250")
			tk.begin(ourAddress)
			tk.send("BDAT 100\r\nX")
		}},
		"silent after STARTTLS": {intake.MailLimits{Idle: brief}, func(tk *talk) { tk.say("EHLO a.example", "250"); tk.say("STARTTLS", "220") }},
		"no mail":               {intake.MailLimits{Idle: forever, Commands: brief, Replies: 1 << 30}, func(tk *talk) { go byteByByte(tk, "NOOP\r\n") }},
		"an endless line":       {intake.MailLimits{Idle: forever, Commands: brief}, func(tk *talk) { tk.send("NOOP") }},
		"a mail byte by byte": {intake.MailLimits{Idle: forever, Grace: brief}, func(tk *talk) {
			tk.say("EHLO a.example", "250")
			tk.begin(ourAddress)
			tk.say("DATA", "354")
			go func() { _, _ = tk.conn.Write([]byte("X")) }()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := startMail(t, func(o *intake.MailOptions) { o.Limits = tt.limits })
			tk := o.call()
			tt.do(tk)
			tk.ended()
			if len(o.delivered()) != 0 {
				t.Error("something was delivered")
			}
			o.waitFor("mtasts_reportmail_connections_open", "", 0)
		})
	}
}

// What is done with a mail has its full time, however long the mail took to come.
func TestMailDeliverTime(t *testing.T) {
	var until time.Time
	o := startMail(t, func(o *intake.MailOptions) {
		o.Deliver = func(ctx context.Context, _ *reports.Arrival) error {
			until, _ = ctx.Deadline()
			return nil
		}
	})
	tk := o.greeted()
	tk.begin(ourAddress)
	tk.say("DATA", "354")
	tk.send(reportMail)
	read := time.Now()
	tk.say(".", "250")
	if left := until.Sub(read); left < time.Minute {
		t.Errorf("there are %v to deliver it", left)
	}
}

// Who brings mail has time for more; but not for any number.
func TestMailMany(t *testing.T) {
	o := startMail(t, func(o *intake.MailOptions) { o.Limits.Mails = 3 })
	tk := o.greeted()
	for range 3 {
		tk.deliver(reportMail, "250")
	}
	tk.say("MAIL FROM:<>", "421 4.7.0")
	if len(o.delivered()) != 3 {
		t.Error("three were not delivered")
	}
}

// Commands are counted by the lines that answer them.
func TestMailCommands(t *testing.T) {
	o := startMail(t, func(o *intake.MailOptions) { o.Limits.Replies = 50 })
	for name, command := range map[string]string{"NOOP": "NOOP\r\n", "RSET": "RSET\r\n", "RCPT": "MAIL FROM:<>\r\nRCPT TO:<a@elsewhere.example>\r\nRSET\r\n", "nonsense": "nonsense\r\n"} {
		tk := o.greeted()
		_, _ = tk.conn.Write([]byte(strings.Repeat(command, 1000)))
		if n := strings.Count(tk.ended(), "\r\n"); n > 50 {
			t.Errorf("%s is answered %d times", name, n)
		}
	}
	tk := o.greeted()
	tk.say("STARTTLS", "220")
	tk = tk.secure(o.cert)
	_, _ = tk.conn.Write([]byte("EHLO a.example\r\n" + strings.Repeat("NOOP\r\n", 1000)))
	if n := strings.Count(tk.ended(), "\r\n"); n > 50 {
		t.Errorf("NOOP is answered %d times in TLS", n)
	}
}

// remote is a listener whose callers seem to come from elsewhere.
type remote struct {
	net.Listener
	next func() net.IP
}

type remoteConn struct {
	net.Conn
	addr net.IP
}

func (r remote) Accept() (net.Conn, error) {
	conn, err := r.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return remoteConn{conn, r.next()}, nil
}

func (r remoteConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: r.addr, Port: 25} }

// from serves callers who seem to come from the addresses.
func (o *office) from(serve func(net.Listener) error, next func() net.IP) {
	o.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		o.t.Fatal(err)
	}
	o.addr = l.Addr().String()
	o.serve(func() error { return serve(remote{l, next}) })
}

// One address has a few connections, and an IPv6 network as many; others are not hindered.
func TestMailPerAddress(t *testing.T) {
	o := startMail(t, func(o *intake.MailOptions) { o.Limits.PerAddress = 2 })
	var ip atomic.Value
	o.from(o.mail.ServeSMTP, func() net.IP { return ip.Load().(net.IP) })
	ip.Store(net.ParseIP("192.0.2.1"))
	first := o.call()
	o.call()
	if rest := dial(t, "tcp", o.addr).ended(); !strings.HasPrefix(rest, "421 4.7.0") {
		t.Errorf("the third from one address is told %q", rest)
	}
	ip.Store(net.ParseIP("192.0.2.2"))
	o.greeted().deliver(reportMail, "250")
	if source := o.one().Source; source != "192.0.2.2" {
		t.Errorf("its source is %q", source)
	}
	for _, address := range []string{"2001:db8::1", "2001:db8::2"} {
		ip.Store(net.ParseIP(address))
		o.call()
	}
	ip.Store(net.ParseIP("2001:db8::3"))
	if rest := dial(t, "tcp", o.addr).ended(); !strings.HasPrefix(rest, "421 4.7.0") {
		t.Errorf("the third from one network is told %q", rest)
	}
	first.say("QUIT", "221")
	first.ended()
	o.waitFor("mtasts_reportmail_connections_open", "", 4)
	ip.Store(net.ParseIP("192.0.2.1"))
	o.call()
	if n := o.counted(connectionsEnded, "too_many_per_address"); n != 2 {
		t.Errorf("%v were counted, want 2", n)
	}
}

// By LMTP it is one mail server that calls, as often as it likes.
func TestMailPerAddressLMTP(t *testing.T) {
	o := startMail(t, func(o *intake.MailOptions) { o.Limits.PerAddress = 1 })
	o.from(o.mail.ServeLMTP, func() net.IP { return net.ParseIP("192.0.2.1") })
	for range 5 {
		dial(t, "tcp", o.addr).expect("220")
	}
}

// When all places are taken, who has been quiet for longest makes place; who brings a mail
// does not.
func TestMailTooMany(t *testing.T) {
	in, out := make(chan struct{}, 3), make(chan struct{})
	o := startMail(t, func(o *intake.MailOptions) {
		o.Limits.Connections = 3
		o.Deliver = func(context.Context, *reports.Arrival) error {
			in <- struct{}{}
			<-out
			return nil
		}
	})
	quiet, second, third := o.call(), o.call(), o.call()
	second.say("NOOP", "250")
	third.say("NOOP", "250")
	fourth := o.call()
	if rest := quiet.ended(); rest != "" {
		t.Errorf("who made place is told %q", rest)
	}
	busy := []*talk{second, third, fourth}
	for _, tk := range busy {
		tk.say("EHLO a.example", "250")
		tk.begin(ourAddress)
		tk.say("DATA", "354")
		tk.send(reportMail + ".\r\n")
		<-in
	}
	if rest := dial(t, "tcp", o.addr).ended(); !strings.HasPrefix(rest, "421 4.7.0") {
		t.Errorf("the fourth is told %q", rest)
	}
	close(out)
	for _, tk := range busy {
		tk.expect("250")
	}
	if o.counted(connectionsEnded, "evicted") != 1 || o.counted(connectionsEnded, "too_many") != 1 {
		t.Error("they were not counted")
	}
}

// Mails that are large wait for each other; small ones do not wait for them.
func TestMailMemory(t *testing.T) {
	for name, size := range map[string]int{"middle": 20 << 10, "large": 300 << 10} {
		for way, bring := range map[string]func(tk *talk, mail string){
			"DATA": func(tk *talk, mail string) { tk.say("DATA", "354"); tk.send(mail + ".\r\n") },
			"BDAT": func(tk *talk, mail string) { tk.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(mail), mail)) },
		} {
			t.Run(name+" by "+way, func(t *testing.T) {
				in, out := make(chan struct{}, 1), make(chan struct{})
				var held atomic.Bool
				o := startMail(t, func(o *intake.MailOptions) {
					o.Limits.Middle, o.Limits.Large, o.Limits.Wait = 1, 1, 20*time.Millisecond
					keep := o.Deliver
					o.Deliver = func(ctx context.Context, a *reports.Arrival) error {
						if len(a.Data) >= size && held.CompareAndSwap(false, true) {
							in <- struct{}{}
							<-out
						}
						return keep(ctx, a)
					}
				})
				first, second := o.greeted(), o.greeted()
				first.begin(ourAddress)
				bring(first, large(size))
				<-in
				second.begin(ourAddress)
				bring(second, large(size))
				second.expect("451 4.3.2")
				o.greeted().deliver(reportMail, "250") // a small one
				close(out)
				first.expect("250")
				third := o.greeted()
				third.begin(ourAddress)
				bring(third, large(size))
				third.expect("250")
				if len(o.delivered()) != 3 || o.outcome("no_memory") != 1 {
					t.Errorf("%d were delivered, want 3, and one counted", len(o.delivered()))
				}
			})
		}
	}
}

// A flood of connections and of large mails takes bounded memory, and a report comes
// through while it lasts.
func TestMailFlood(t *testing.T) {
	o := startMail(t, func(o *intake.MailOptions) {
		o.Limits.Wait = 50 * time.Millisecond
		o.Deliver = func(context.Context, *reports.Arrival) error { return nil }
	})
	const mails, idlers = 40, 440
	mail := []byte("EHLO evil.example\r\nMAIL FROM:<>\r\nRCPT TO:<" + ourAddress + ">\r\nDATA\r\n" + large(1<<20)) // without an end
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			var now runtime.MemStats
			runtime.GC() // what is garbage does not count
			runtime.ReadMemStats(&now)
			peak.Store(max(peak.Load(), now.HeapAlloc))
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	for range idlers {
		dial(t, "tcp", o.addr)
	}
	var flooding sync.WaitGroup
	var conns []net.Conn
	for range mails {
		conn, err := net.Dial("tcp", o.addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		flooding.Go(func() { _, _ = conn.Write(mail) })
	}
	const places = 3
	o.waitFor("mtasts_reportmail_messages_total", "no_memory", mails-places)
	for range 20 {
		o.greeted().deliver(reportMail, "250")
	}
	for _, conn := range conns {
		conn.Close()
	}
	flooding.Wait()
	o.waitFor("mtasts_reportmail_messages_total", "cut_off", places)
	close(stop)
	watching.Wait()
	took := int64(peak.Load()) - int64(before.HeapAlloc)
	t.Logf("%d MiB at most, for %d connections, %d of them with more than 1 MiB each", took>>20, mails+idlers, mails)
	if took > 100<<20 {
		t.Errorf("the flood took %d MiB of memory", took>>20)
	}
}

// Ten times as many connections as there are places, which do nothing, keep no mail away.
func TestMailCrowd(t *testing.T) {
	o := startMail(t, func(o *intake.MailOptions) { o.Limits.Connections = 50 })
	for range 500 {
		dial(t, "tcp", o.addr)
	}
	o.waitFor(connectionsEnded, "evicted", 450)
	o.greeted().deliver(reportMail, "250")
	o.one()
	if open := o.counted("mtasts_reportmail_connections_open", ""); open > 50 {
		t.Errorf("%v connections are open", open)
	}
}

// Shutdown waits for the mail that is under way, and for nobody else.
func TestMailShutdown(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	o := startMail(t, func(o *intake.MailOptions) {
		keep := o.Deliver
		o.Deliver = func(ctx context.Context, a *reports.Arrival) error {
			close(in)
			<-out
			return keep(ctx, a)
		}
	})
	quiet, busy := o.greeted(), o.greeted()
	secured := o.greeted()
	secured.say("STARTTLS", "220")
	secured = secured.secure(o.cert)
	secured.say("EHLO a.example", "250") // now the handshake is over for both
	busy.begin(ourAddress)
	busy.say("DATA", "354")
	busy.send(reportMail + ".\r\n")
	<-in
	done := make(chan error, 1)
	go func() { done <- o.mail.Shutdown(t.Context()) }()
	for _, tk := range []*talk{quiet, secured} {
		if rest := tk.ended(); !strings.HasPrefix(rest, "421") {
			t.Errorf("who does nothing is told %q", rest)
		}
	}
	select {
	case err := <-done:
		t.Fatalf("Shutdown does not wait: %v", err)
	default:
	}
	close(out)
	busy.expect("250")
	busy.ended()
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	o.one()
	if conn, err := net.Dial("tcp", o.addr); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
}

// Where time is up, Shutdown cuts off; the sender was not told that its mail is taken.
func TestMailShutdownInHaste(t *testing.T) {
	in := make(chan struct{})
	o := startMail(t, func(o *intake.MailOptions) {
		o.Deliver = func(ctx context.Context, _ *reports.Arrival) error {
			close(in)
			<-ctx.Done()
			return ctx.Err()
		}
	})
	tk := o.greeted()
	tk.begin(ourAddress)
	tk.say("DATA", "354")
	tk.send(reportMail + ".\r\n")
	<-in
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.mail.Shutdown(ctx); err == nil {
		t.Error("Shutdown says that all went well")
	}
	if rest := tk.ended(); strings.HasPrefix(rest, "250") {
		t.Errorf("the sender is told %q", rest)
	}
}

// A server that was shut down does not begin again.
func TestMailServeAfterShutdown(t *testing.T) {
	o := startMail(t, nil)
	if err := o.mail.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.mail.ServeLMTP(l); err != nil {
		t.Errorf("serving ended with: %v", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("its listener is open")
	}
}

// A handshake that fails hinders nobody: the sender may come again, and in clear.
func TestMailFailedHandshake(t *testing.T) {
	o := startMail(t, nil)
	tk := o.greeted()
	tk.say("STARTTLS", "220")
	if err := tls.Client(tk.conn, &tls.Config{ServerName: "other.example"}).Handshake(); err == nil {
		t.Fatal("the certificate is good")
	}
	o.greeted().deliver(reportMail, "250")
	o.one()
}
