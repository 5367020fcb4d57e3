// Package bus is the product's use of NATS: the streams, consumers and users of
// JetStream in one table, and publishing and reading events.
//
// EVENTS is the event store and the queue of fresh events at once. A body stands
// there as the bytes that will be signed; nothing behind it encodes them again.
package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Names of the topology.
const (
	StreamEvents = "EVENTS"
	StreamPoison = "POISON"

	ConsumerLive = "deliver-live"
	ConsumerBulk = "deliver-bulk"

	// SubjectTest is where workers answer requests for test calls.
	SubjectTest = "worker.test"
)

// version counts changes to the tables below. It is kept in the metadata of
// streams and consumers: a newer topology is never downgraded.
const (
	version     = 1
	versionMeta = "primezap.version"
)

// DefaultAckWait is how long a worker may hold an event without a sign of life.
const DefaultAckWait = 30 * time.Second

// Options are what differs between installations.
type Options struct {
	Replicas int           // 1 embedded, 3 in production
	MaxBytes int64         // bound of EVENTS; beyond it the API refuses, nothing is discarded
	AckWait  time.Duration // 0: DefaultAckWait
	Floors   map[string]Floor
}

// Floor is how far a consumer had acknowledged without gaps, as Postgres has it.
// Epoch says of which stream (Epoch): a number of another one means nothing.
type Floor struct {
	Epoch int64
	Seq   uint64
}

// streams is the topology's table.
func streams(o Options) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name:        StreamEvents,
			Description: "Domain events: the event store and the queue of fresh events",
			Subjects:    []string{"events.*.*.>"}, // events.<class>.<tenant>.<event type>
			Retention:   jetstream.LimitsPolicy,   // trimmed by the janitor alone
			Discard:     jetstream.DiscardNew,     // full: the API says so, no event is dropped
			MaxBytes:    o.MaxBytes,
			MaxMsgSize:  maxMessageBytes,
			Storage:     jetstream.FileStorage,
			Replicas:    o.Replicas,
			Duplicates:  2 * time.Minute,
			AllowDirect: true, // retries and replays read bodies by sequence
		},
		{
			Name:        StreamPoison,
			Description: "What could not be parsed, was delivered 20 times or was refused by Postgres",
			Subjects:    []string{"poison.*.>"}, // poison.<tenant>.<source>
			Retention:   jetstream.LimitsPolicy,
			Discard:     jetstream.DiscardOld,
			MaxAge:      30 * 24 * time.Hour,
			MaxBytes:    max(o.MaxBytes/8, 64<<20),
			MaxMsgSize:  maxMessageBytes,
			Storage:     jetstream.FileStorage,
			Replicas:    o.Replicas,
		},
	}
}

// maxMessageBytes leaves room for headers beside the largest body.
const maxMessageBytes = 512 << 10

// consumers are EVENTS' readers, shared by all workers. MaxAckPending would be
// fleet-wide, so one worker could hold it all: each bounds itself instead. The
// worker counts deliveries itself: past MaxDeliver the server strands a message
// in silence.
func consumers(o Options) []jetstream.ConsumerConfig {
	ackWait := o.AckWait
	if ackWait == 0 {
		ackWait = DefaultAckWait
	}
	var table []jetstream.ConsumerConfig
	for name, class := range map[string]Class{ConsumerLive: Live, ConsumerBulk: Bulk} {
		table = append(table, jetstream.ConsumerConfig{
			Durable:       name,
			FilterSubject: "events." + string(class) + ".>",
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       ackWait,
			MaxDeliver:    -1,
			MaxAckPending: -1,
			MaxWaiting:    2048,
			Replicas:      o.Replicas,
		})
	}
	return table
}

// User is a NATS user and all that it may do.
type User struct {
	Name      string
	Publish   []string
	Subscribe []string
	Responses bool // may answer what it is asked
}

// Names of the users. Each connects with an inbox prefix of its own (Inbox), so
// that none can read another's answers.
const (
	UserAdmin  = "admin"
	UserAPI    = "api"
	UserWorker = "worker"
)

// Inbox is the inbox prefix of a user.
func Inbox(user string) string { return "_INBOX_" + user }

// Users is what each service may do: just what it needs.
func Users() []User {
	return []User{
		{
			Name:      UserAdmin,
			Publish:   []string{"$JS.API.>"},
			Subscribe: []string{Inbox(UserAdmin) + ".>"},
		},
		{
			Name: UserAPI,
			Publish: []string{
				"events." + string(Live) + ".*.>", // no consumer reads another class
				"events." + string(Bulk) + ".*.>",
				SubjectTest,
				"$JS.API.STREAM.INFO." + StreamEvents,
				"$JS.API.DIRECT.GET." + StreamEvents,
			},
			Subscribe: []string{Inbox(UserAPI) + ".>"},
		},
		{
			Name: UserWorker,
			Publish: []string{
				"events." + string(Live) + ".*.>", // the outbox relay
				"poison.*.>",
				"$JS.API.STREAM.INFO." + StreamEvents,
				"$JS.API.STREAM.PURGE." + StreamEvents,   // the janitor
				"$JS.API.STREAM.MSG.GET." + StreamEvents, // the floors
				"$JS.API.DIRECT.GET." + StreamEvents,
				"$JS.API.CONSUMER.INFO." + StreamEvents + ".*",
				"$JS.API.CONSUMER.MSG.NEXT." + StreamEvents + ".*",
				// A lost consumer is made again from the floor in Postgres.
				"$JS.API.CONSUMER.CREATE." + StreamEvents + "." + ConsumerLive + ".>",
				"$JS.API.CONSUMER.CREATE." + StreamEvents + "." + ConsumerBulk + ".>",
				"$JS.ACK." + StreamEvents + ".>",
				// What somebody asked to have erased. Messages of EVENTS are read directly.
				"$JS.API.STREAM.MSG.DELETE." + StreamEvents,
				"$JS.API.STREAM.INFO." + StreamPoison,
				"$JS.API.STREAM.MSG.GET." + StreamPoison,
				"$JS.API.STREAM.MSG.DELETE." + StreamPoison,
				"$JS.API.STREAM.PURGE." + StreamPoison,
			},
			Subscribe: []string{Inbox(UserWorker) + ".>", SubjectTest},
			Responses: true,
		},
	}
}

