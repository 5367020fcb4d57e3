package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/failpoint"
)

// Class is the queue an event waits in: bulk is served with what live leaves,
// and at least a tenth.
type Class string

// The classes.
const (
	Live Class = "live"
	Bulk Class = "bulk"
)

// Headers of an event's message. The day is that of the event's first
// acceptance: every copy carries the same, so every copy meets the same row of
// the ledger.
const (
	headerID          = "Primezap-Event-Id"
	headerDay         = "Primezap-Day"
	headerContact     = "Primezap-Contact"
	headerTraceparent = "Primezap-Trace"  // not traceparent: the server parses that one, for traces of its own
	headerReason      = "Primezap-Reason" // in POISON
	headerSource      = "Primezap-Seq"    // in POISON: where the message stands in EVENTS
)

// Event is one domain event, to be published or as read.
type Event struct {
	Tenant      uuid.UUID
	Class       Class
	Type        string
	ID          string
	Day         time.Time // UTC midnight
	Contact     string    // whom it is about, as event.ContactKey has it; empty for nobody
	Traceparent string
	Body        []byte // JS-stable, as it will be signed

	// Deduplicate gives the message an id for JetStream's window. Only where a
	// retry can repeat the id, since the server remembers each: 155 bytes.
	Deduplicate bool

	// Of an event that was read:
	Seq        uint64
	AcceptedAt time.Time // when JetStream stored it
}

// Day is the UTC day of t.
func Day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// ErrUnavailable is JetStream's refusal, silence or absence: nothing can be said
// of the event; publishing it again with the same id is safe.
var ErrUnavailable = errors.New("event store unavailable")

// ErrFull is returned beside ErrUnavailable when the store has no room left.
var ErrFull = errors.New("event store full")

// Publisher puts events into EVENTS.
type Publisher struct {
	js jetstream.JetStream
}

// publishWindow is how many messages may wait for their PubAck at once.
const publishWindow = 4096

// publishTimeout bounds the wait for one PubAck.
const publishTimeout = 5 * time.Second

// NewPublisher publishes over nc.
func NewPublisher(nc *nats.Conn) (*Publisher, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(publishWindow),
		jetstream.WithPublishAsyncTimeout(publishTimeout))
	if err != nil {
		return nil, fmt.Errorf("publisher: %w", err)
	}
	return &Publisher{js: js}, nil
}

// Publish stores events and returns an error for each, nil where its PubAck
// came: only then is the event accepted. All other errors are ErrUnavailable.
func (p *Publisher) Publish(ctx context.Context, events ...Event) []error {
	errs := make([]error, len(events))
	acks := make([]jetstream.PubAckFuture, len(events))
	for i := range events {
		if errs[i] = ctx.Err(); errs[i] != nil {
			errs[i] = errors.Join(ErrUnavailable, errs[i])
			continue
		}
		ack, err := p.js.PublishMsgAsync(message(&events[i]))
		if err != nil {
			errs[i] = unavailable(err)
			continue
		}
		acks[i] = ack
	}
	for i, ack := range acks {
		if ack == nil {
			continue
		}
		select {
		case <-ack.Ok():
			failpoint.Hit("bus.acknowledged")
		case err := <-ack.Err():
			errs[i] = unavailable(err)
		case <-ctx.Done():
			errs[i] = unavailable(ctx.Err())
		}
	}
	return errs
}

// Poison stores a message that cannot be delivered, with the reason, for an
// operator to look at. source is a word for who gave it up; seq is where it stands
// in EVENTS.
func (p *Publisher) Poison(ctx context.Context, tenant, source, reason string, seq uint64, header nats.Header, body []byte) error {
	kept := nats.Header{headerReason: {reason}, headerSource: {strconv.FormatUint(seq, 10)}}
	for _, name := range []string{headerID, headerDay, headerContact} {
		if values, ok := header[name]; ok {
			kept[name] = values
		}
	}
	msg := &nats.Msg{Subject: "poison." + tenant + "." + source, Header: kept, Data: body}
	if _, err := p.js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("publish to %s: %w", StreamPoison, err)
	}
	return nil
}

// errCodeStoreFull is the server's JSStreamStoreFailedF with "maximum bytes
// exceeded".
const errCodeStoreFull = 10077

