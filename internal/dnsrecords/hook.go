package dnsrecords

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mtasts-server/internal/webhook"
)

// Change is one change of a record, for a hook to bring about. It may be asked for twice.
type Change struct {
	Domain string `json:"domain"`
	Name   string `json:"name"`             // of the record, without the final dot
	Type   string `json:"type"`             // "TXT", "CNAME", "A" or "AAAA"
	Action string `json:"action"`           // "set" or "remove"
	Value  string `json:"value,omitempty"`  // to set: a text as it reads, a name without the final dot, all addresses with blanks between
	Before string `json:"before,omitempty"` // our value that it replaces, or is to be removed
	TTL    int    `json:"ttl,omitempty"`    // seconds
	ID     string `json:"id,omitempty"`     // of the policy that is announced then
}

// HookOptions say what brings changes about.
type HookOptions struct {
	Command []string      // program and arguments
	URL     string        // or a web hook
	Secret  string        // that the web hook knows us by; "whsec_" and base64, or any text
	Timeout time.Duration // 0: 30 seconds
}

// Hook brings changes about by somebody's program or web hook.
type Hook struct {
	o   HookOptions
	web *webhook.Hook // nil: a program
}

// maxOutput bounds what is read of what a hook says.
const maxOutput = 4 << 10

// NewHook returns a Hook.
func NewHook(o HookOptions) (*Hook, error) {
	h := &Hook{o: o}
	if (len(o.Command) == 0) == (o.URL == "") {
		return nil, errors.New("a hook needs a command or a URL")
	}
	h.o.Timeout = cmp.Or(o.Timeout, webhook.DefaultTimeout)
	if o.URL == "" {
		return h, nil
	}
	var err error
	h.web, err = webhook.New(webhook.Options{URL: o.URL, Secret: o.Secret, Timeout: o.Timeout})
	return h, err
}

// Do has c brought about.
func (h *Hook) Do(ctx context.Context, c Change) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if h.web != nil {
		return h.web.Post(ctx, rand.Text(), text)
	}
	ctx, cancel := context.WithTimeout(ctx, h.o.Timeout)
	defer cancel()
	return h.run(ctx, c, text)
}

// run runs the command, with the change as JSON on standard input, and its parts in the
// environment. When it ends, or its time is over, all that it started is ended with it.
func (h *Hook) run(ctx context.Context, c Change, text []byte) error {
	cmd := exec.CommandContext(ctx, h.o.Command[0], h.o.Command[1:]...)
	var out tail
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(text, '\n')), &out, &out
	cmd.Env = append(os.Environ(),
		"MTASTS_DOMAIN="+c.Domain, "MTASTS_NAME="+c.Name, "MTASTS_TYPE="+c.Type, "MTASTS_ACTION="+c.Action,
		"MTASTS_VALUE="+c.Value, "MTASTS_BEFORE="+c.Before, "MTASTS_TTL="+strconv.Itoa(c.TTL), "MTASTS_ID="+c.ID)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel, cmd.WaitDelay = end, time.Second
	err := cmd.Run()
	if cmd.Process != nil {
		_ = end() // most often nobody is left
	}
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success() && ctx.Err() == nil: // it has left somebody behind
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s has not ended in time, which is %s", h.o.Command[0], h.o.Timeout)
	case ctx.Err() != nil:
		return fmt.Errorf("%s was ended: %w", h.o.Command[0], ctx.Err())
	case len(out.text) > 0:
		return fmt.Errorf("%s: %w: %s", h.o.Command[0], err, escape(strings.TrimSpace(string(out.text)), maxValue))
	}
	return fmt.Errorf("%s: %w", h.o.Command[0], err)
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if n := len(t.text); n > maxOutput {
		t.text = append(t.text[:0], t.text[n-maxOutput:]...)
	}
	return len(p), nil
}
