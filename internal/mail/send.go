package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// maxRetryDelay bounds the growing pause between two tries.
const maxRetryDelay = 5 * time.Minute

// Sender sends messages as its Config says. It keeps no connection, and can
// be used by several goroutines.
type Sender struct {
	cfg Config
}

// New checks the configuration and makes a Sender. It connects to nothing.
func New(cfg Config) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Sender{cfg}, nil
}

// Receipt says what became of a message.
type Receipt struct {
	MessageID string   `json:"message_id"`
	From      string   `json:"from"`
	Accepted  []string `json:"accepted"` // recipients that the server took the message for
	Size      int64    `json:"size"`     // of the whole message, in bytes
	Response  string   `json:"response,omitempty"`
	Spooled   string   `json:"spooled,omitempty"` // file that keeps the unsent message
}

// Send sends m. What fails for a time is tried again; a message that then is
// still unsent goes to the spool, if there is one, and the error is a
// SpooledError. A TooLargeError or the server's final refusal is never
// spooled. A RecipientsError means that some got the message and the rest
// were refused.
//
// The error has the code exit.MailNotSent, or exit.Usage where m itself is
// malformed.
func (s *Sender) Send(ctx context.Context, m Message) (Receipt, error) {
	l, err := s.cfg.prepare(m, s.cfg.Now())
	if err != nil {
		return Receipt{}, err
	}
	r := Receipt{MessageID: l.id, From: l.from, Size: l.size}
	o, rest, err := s.deliver(ctx, l, l.to)
	r.Accepted, r.Response = append([]string{}, o.accepted...), o.response
	if err == nil {
		return r, nil
	}
	if s.cfg.SpoolDir != "" && len(rest) > 0 && worthKeeping(ctx, err) {
		path, serr := s.spool(l, rest, err)
		if serr != nil {
			return r, notSent(ctx, fmt.Errorf("mail not sent: %w; nor kept: %w", err, serr))
		}
		r.Spooled = path
		return r, notSent(ctx, fmt.Errorf("mail not sent: %w", &SpooledError{Path: path, Err: err}))
	}
	return r, notSent(ctx, fmt.Errorf("mail not sent: %w", err))
}

// worthKeeping reports whether a message that failed with err may be accepted
// later. A wrong password or certificate can be put right; a refusal of the
// message stays.
func worthKeeping(ctx context.Context, err error) bool {
	var tooLarge *TooLargeError
	var some *RecipientsError
	var e *Error
	switch {
	case errors.As(err, &tooLarge), errors.Is(ctx.Err(), context.Canceled):
		return false
	case errors.As(err, &some):
		return true // for those who were refused for a time
	case errors.As(err, &e):
		switch e.Step {
		case stepCompose:
			return false
		case stepMail, stepRcpt, stepData, stepEnd:
			return e.Temporary()
		}
	}
	return true
}

// deliver tries until every recipient has the message or no try is left. The
// outcome's accepted recipients have the message even where there is an error;
// pending are those who neither have it nor were refused for good.
func (s *Sender) deliver(ctx context.Context, l *letter, to []string) (total outcome, pending []string, err error) {
	total.refused = map[string]error{}
	pending = slices.Clone(to)
	var last error
	try := func() (struct{}, error) {
		session, err := s.cfg.open(ctx)
		if err != nil {
			return struct{}{}, finalUnlessTemporary(ctx, err)
		}
		defer session.close()
		o, err := session.send(l, pending)
		if err != nil {
			return struct{}{}, finalUnlessTemporary(ctx, err)
		}
		total.accepted = append(total.accepted, o.accepted...)
		if o.response != "" {
			total.response = o.response
		}
		pending = pending[:0]
		var later error
		for _, rcpt := range sortedKeys(o.refused) {
			err := o.refused[rcpt]
			total.refused[rcpt] = err
			var e *Error
			if errors.As(err, &e) && e.Temporary() {
				pending = append(pending, rcpt)
				later = err
			}
		}
		for _, rcpt := range o.accepted {
			delete(total.refused, rcpt)
		}
		return struct{}{}, later
	}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = s.cfg.delay()
	pause.MaxInterval = max(maxRetryDelay, s.cfg.delay())
	pause.Multiplier = 2
	_, err = backoff.Retry(ctx, try,
		backoff.WithBackOff(pause),
		backoff.WithMaxTries(uint(s.cfg.retries())+1),
		backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, next time.Duration) {
			last = err
			s.cfg.Logger.InfoContext(ctx, fmt.Sprintf("mail not sent yet, next try in %s: %v", next.Round(time.Millisecond), err))
		}))
	if len(total.refused) > 0 && (err == nil || len(pending) > 0) {
		err = &RecipientsError{Refused: total.refused}
	}
	var final *backoff.PermanentError
	if errors.As(err, &final) {
		err = final.Err
	}
	if cause := context.Cause(ctx); cause != nil && last != nil && errors.Is(err, cause) {
		err = fmt.Errorf("%w, after: %w", err, last) // why it took so long
	}
	return total, pending, err
}

// finalUnlessTemporary stops the retries for what no retry can heal.
func finalUnlessTemporary(ctx context.Context, err error) error {
	var e *Error
	if errors.As(err, &e) && e.Temporary() && ctx.Err() == nil {
		return err
	}
	return backoff.Permanent(err)
}

// Limit asks the server how large a message may be: the smaller of its limit
// and Config.MaxSize, 0 if there is none.
func (s *Sender) Limit(ctx context.Context) (int64, error) {
	session, err := s.cfg.open(ctx)
	if err != nil {
		return 0, notSent(ctx, fmt.Errorf("ask for the size limit: %w", err))
	}
	defer session.close()
	n, _ := session.limit()
	return n, nil
}

// Size is the exact size in bytes that m will have on its way.
func (s *Sender) Size(m Message) (int64, error) {
	l, err := s.cfg.prepare(m, s.cfg.Now())
	if err != nil {
		return 0, err
	}
	return l.size, nil
}