func unavailable(err error) error {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == errCodeStoreFull {
		return errors.Join(ErrUnavailable, ErrFull, err)
	}
	return errors.Join(ErrUnavailable, err)
}

func message(e *Event) *nats.Msg {
	header := nats.Header{
		headerID:  {e.ID},
		headerDay: {e.Day.Format(time.DateOnly)},
	}
	if e.Contact != "" {
		header[headerContact] = []string{e.Contact}
	}
	if e.Traceparent != "" {
		header[headerTraceparent] = []string{e.Traceparent}
	}
	if e.Deduplicate {
		header[jetstream.MsgIDHeader] = []string{e.Tenant.String() + "/" + e.ID}
	}
	return &nats.Msg{
		Subject: "events." + string(e.Class) + "." + e.Tenant.String() + "." + e.Type,
		Header:  header,
		Data:    e.Body,
	}
}

// TenantOf is the tenant that a message's subject names, and whether it names one.
func TenantOf(subject string) (tenant uuid.UUID, ok bool) {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 3 {
		return uuid.UUID{}, false
	}
	tenant, err := uuid.Parse(tokens[2])
	return tenant, err == nil
}

// Parse reads an event from a message's subject, headers and body. seq and
// stored are the message's, from its metadata.
func Parse(subject string, header nats.Header, body []byte, seq uint64, stored time.Time) (Event, error) {
	rest, ok := strings.CutPrefix(subject, "events.")
	class, rest, ok2 := strings.Cut(rest, ".")
	tenant, eventType, ok3 := strings.Cut(rest, ".")
	if !ok || !ok2 || !ok3 || eventType == "" {
		return Event{}, fmt.Errorf("subject %q is not an event's", subject)
	}
	id, err := uuid.Parse(tenant)
	if err != nil {
		return Event{}, fmt.Errorf("subject %q: tenant: %w", subject, err)
	}
	day, err := time.Parse(time.DateOnly, first(header, headerDay))
	if err != nil {
		return Event{}, fmt.Errorf("header %s: %w", headerDay, err)
	}
	e := Event{
		Tenant: id, Class: Class(class), Type: eventType, ID: first(header, headerID), Day: day,
		Contact: first(header, headerContact), Traceparent: first(header, headerTraceparent),
		Body: body, Seq: seq, AcceptedAt: stored,
	}
	if e.ID == "" {
		return Event{}, fmt.Errorf("header %s is missing", headerID)
	}
	return e, nil
}

// first reads a header of our own, whose case is as we wrote it.
func first(header nats.Header, name string) string {
	if values := header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// ErrBodyLost says that the event store no longer has an event's body, or holds
// another event in its place.
var ErrBodyLost = errors.New("event body is no longer stored")

// Reader reads stored events by sequence.
type Reader struct {
	stream jetstream.Stream
	epoch  int64
}

// NewReader reads from the stream that is EVENTS now.
func NewReader(ctx context.Context, js jetstream.JetStream) (*Reader, error) {
	stream, err := js.Stream(ctx, StreamEvents)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", StreamEvents, err)
	}
	return &Reader{stream: stream, epoch: stream.CachedInfo().Created.UnixNano()}, nil
}

// Epoch identifies the stream that is read.
func (r *Reader) Epoch() int64 { return r.epoch }

// First is the first sequence that was stored when the reader was made.
func (r *Reader) First() uint64 { return r.stream.CachedInfo().State.FirstSeq }

// Event returns the event at seq if it is tenant's event id, of the stream that
// epoch names; ErrBodyLost if it is not: never another tenant's body.
func (r *Reader) Event(ctx context.Context, epoch int64, seq uint64, tenant uuid.UUID, id string) (Event, error) {
	if epoch != r.epoch {
		return Event{}, fmt.Errorf("%w: the event store was recreated", ErrBodyLost)
	}
	if seq == 0 { // erased before it was published
		return Event{}, ErrBodyLost
	}
	raw, err := r.stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Event{}, ErrBodyLost
	}
	if err != nil {
		return Event{}, fmt.Errorf("read event %d: %w", seq, err)
	}
	e, err := Parse(raw.Subject, raw.Header, raw.Data, raw.Sequence, raw.Time)
	if err != nil || e.Tenant != tenant || e.ID != id {
		return Event{}, fmt.Errorf("%w: another event stands at %d", ErrBodyLost, seq)
	}
	return e, nil
}
