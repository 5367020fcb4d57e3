package inbound_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/messaging"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
)

// wrote is a text message that the account wrote, by another app.
func (c conn) wrote(to updates.Person, id, text string, after time.Duration) updates.Update {
	return c.tells(updates.Message{Person: to, Echo: true, ExternalID: id, Type: messaging.Text, Text: &text}, after)
}

func TestService_Take_Echo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	guest := updates.Person{ScopedID: "77"}
	f.take(f.facebook.wrote(guest, "m_1", "hello", 0))
	events := f.raises("contact.created", "conversation.created", "message.sent")
	if by := events[2].Data["sentBy"].(map[string]any)["type"]; by != "system" {
		t.Errorf("sent by %v, want system", by)
	}
	f.take(f.facebook.wrote(guest, "m_1", "hello", 0), f.facebook.wrote(guest, "m_2", "hello?", time.Minute))
	f.raises("message.sent")
	is(f, []string{"outbound sent hello", "outbound sent hello?"}, `SELECT concat_ws(' ', direction, status, text) FROM messages ORDER BY id`)
	is(f, []bool{true}, `SELECT last_message_at = $1 FROM conversations WHERE last_inbound_at IS NULL`, noon.Add(time.Minute))

	// What we sent ourselves is stored before Meta tells of it.
	f.exec(`INSERT INTO messages (id, tenant_id, connection_id, conversation_id, contact_id, channel, direction, external_id, type, status, sent_at)
		SELECT $1, tenant_id, connection_id, conversation_id, contact_id, channel, 'outbound', 'm_3', 'text', 'accepted', now() FROM messages LIMIT 1`, uuid.Must(uuid.NewV7()))
	f.take(f.facebook.wrote(guest, "m_3", "ours", 2*time.Minute))
	f.raises()
}

// TestService_Take_ReceiptsInAnyOrder gives every order of some receipts, each by
// itself and all in one batch: what is told last does not matter.
func TestService_Take_ReceiptsInAnyOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	receipt := func(id string, status messaging.Status, after time.Duration) updates.Update {
		return f.whatsapp.tells(updates.Receipt{Person: ana, ExternalIDs: []string{id}, Status: status, Failure: json.RawMessage(`[{"code":131026}]`)}, after)
	}
	n := 0
	for _, tc := range []struct {
		told []messaging.Status
		want messaging.Status
	}{
		{[]messaging.Status{messaging.Sent, messaging.Delivered, messaging.Read, messaging.Played}, messaging.Played},
		{[]messaging.Status{messaging.Sent, messaging.Delivered, messaging.Read}, messaging.Read},
		{[]messaging.Status{messaging.Sent, messaging.Read}, messaging.Read},
		{[]messaging.Status{messaging.Sent, messaging.Failed}, messaging.Failed},
		{[]messaging.Status{messaging.Failed}, messaging.Failed},
		{[]messaging.Status{messaging.Delivered, messaging.Failed}, messaging.Delivered},
	} {
		for _, order := range permutations(tc.told) {
			for _, doubled := range []bool{false, true} {
				n++
				one, batch := fmt.Sprint("wamid.one", n), fmt.Sprint("wamid.batch", n)
				f.take(f.whatsapp.wrote(ana, one, "x", 0), f.whatsapp.wrote(ana, batch, "x", 0))
				var all []updates.Update
				for i, status := range order {
					f.take(receipt(one, status, time.Duration(i)*time.Second))
					all = append(all, receipt(batch, status, time.Second))
					if doubled {
						f.take(receipt(one, status, time.Duration(i)*time.Second))
						all = append(all, receipt(batch, status, time.Second))
					}
				}
				f.take(all...)
				for _, id := range []string{one, batch} {
					want := string(tc.want)
					if tc.want == messaging.Failed {
						want += `[{"code":131026}]`
					}
					is(f, []string{want}, `SELECT status || coalesce(error::text, '') FROM messages WHERE external_id = $1`, id)
				}
			}
		}
	}
	f.exec(`DELETE FROM outbox`)
	f.take(receipt("wamid.one1", messaging.Played, time.Hour))
	f.raises() // a receipt is told to nobody
}

func permutations[T any](of []T) (all [][]T) {
	if len(of) == 0 {
		return [][]T{nil}
	}
	for i, first := range of {
		rest := append(append([]T{}, of[:i]...), of[i+1:]...)
		for _, p := range permutations(rest) {
			all = append(all, append([]T{first}, p...))
		}
	}
	return all
}

