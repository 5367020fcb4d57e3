package inbound_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/meta/inbound"
)

const maxRawBytes = 64 << 10

// checkStorable checks what the package promises of updates: whatever Meta sent,
// Postgres takes them, and an event does.
func checkStorable(t *testing.T, updates []inbound.Update) {
	t.Helper()
	for i, u := range updates {
		if u.Payload == nil {
			t.Fatalf("update %d has no payload", i)
		}
		if raw := string(u.Raw); !json.Valid(u.Raw) || !utf8.Valid(u.Raw) || strings.ContainsRune(raw, 0) || hasNUL(raw) {
			t.Errorf("update %d cannot be stored as it came: %.200q", i, raw)
		}
		if len(u.Field) > 64 {
			t.Errorf("update %d is of a field of %d bytes", i, len(u.Field))
		}
		for _, account := range u.Accounts {
			if account == "" || len(account) > 64 {
				t.Errorf("update %d is of account %.70q", i, account)
			}
		}
		if !u.At.IsZero() && (u.At.Year() < 2004 || u.At.Year() >= 2100) {
			t.Errorf("update %d is of %s", i, u.At)
		}
		checkTexts(t, reflect.ValueOf(u.Payload))
		switch p := u.Payload.(type) {
		case inbound.Message:
			checkPerson(t, p.Person)
			checkID(t, p.ExternalID)
			checkEvent(t, messaging.Message{ExternalID: p.ExternalID, Type: p.Type, Text: p.Text, Content: p.Content}, u.Raw)
			checkReceived(t, p, u)
			if p.Type == "" {
				t.Errorf("update %d is a message of no type", i)
			}
		case inbound.Edit:
			checkID(t, p.ExternalID)
			checkEvent(t, messaging.Message{ExternalID: p.ExternalID, Type: p.Type, Text: p.Text, Content: p.Content}, u.Raw)
		case inbound.Removal:
			checkID(t, p.ExternalID)
		case inbound.Receipt:
			for _, id := range p.ExternalIDs {
				checkID(t, id)
			}
			if len(p.ExternalIDs) == 0 {
				checkPerson(t, p.Person)
			}
			checkEvent(t, messaging.Message{Error: p.Failure}, p.Pricing)
			checkEvent(t, messaging.Message{Content: messaging.Content{Errors: p.Errors}}, p.Conversation)
		case inbound.IdentityChange:
			checkPerson(t, p.Old)
			checkPerson(t, p.New)
			if p.Old == p.New {
				t.Errorf("update %d changes nothing: %+v", i, p)
			}
		}
	}
}

// hasNUL reports whether JSON has an escaped NUL or lone surrogate: an escape that
// is itself no escaped backslash's.
func hasNUL(text string) bool {
	doc, err := decoded([]byte(text))
	if err != nil {
		return true
	}
	plain, err := json.Marshal(doc)
	return err != nil || strings.Contains(strings.ReplaceAll(string(plain), `\\`, ""), `\u0000`)
}

// decoded reads JSON with whatever numbers.
func decoded(text []byte) (doc any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err = decoder.Decode(&doc)
	return doc, err
}

// checkEvent shows that there is room for a message in an event, with its raw form
// and as much again as a contact and a conversation need.
func checkEvent(t *testing.T, m messaging.Message, raw []byte) {
	t.Helper()
	for _, part := range []struct {
		of   any
		most int
	}{{m.Text, inbound.MaxTextBytes}, {m.Content, inbound.MaxContentBytes}} {
		text, err := json.Marshal(part.of)
		if err != nil {
			t.Fatalf("no JSON: %v", err)
		}
		if event.Embed(text, part.most) == nil {
			t.Errorf("%T is %d bytes long, or refused: %.100s", part.of, len(text), text)
		}
	}
	m.Raw = event.Embed(raw, maxRawBytes)
	message, err := json.Marshal(m)
	if err != nil {
		t.Fatalf("a message is no JSON: %v", err)
	}
	body, err := event.Body(event.MessageReceived, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), []byte(`{"message":`+string(message)+`}`))
	if err != nil {
		t.Fatalf("no event can tell of a message: %v\n%.300s", err, message)
	}
	const room = 48 << 10
	if len(body) > event.MaxBodyBytes-room {
		t.Errorf("an event of a message is %d bytes long, and leaves less than %d", len(body), room)
	}
}

// checkReceived shows that the event of a message is as the catalog says.
func checkReceived(t *testing.T, m inbound.Message, u inbound.Update) {
	t.Helper()
	at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	received := messaging.MessageReceived(
		messaging.Message{
			ID: someID, ExternalID: m.ExternalID, Channel: u.Channel, Direction: messaging.Inbound, Type: m.Type,
			Text: m.Text, Content: m.Content, Status: messaging.Received, Standby: u.Standby, SentAt: at, Raw: u.Raw,
		},
		messaging.Conversation{ID: someID, Channel: u.Channel, ConnectionID: someID, Status: messaging.Open, CreatedAt: at},
		messaging.Contact{ID: someID, Name: "Ana", Source: u.Channel, CreatedAt: at, UpdatedAt: at},
	)
	data, err := json.Marshal(received.Data)
	if err != nil {
		t.Fatalf("no JSON: %v", err)
	}
	body, err := event.Body(received.Type, at, data)
	if err != nil {
		t.Fatalf("no event can tell of %s: %v", m.ExternalID, err)
	}
	for _, fault := range event.Validate(received.Type, body) {
		t.Errorf("the event of %s is not as the catalog says: %v", m.ExternalID, fault)
	}
}

var someID = uuid.MustParse("019a017d-9cb8-7881-b1be-1dc66d76b07e")

func checkID(t *testing.T, id string) {
	t.Helper()
	if id == "" || len(id) > inbound.MaxIDBytes {
		t.Errorf("no index takes the id %.100q of %d bytes", id, len(id))
	}
}

func checkPerson(t *testing.T, p inbound.Person) {
	t.Helper()
	if p.Phone == "" && p.UserID == "" && p.ScopedID == "" {
		t.Errorf("nobody: %+v", p)
	}
	for _, id := range []string{p.Phone, p.UserID, p.ParentUserID, p.ScopedID} {
		if len(id) > inbound.MaxIDBytes {
			t.Errorf("no index takes an id of %d bytes", len(id))
		}
	}
}

// checkTexts looks at every text and document within a payload.
func checkTexts(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			t.Errorf("Postgres takes no text %.100q", s)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			checkTexts(t, v.Elem())
		}
	case reflect.Slice:
		if doc, ok := reflect.TypeAssert[json.RawMessage](v); ok {
			if doc != nil && (!json.Valid(doc) || !utf8.Valid(doc) || hasNUL(string(doc))) {
				t.Errorf("Postgres takes no JSON %.100q", doc)
			}
			return
		}
		for i := range v.Len() {
			checkTexts(t, v.Index(i))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for _, field := range v.Fields() {
			checkTexts(t, field)
		}
	}
}
