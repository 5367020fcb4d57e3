package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
)

// Place is how far EVENTS has come: what is accepted later stands behind it.
type Place struct {
	Epoch int64
	Last  uint64
	Time  time.Time // of the last event; zero in an empty stream
}

// Here returns the place that EVENTS has come to.
func Here(ctx context.Context, js jetstream.JetStream) (Place, error) {
	stream, err := js.Stream(ctx, StreamEvents)
	if err != nil {
		return Place{}, fmt.Errorf("look at stream %s: %w", StreamEvents, err)
	}
	info := stream.CachedInfo()
	return Place{Epoch: info.Created.UnixNano(), Last: info.State.LastSeq, Time: info.State.LastTime}, nil
}

// Message is one of EVENTS or POISON. Contact, ID and Day are empty where its
// headers lack them.
type Message struct {
	Seq     uint64
	Subject string
	Contact string
	ID      string
	Day     time.Time
	Type    string // of an event
	Source  uint64 // of a poisoned one: where it stands in EVENTS, 0 if nobody knows
	Stored  time.Time
}

// Eraser looks through the messages of one stream and erases some.
type Eraser struct {
	stream jetstream.Stream
	info   *jetstream.StreamInfo
}

// NewEraser erases in the stream that has the name now.
func NewEraser(ctx context.Context, js jetstream.JetStream, name string) (*Eraser, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", name, err)
	}
	return &Eraser{stream: stream, info: stream.CachedInfo()}, nil
}

// Epoch identifies the stream.
func (e *Eraser) Epoch() int64 { return e.info.Created.UnixNano() }

// Last is the last sequence that the stream had when the eraser was made.
func (e *Eraser) Last() uint64 { return e.info.State.LastSeq }

// Next returns a tenant's first message at seq or behind it, and whether there is
// one.
func (e *Eraser) Next(ctx context.Context, seq uint64, tenant uuid.UUID) (m Message, found bool, err error) {
	subject := "events.*." + tenant.String() + ".>"
	if e.info.Config.Name == StreamPoison {
		subject = "poison." + tenant.String() + ".>"
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	raw, err := e.stream.GetMsg(ctx, max(seq, 1), jetstream.WithGetMsgSubject(subject))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Message{}, false, nil
	}
	if err != nil {
		return Message{}, false, fmt.Errorf("read %s from %d on: %w", e.info.Config.Name, seq, err)
	}
	return describe(raw), true, nil
}

func describe(raw *jetstream.RawStreamMsg) Message {
	m := Message{
		Seq: raw.Sequence, Subject: raw.Subject, Stored: raw.Time,
		Contact: first(raw.Header, headerContact), ID: first(raw.Header, headerID),
	}
	if day, err := time.Parse(time.DateOnly, first(raw.Header, headerDay)); err == nil {
		m.Day = day
	}
	m.Source, _ = strconv.ParseUint(first(raw.Header, headerSource), 10, 64)
	if event, err := Parse(raw.Subject, raw.Header, nil, raw.Sequence, raw.Time); err == nil {
		m.Type = event.Type
	}
	return m
}

// EraseEvent erases the event at seq if it is tenant's event id, and reports
// whether it was there. Another event that stands there is left alone.
func (e *Eraser) EraseEvent(ctx context.Context, seq uint64, tenant uuid.UUID, id string) (erased bool, err error) {
	if seq == 0 {
		return false, nil
	}
	reader := Reader{stream: e.stream, epoch: e.Epoch()}
	get, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err = reader.Event(get, e.Epoch(), seq, tenant, id)
	switch {
	case errors.Is(err, ErrBodyLost):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, e.Erase(ctx, seq)
}

// EraseSource erases the message at seq if it is tenant's and about contact,
// whatever else may be wrong with it: the source of a poisoned one.
func (e *Eraser) EraseSource(ctx context.Context, seq uint64, tenant uuid.UUID, contact string) error {
	if seq == 0 {
		return nil
	}
	get, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	raw, err := e.stream.GetMsg(get, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read message %d of %s: %w", seq, e.info.Config.Name, err)
	}
	if whose, ok := TenantOf(raw.Subject); !ok || whose != tenant || first(raw.Header, headerContact) != contact {
		return nil
	}
	return e.Erase(ctx, seq)
}

// Erase overwrites a message where it is stored and removes it: a consumer that
// has it unacked, or would deliver it again, is done with it. One that is gone is
// no error.
func (e *Eraser) Erase(ctx context.Context, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := e.stream.SecureDeleteMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		// The server has no code of its own for a message that is not there.
		if _, look := e.stream.GetMsg(ctx, seq); errors.Is(look, jetstream.ErrMsgNotFound) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("erase message %d of %s: %w", seq, e.info.Config.Name, err)
	}
	return nil
}

// PurgeTenant removes all of a tenant's messages from both streams, and reports
// whether there were any.
func PurgeTenant(ctx context.Context, js jetstream.JetStream, tenant uuid.UUID) (found bool, err error) {
	// Class by class: a purge reaches a consumer's own account of what it has
	// delivered only where the purged subjects are all among its own.
	for _, purge := range []struct{ stream, subject string }{
		{StreamEvents, "events." + string(Live) + "." + tenant.String() + ".>"},
		{StreamEvents, "events." + string(Bulk) + "." + tenant.String() + ".>"},
		{StreamPoison, "poison." + tenant.String() + ".>"},
	} {
		some, err := purgeSubject(ctx, js, purge.stream, purge.subject)
		if err != nil {
			return false, err
		}
		found = found || some
	}
	return found, nil
}

func purgeSubject(ctx context.Context, js jetstream.JetStream, name, subject string) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout) // it walks the stream
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return false, fmt.Errorf("look at stream %s: %w", name, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", subject, err)
	}
	if len(info.State.Subjects) == 0 {
		return false, nil
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
		return false, fmt.Errorf("purge %s: %w", subject, err)
	}
	return true, nil
}