func TestService_Take_Receipts(t *testing.T) {
	t.Parallel()
	pricing := json.RawMessage(`{"billable":true}`)
	t.Run("pricing is kept, whichever receipt has it", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(
			f.whatsapp.wrote(ana, "wamid.1", "x", 0),
			f.whatsapp.tells(updates.Receipt{ExternalIDs: []string{"wamid.1"}, Status: messaging.Read}, 1),
			f.whatsapp.tells(updates.Receipt{ExternalIDs: []string{"wamid.1"}, Status: messaging.Sent, Pricing: pricing}, 2),
		)
		is(f, []string{`read {"billable":true}`}, `SELECT status || ' ' || pricing FROM messages`)
	})
	t.Run("what comes before its message is applied when that comes", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		early := f.whatsapp.tells(updates.Receipt{Person: ana, ExternalIDs: []string{"wamid.1", "wamid.2"}, Status: messaging.Delivered, Pricing: pricing}, 1)
		f.take(early)
		f.take(early)
		is(f, []string{"wamid.1", "wamid.2"}, `SELECT external_id FROM channel_updates ORDER BY external_id`)
		f.take(f.whatsapp.wrote(ana, "wamid.1", "x", 0), f.whatsapp.wrote(ana, "wamid.3", "x", 0))
		f.take(f.whatsapp.tells(updates.Receipt{ExternalIDs: []string{"wamid.4"}, Status: messaging.Read}, -1), f.whatsapp.wrote(ana, "wamid.4", "x", 0))
		is(f, []string{`wamid.1 delivered {"billable":true}`, "wamid.3 sent", "wamid.4 read"},
			`SELECT concat_ws(' ', external_id, status, pricing) FROM messages ORDER BY external_id`)
	})
	t.Run("a message of a person is not touched", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.says(ana, "wamid.1", "x", 0), f.whatsapp.tells(updates.Receipt{ExternalIDs: []string{"wamid.1"}, Status: messaging.Read}, 1))
		is(f, []string{"received"}, `SELECT status FROM messages`)
	})
	t.Run("one up to a time is of all that was written to the person there until then", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		guest, other := updates.Person{ScopedID: "77"}, updates.Person{ScopedID: "78"}
		second := f.connect(f.tenant, messaging.Facebook, "100000000000002", "")
		f.take(f.facebook.wrote(guest, "m_1", "in a closed one", 0))
		f.exec(`UPDATE conversations SET status = 'closed'`)
		f.take(
			f.facebook.wrote(guest, "m_2", "before", time.Minute), f.facebook.wrote(guest, "m_3", "failed", time.Minute),
			f.facebook.wrote(other, "m_5", "to another", time.Minute), second.wrote(guest, "m_6", "elsewhere", time.Minute), f.facebook.says(guest, "m_7", "hers", time.Minute),
		)
		f.take(f.facebook.tells(updates.Receipt{ExternalIDs: []string{"m_3"}, Status: messaging.Failed}, time.Minute))
		f.take(
			f.facebook.wrote(guest, "m_4", "fails in the same post", 2*time.Minute),
			f.facebook.tells(updates.Receipt{ExternalIDs: []string{"m_4"}, Status: messaging.Failed}, 2*time.Minute),
			f.facebook.wrote(guest, "m_8", "in the same post", 2*time.Minute), f.facebook.wrote(guest, "m_9", "after", 4*time.Minute),
			f.facebook.tells(updates.Receipt{Person: guest, Watermark: noon.Add(3 * time.Minute), Status: messaging.Read}, 5*time.Minute),
		)
		is(f, []string{"m_1 read", "m_2 read", "m_3 failed", "m_4 failed", "m_5 sent", "m_6 sent", "m_7 received", "m_8 read", "m_9 sent"},
			`SELECT external_id || ' ' || status FROM messages ORDER BY external_id`)
		f.take(f.facebook.tells(updates.Receipt{Person: guest, Watermark: noon.Add(9 * time.Minute), Status: messaging.Delivered}, 6*time.Minute))
		is(f, []string{"m_1 read", "m_9 delivered"}, `SELECT external_id || ' ' || status FROM messages WHERE external_id IN ('m_1', 'm_9') ORDER BY external_id`)
		f.take(f.facebook.tells(updates.Receipt{Person: updates.Person{ScopedID: "79"}, Watermark: noon, Status: messaging.Read}, 0))
		is(f, []int{1}, `SELECT count(*)::int FROM channel_updates`)
	})
}
