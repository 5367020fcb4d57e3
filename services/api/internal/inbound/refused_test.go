package inbound_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
)

// refuse has Postgres refuse, as a value that it cannot hold, messages whose column
// is like pattern.
func (f *fixture) refuse(name, column, pattern, code string) {
	f.Helper()
	f.exec(`CREATE FUNCTION ` + name + `() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF NEW.` + column + `::text LIKE '` + pattern + `' THEN RAISE EXCEPTION 'no such value' USING errcode = '` + code + `'; END IF;
			RETURN NEW;
		END $$`)
	f.exec(`CREATE TRIGGER ` + name + ` BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION ` + name + `()`)
}

// TestService_Take_Refused has Postgres refuse some of a batch.
func TestService_Take_Refused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.refuse("bad_text", "text", "bad%", "22P05")
	f.refuse("bad_name", "external_id", "%hopeless", "23514")
	var told []updates.Update
	for n := range 20 {
		id, text := fmt.Sprint("wamid.", n), fmt.Sprint("good ", n)
		switch n {
		case 3, 11:
			text = fmt.Sprint("bad ", n)
		case 7:
			id = "wamid.hopeless"
		}
		p := updates.Person{Phone: fmt.Sprintf("+551190000%04d", n%5), Name: "Ana"}
		told = append(told, f.whatsapp.says(p, id, text, time.Duration(n)*time.Second))
	}
	f.take(told...)
	is(f, []int{17}, `SELECT count(*)::int FROM messages WHERE type = 'text' AND text LIKE 'good %'`)
	is(f, []string{"wamid.11", "wamid.3"}, `SELECT external_id FROM messages WHERE type = 'unsupported' AND text IS NULL AND raw IS NOT NULL ORDER BY external_id`)
	is(f, []string{"refused " + string(told[7].Raw)}, `SELECT field || ' ' || convert_from(raw, 'UTF8') FROM channel_updates`)
	is(f, []int{19}, `SELECT count(*)::int FROM outbox WHERE event_type = 'message.received'`)
	if got := f.metric("primezap_inbound_refused_total"); got != 3 {
		t.Errorf("%v refusals are counted, want 3", got)
	}
	before := len(f.outbox())
	f.take(told...) // Meta repeats
	if got := len(f.outbox()); got != before {
		t.Errorf("%d events after the same was told again, want %d", got, before)
	}
}

func TestService_Take_StrangeValues(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	deep := json.RawMessage(strings.Repeat(`[`, 5000) + strings.Repeat(`]`, 5000))
	huge := json.RawMessage(`{"x":"` + strings.Repeat("x", 1<<20) + `"}`)
	for name, change := range map[string]func(*updates.Update, *updates.Message){
		"raw that is too deep for an event":       func(u *updates.Update, _ *updates.Message) { u.Raw = json.RawMessage(`{"d":` + string(deep) + `}`) },
		"raw that is too long for an event":       func(u *updates.Update, _ *updates.Message) { u.Raw = huge },
		"integers that JavaScript rounds":         func(u *updates.Update, _ *updates.Message) { u.Raw = json.RawMessage(`{"id":12345678901234567890}`) },
		"no raw":                                  func(u *updates.Update, _ *updates.Message) { u.Raw = nil },
		"a time that no calendar has":             func(u *updates.Update, _ *updates.Message) { u.At = time.Unix(1<<40, 0) },
		"no time":                                 func(u *updates.Update, _ *updates.Message) { u.At = time.Time{} },
		"a time in the far past":                  func(u *updates.Update, _ *updates.Message) { u.At = time.Unix(-1<<40, 0) },
		"text with bytes that are none":           func(_ *updates.Update, m *updates.Message) { m.Text = new("a\x00b\xff") },
		"an empty text":                           func(_ *updates.Update, m *updates.Message) { m.Text = new("") },
		"a long text":                             func(_ *updates.Update, m *updates.Message) { m.Text = new(strings.Repeat("é", 200_000)) },
		"a type with bytes that are none":         func(_ *updates.Update, m *updates.Message) { m.Type = "a\x00b" },
		"a user id that no index holds":           func(_ *updates.Update, m *updates.Message) { m.Person.UserID = random(9000) },
		"an external id that no index holds":      func(_ *updates.Update, m *updates.Message) { m.ExternalID = random(9000) },
		"a field with bytes that are none":        func(u *updates.Update, _ *updates.Message) { u.Field = "a\x00\xffb" },
		"a phone number with a byte that is none": func(_ *updates.Update, m *updates.Message) { m.Person.Phone = "+55\x00" },
	} {
		f.exec(`TRUNCATE messages, channel_updates, outbox`)
		m := updates.Message{Person: ana, ExternalID: "wamid.1", Type: messaging.Text, Text: new("x")}
		u := f.whatsapp.tells(m, 0)
		change(&u, &m)
		u.Payload = m
		f.take(f.whatsapp.says(ana, "wamid.2", "beside it", 0), u)
		stored := rows[int](f, `SELECT count(*)::int FROM messages WHERE external_id <> 'wamid.2'`)[0] + rows[int](f, `SELECT count(*)::int FROM channel_updates`)[0]
		beside := rows[int](f, `SELECT count(*)::int FROM messages WHERE text = 'beside it'`)[0]
		received := rows[int](f, `SELECT count(*)::int FROM outbox WHERE event_type = 'message.received'`)[0]
		if stored != 1 || beside != 1 || received != rows[int](f, `SELECT count(*)::int FROM messages`)[0] {
			t.Errorf("%s: %d stored, %d beside it, %d events", name, stored, beside, received)
		}
	}
}

// random is a text that does not compress.
func random(n int) string {
	text := make([]byte, n)
	state := uint32(1)
	for i := range text {
		state = state*1664525 + 1013904223
		text[i] = 'A' + byte(state>>24)%50
	}
	return string(text)
}
