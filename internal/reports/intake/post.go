package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"mtasts-server/internal/reports"
)

// PostOptions configures a Post.
type PostOptions struct {
	// Deliver keeps what came in, and returns when it is safe: a sender is told so then,
	// and has it no more. It may be called from many goroutines, and not keep Data. With
	// an error the sender is asked to come again. It is required.
	Deliver func(context.Context, *reports.Arrival) error

	// Client says who sent a request; the zero Addr for who is not known, as only his
	// proxy is, and has no share then. nil goes by RemoteAddr.
	Client func(*http.Request) netip.Addr

	Limits PostLimits

	// Log is told of what could not be kept, once a minute at the most; nil discards it.
	Log *slog.Logger

	// Now is the time; nil is time.Now.
	Now func() time.Time
}

// Post takes the reports that senders post over HTTPS (RFC 8460 §5.4). It stores first,
// answers then, and looks into none of them. It is a prometheus.Collector.
//
// The most used sender does not look at the status: what is refused is lost. So a report
// is taken on any path and with any media type, whole or in a form; who finds all places
// taken waits for a while before he is sent away, and then by an answer that breaks off,
// which has that sender come again.
type Post struct {
	o       PostOptions
	limits  PostLimits
	room    *postRoom
	metrics postMetrics
	warned  atomic.Int64 // when the log was told last, in Unix seconds
}

// NewPost returns a Post that has taken nothing yet.
func NewPost(o PostOptions) (*Post, error) {
	if o.Deliver == nil {
		return nil, errors.New("intake: there is nobody to keep reports")
	}
	limits := o.Limits.withDefaults()
	if err := limits.check(); err != nil {
		return nil, fmt.Errorf("intake: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Client == nil {
		o.Client = func(r *http.Request) netip.Addr { return postRemoteIP(r) }
	}
	return &Post{o: o, limits: limits, room: newPostRoom(limits)}, nil
}

// ServeHTTP takes a report, or says to people what it is for.
func (p *Post) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var got postOutcome
	switch r.Method {
	case http.MethodPost:
		got = p.take(w, r)
	case http.MethodGet, http.MethodHead:
		got = postGreeted
		if _, ok := postToken(r.URL.Path); !ok {
			got = postNotFound
		}
	default:
		got = postOtherMethod
	}
	p.metrics.count(got)
	got.answer(w)
}

// take has the body of r kept.
func (p *Post) take(w http.ResponseWriter, r *http.Request) postOutcome {
	if r.ContentLength > MaxPosted {
		return postTooBig
	}
	body := newPostBody(w, r, p.limits)
	held, err := p.room.enter(r.Context(), p.o.Client(r))
	if err != nil {
		return postBusy
	}
	defer held.leave()
	data, err := held.read(r.Context(), body, r.ContentLength)
	if got := postReadOutcome(err, len(data)); got != postStored {
		return got
	}
	body.done()
	return p.deliver(r, held, data)
}

// postReadOutcome is what became of a body.
func postReadOutcome(err error, n int) postOutcome {
	switch {
	case errors.Is(err, errPostNoRoom):
		return postBusy
	case errors.Is(err, errPostTooBig):
		return postTooBig
	case isPostTimeout(err):
		return postSlow
	case err != nil:
		return postBroken
	case n == 0:
		return postEmpty
	}
	return postStored
}

// isPostTimeout reports whether a client did not send what it announced in time.
func isPostTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// deliver hands on what came. The sender may be gone: that he heard of it is not what
// counts.
func (p *Post) deliver(r *http.Request, held *postHeld, data []byte) postOutcome {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), postDeliverTime)
	defer cancel()
	data, mediaType := held.unwrap(ctx, r.Header, data)
	if len(data) == 0 {
		return postEmpty
	}
	t, _ := postToken(r.URL.Path)
	err := p.o.Deliver(ctx, &reports.Arrival{
		Channel: reports.HTTPS, Received: p.o.Now(), Source: postSource(r),
		Data: data, MediaType: mediaType,
		Unauthenticated: reports.NoAuthentication, Token: t,
	})
	if err != nil {
		p.warn(err)
		return postFull
	}
	return postStored
}

// warn tells the log that reports are lost, not of each of them.
func (p *Post) warn(err error) {
	now, last := p.o.Now().Unix(), p.warned.Load()
	if now-last >= int64(postWarnEvery/time.Second) && p.warned.CompareAndSwap(last, now) {
		p.o.Log.Warn("a TLS report that was posted could not be kept", "err", err)
	}
}
