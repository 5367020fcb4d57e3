package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Stock is what EVENTS holds, and how far its consumers are.
type Stock struct {
	Epoch     int64  // of the stream: see Epoch
	First     uint64 // the first sequence that is stored
	Last      uint64 // the last one ever given
	FirstTime time.Time
	Messages  uint64
	Bytes     uint64
	MaxBytes  int64 // not positive: as much as the disk takes
	// Floors says of each consumer up to which sequence nothing is left to do.
	Floors map[string]Floor
}

// Floor is the lowest floor: no event at it or below is undelivered.
func (s *Stock) Floor() uint64 {
	lowest := s.Last
	for _, floor := range s.Floors {
		lowest = min(lowest, floor.Seq)
	}
	return lowest
}

// TakeStock looks at EVENTS and its consumers. A consumer that is missing is an
// error: nobody knows what it has delivered.
func TakeStock(ctx context.Context, js jetstream.JetStream) (*Stock, error) {
	// The stream first: a consumer that has nothing left has acked all that the
	// stream held then, whatever class the last event was of.
	stream, err := js.Stream(ctx, StreamEvents)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", StreamEvents, err)
	}
	info := stream.CachedInfo()
	stock := &Stock{
		Epoch: info.Created.UnixNano(), First: info.State.FirstSeq, Last: info.State.LastSeq, FirstTime: info.State.FirstTime,
		Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes, Floors: map[string]Floor{},
	}
	for _, name := range []string{ConsumerLive, ConsumerBulk} {
		consumer, err := js.Consumer(ctx, StreamEvents, name)
		if err != nil {
			return nil, fmt.Errorf("look at consumer %s: %w", name, err)
		}
		floor, err := floorOf(ctx, js, consumer.CachedInfo(), stock.Last)
		if err != nil {
			return nil, fmt.Errorf("look for the floor of %s: %w", name, err)
		}
		stock.Floors[name] = Floor{Epoch: stock.Epoch, Seq: floor}
	}
	return stock, nil
}

// floorOf is the sequence at which, and below which, nothing is left to do. A
// consumer that says that nothing is pending may not have heard of the last
// events: the server tells its consumers of an event after it has acknowledged
// it (nats-server 2.15, signalConsumersLoop). So the store is asked.
func floorOf(ctx context.Context, js jetstream.JetStream, info *jetstream.ConsumerInfo, last uint64) (uint64, error) {
	acked := info.AckFloor.Stream
	if info.NumPending > 0 || info.NumAckPending > 0 || acked >= last {
		return acked, nil
	}
	next, found, err := nextOf(ctx, js, info.Config.FilterSubject, acked+1)
	if err != nil {
		return 0, err
	}
	if found && next <= last {
		return acked, nil
	}
	return last, nil
}

// nextOf returns the sequence of the first event at from or behind it whose
// subject matches, and whether there is one.
func nextOf(ctx context.Context, js jetstream.JetStream, subject string, from uint64) (seq uint64, found bool, err error) {
	request, err := json.Marshal(struct {
		Seq     uint64 `json:"seq"`
		Subject string `json:"next_by_subj"`
	}{from, subject})
	if err != nil {
		return 0, false, fmt.Errorf("first event of %s since %d: %w", subject, from, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	// Not a direct get: a replica that lags behind would answer it as well.
	answer, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+StreamEvents, request)
	if err != nil {
		return 0, false, fmt.Errorf("first event of %s since %d: %w", subject, from, err)
	}
	var got struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Seq uint64 `json:"seq"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return 0, false, fmt.Errorf("first event of %s since %d: %w", subject, from, err)
	}
	switch {
	case got.Error == nil:
		return got.Message.Seq, true, nil
	case got.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return 0, false, nil
	}
	return 0, false, fmt.Errorf("first event of %s since %d: %w", subject, from, got.Error)
}

// requestTimeout bounds a request that nats.go does not: the answer is lost when
// the connection is.
const requestTimeout = 5 * time.Second

// FirstSince returns the sequence of the first event that was stored at t or
// later, and whether there is one.
func FirstSince(ctx context.Context, js jetstream.JetStream, t time.Time) (seq uint64, found bool, err error) {
	// nats.go's GetMsg has no start time (nats-server has, from 2.11 on); its
	// consumers would have to be made for one look.
	request, err := json.Marshal(struct {
		StartTime time.Time `json:"start_time"`
	}{t.UTC()})
	if err != nil {
		return 0, false, fmt.Errorf("first event since %s: %w", t, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := js.Conn().RequestWithContext(ctx, "$JS.API.DIRECT.GET."+StreamEvents, request)
	if err != nil {
		return 0, false, fmt.Errorf("first event since %s: %w", t, err)
	}
	switch status := answer.Header.Get("Status"); status {
	case "":
	case "404":
		return 0, false, nil
	default:
		return 0, false, fmt.Errorf("first event since %s: status %s %s", t, status, answer.Header.Get("Description"))
	}
	if seq, err = strconv.ParseUint(answer.Header.Get(jetstream.SequenceHeader), 10, 64); err != nil {
		return 0, false, fmt.Errorf("first event since %s: sequence: %w", t, err)
	}
	return seq, true, nil
}

// PurgeBelow removes the events below seq from EVENTS.
func PurgeBelow(ctx context.Context, js jetstream.JetStream, seq uint64) error {
	if seq == 0 { // to the server that means all of them
		return errors.New("purge below 0 would remove every event")
	}
	stream, err := js.Stream(ctx, StreamEvents)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", StreamEvents, err)
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(seq)); err != nil {
		return fmt.Errorf("purge %s below %d: %w", StreamEvents, seq, err)
	}
	return nil
}
