package inbound

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/failpoint"
	"github.com/primezap/primezap/pkg/messaging"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
	"github.com/primezap/primezap/pkg/store/db"
)

// tries is how often a transaction begins that others get in the way of.
const tries = 5

// record stores a batch. What cannot be stored is parted from the rest, and stored
// in a form that can.
func (s *Service) record(ctx context.Context, b batch) error {
	err := s.write(ctx, b)
	cause, refused := refusal(err)
	if !refused {
		return err
	}
	if n := len(b.told); n > 1 {
		if err := s.record(ctx, batch{b.tenant, b.told[:n/2]}); err != nil {
			return err
		}
		return s.record(ctx, batch{b.tenant, b.told[n/2:]})
	}
	one := b.told[0]
	s.metrics.refused.Inc()
	s.log.ErrorContext(ctx, "an update of Meta's could not be stored as what it is",
		"connection", one.connection.ID, "kind", kind(&one.Update), "cause", cause)
	if m, ok := one.Payload.(updates.Message); ok {
		one.Payload = unsupported(m)
		err := s.write(ctx, batch{b.tenant, []told{one}})
		if _, refused := refusal(err); !refused {
			return err
		}
	}
	one.Payload, one.Field = updates.Other{}, "refused"
	return s.write(ctx, batch{b.tenant, []told{one}})
}

// unsupported is a message of which no more is left than that there was one, and
// who wrote it.
func unsupported(m updates.Message) updates.Message {
	person := m.Person
	person.Name, person.Username = "", ""
	return updates.Message{Person: person, Echo: m.Echo, ExternalID: m.ExternalID, Type: messaging.Unsupported}
}

var (
	// errOvertaken says that what was found had changed by the time it was locked.
	errOvertaken = errors.New("overtaken by another transaction")
	// errGone says that a connection was deleted since it was found.
	errGone = errors.New("a connection was deleted")
)

// refusal says whether an error is of the data: another try would end the same.
// The cause is fit for a log, which the message of a server is not.
func refusal(err error) (cause string, refused bool) {
	if err == nil {
		return "", false
	}
	if fault, ok := errors.AsType[*event.Error](err); ok {
		return string(fault.Reason), true
	}
	if errors.Is(err, errOvertaken) {
		return errOvertaken.Error(), true // every time
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code[:min(2, len(pg.Code))] {
		case "22", "23", "54": // what a value, a row, or an index can hold
			return "SQLSTATE " + pg.Code, true
		}
	}
	return "", false
}

// write stores a batch in one transaction.
func (s *Service) write(ctx context.Context, b batch) error {
	for try := 1; ; try++ {
		var done tally
		err := s.store.InTenantTx(ctx, b.tenant, func(tx pgx.Tx, q *db.Queries) (err error) {
			failpoint.Hit("inbound.begun")
			done, err = transact(ctx, tx, q, b)
			return err
		})
		if err != nil {
			if overtaken(err) && try < tries {
				continue
			}
			return err
		}
		failpoint.Hit("inbound.committed")
		s.count(b, done)
		return nil
	}
}

// overtaken reports whether another transaction stored what this one did not find.
func overtaken(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return errors.Is(err, errOvertaken) || ok && pg.Code == "23505"
}

// tally is what a transaction found.
type tally struct {
	duplicates map[messaging.Channel]int
}

func transact(ctx context.Context, tx pgx.Tx, q *db.Queries, b batch) (tally, error) {
	state, err := load(ctx, tx, q, b)
	if err != nil {
		return tally{}, fmt.Errorf("read: %w", err)
	}
	for i := range b.told {
		if err := state.apply(ctx, &b.told[i]); err != nil {
			return tally{}, err
		}
	}
	if err := state.write(ctx, tx); err != nil {
		return tally{}, fmt.Errorf("write: %w", err)
	}
	failpoint.Hit("inbound.written")
	return tally{state.duplicates}, nil
}

func (s *Service) count(b batch, done tally) {
	for i := range b.told {
		s.metrics.updates.WithLabelValues(string(b.told[i].Channel), kind(&b.told[i].Update)).Inc()
	}
	for channel, n := range done.duplicates {
		s.metrics.duplicates.WithLabelValues(string(channel)).Add(float64(n))
	}
}
