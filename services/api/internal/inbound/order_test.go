package inbound_test

import (
	"slices"
	"testing"
	"time"

	updates "github.com/primezap/primezap/pkg/meta/inbound"
)

// Of a person who is met, and turns out to be another, in one transaction: what is
// told of her conversation is told in its order, though it is of two contacts.
func TestService_Take_OrderOfMerged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.take(f.whatsapp.says(updates.Person{Phone: ana.Phone}, "wamid.1", "1", time.Hour))
	f.exec(`DELETE FROM outbox`)
	f.take(f.whatsapp.says(updates.Person{UserID: ana.UserID}, "wamid.2", "2", 0), f.whatsapp.says(ana, "wamid.3", "3", time.Minute))
	closed := rows[string](f, `SELECT id::text FROM conversations WHERE status = 'closed'`)[0]
	var told, orders []string
	for _, e := range f.outbox() {
		if e.Data["conversationId"] == closed {
			told, orders = append(told, e.Type), append(orders, e.Order)
		}
	}
	if want := []string{"conversation.created", "message.received", "conversation.closed"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	if len(slices.Compact(orders)) != 1 {
		t.Errorf("in the orders of %q, want one", orders)
	}
}
