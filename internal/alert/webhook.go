package alert

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"mtasts-server/internal/webhook"
)

// WebhookOptions say where messages are posted.
type WebhookOptions struct {
	URL     string         // https, or http on this machine
	Secret  string         // that the web hook knows us by; "whsec_" and base64, or any text
	Timeout time.Duration  // 0: 30 seconds
	Roots   *x509.CertPool // nil: the system's
	Now     func() time.Time
}

// Webhook posts each message as JSON. The header Webhook-Id is the same however often a
// message comes.
type Webhook struct {
	hook *webhook.Hook
	now  func() time.Time
}

// NewWebhook returns a Webhook.
func NewWebhook(o WebhookOptions) (*Webhook, error) {
	if o.Now == nil {
		return nil, errors.New("alert: a web hook needs a clock")
	}
	hook, err := webhook.New(webhook.Options(o))
	if err != nil {
		return nil, fmt.Errorf("alert: %w", err)
	}
	return &Webhook{hook, o.Now}, nil
}

// Test posts a message that says it is a test.
func (w *Webhook) Test(ctx context.Context) error {
	return w.send(ctx, newMessage(Test, w.now()), "")
}

func (w *Webhook) send(ctx context.Context, m *Message, _ string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	err = w.hook.Post(ctx, m.ID, text)
	if answer, ok := errors.AsType[*webhook.AnswerError](err); ok && slices.Contains(hookRefusals, answer.StatusCode) {
		return &refusal{err}
	}
	return err
}

// hookRefusals are answers to this very message, or to all for ever. Any other passes when
// somebody mends the hook: its address, its secret, what is before it.
var hookRefusals = []int{http.StatusBadRequest, http.StatusGone, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity}