// Apply makes or updates streams and consumers, as the admin user. A topology
// of a newer version is left as it is, with an error.
func Apply(ctx context.Context, js jetstream.JetStream, o Options) error {
	for _, want := range streams(o) {
		want.Metadata = map[string]string{versionMeta: strconv.Itoa(version)}
		if stream, err := js.Stream(ctx, want.Name); err == nil {
			if err := notNewer(want.Name, stream.CachedInfo().Config.Metadata); err != nil {
				return err
			}
		} else if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("look at stream %s: %w", want.Name, err)
		}
		if _, err := js.CreateOrUpdateStream(ctx, want); err != nil {
			return fmt.Errorf("apply stream %s: %w", want.Name, err)
		}
	}
	for _, want := range consumers(o) {
		if err := applyConsumer(ctx, js, want, o.Floors[want.Durable]); err != nil {
			return err
		}
	}
	return nil
}

// EnsureConsumer makes a consumer that was lost again, from its floor; one that
// exists is left as it is.
func EnsureConsumer(ctx context.Context, js jetstream.JetStream, name string, o Options) (jetstream.Consumer, error) {
	consumer, err := js.Consumer(ctx, StreamEvents, name)
	if err == nil || !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return consumer, err
	}
	for _, want := range consumers(o) {
		if want.Durable != name {
			continue
		}
		if err := applyConsumer(ctx, js, want, o.Floors[name]); err != nil {
			return nil, err
		}
	}
	return js.Consumer(ctx, StreamEvents, name)
}

func applyConsumer(ctx context.Context, js jetstream.JetStream, want jetstream.ConsumerConfig, floor Floor) error {
	stream, err := js.Stream(ctx, StreamEvents)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", StreamEvents, err)
	}
	want.Metadata = map[string]string{versionMeta: strconv.Itoa(version)}
	want.DeliverPolicy = jetstream.DeliverAllPolicy
	if info := stream.CachedInfo(); floor.Epoch == info.Created.UnixNano() && floor.Seq > 0 {
		// A loss of power may take the last events. New ones get their numbers, so
		// a start behind a floor beyond the end would skip these.
		want.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
		want.OptStartSeq = min(floor.Seq, info.State.LastSeq) + 1
	}
	existing, err := js.Consumer(ctx, StreamEvents, want.Durable)
	switch {
	case err == nil:
		have := existing.CachedInfo().Config
		if err := notNewer(want.Durable, have.Metadata); err != nil {
			return err
		}
		// Where it started cannot be changed, and must not be.
		want.DeliverPolicy, want.OptStartSeq = have.DeliverPolicy, have.OptStartSeq
		want.Replicas = have.Replicas
	case !errors.Is(err, jetstream.ErrConsumerNotFound):
		return fmt.Errorf("look at consumer %s: %w", want.Durable, err)
	}
	if _, err := js.CreateOrUpdateConsumer(ctx, StreamEvents, want); err != nil {
		return fmt.Errorf("apply consumer %s: %w", want.Durable, err)
	}
	return nil
}

// Check says what of the topology is missing or older than this program needs.
func Check(ctx context.Context, js jetstream.JetStream) error {
	stream, err := js.Stream(ctx, StreamEvents)
	if err != nil {
		return fmt.Errorf("stream %s: %w (has the migration run?)", StreamEvents, err)
	}
	if have, _ := strconv.Atoi(stream.CachedInfo().Config.Metadata[versionMeta]); have < version {
		return fmt.Errorf("stream %s is of version %d, this program needs %d: run the migration", StreamEvents, have, version)
	}
	return nil
}

// Epoch identifies the stream EVENTS: its creation time in Unix nanoseconds. A
// recreated stream counts its sequences anew.
func Epoch(ctx context.Context, js jetstream.JetStream) (int64, error) {
	stream, err := js.Stream(ctx, StreamEvents)
	if err != nil {
		return 0, fmt.Errorf("look at stream %s: %w", StreamEvents, err)
	}
	return stream.CachedInfo().Created.UnixNano(), nil
}

func notNewer(name string, metadata map[string]string) error {
	have, _ := strconv.Atoi(metadata[versionMeta]) // none: older than versions
	if have > version {
		return fmt.Errorf("%s is of version %d, newer than this program's %d", name, have, version)
	}
	return nil
}
