package event

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Type is the name of a kind of event: what it is about, a dot, what happened.
type Type string

// The types that customers subscribe to.
const (
	MessageReceived     Type = "message.received"
	MessageSent         Type = "message.sent"
	ConversationCreated Type = "conversation.created"
	ConversationUpdated Type = "conversation.updated"
	ConversationClosed  Type = "conversation.closed"
	ContactCreated      Type = "contact.created"
	ContactUpdated      Type = "contact.updated"
	DealCreated         Type = "deal.created"
	DealUpdated         Type = "deal.updated"
	DealMoved           Type = "deal.moved"
	LeadQualified       Type = "lead.qualified"
	WorkflowCompleted   Type = "workflow.completed"
	BroadcastCompleted  Type = "broadcast.completed"
)

// The operational types tell of our own service, and we alone raise them.
const (
	WebhookFailing  Type = "webhook.failing"
	WebhookDisabled Type = "webhook.disabled"

	ConnectionConnected         Type = "connection.connected"
	ConnectionDisconnected      Type = "connection.disconnected"
	ConnectionExpiring          Type = "connection.expiring"
	ConnectionReconnectRequired Type = "connection.reconnect_required"
)

// subscribable are the types that All and prefixes cover, in order.
var subscribable = []Type{
	MessageReceived, MessageSent,
	ConversationCreated, ConversationUpdated, ConversationClosed,
	ContactCreated, ContactUpdated,
	DealCreated, DealUpdated, DealMoved,
	LeadQualified, WorkflowCompleted, BroadcastCompleted,
}

// operational are the types that All and prefixes cover only for a webhook that
// asks for them by its operational setting: who subscribed to everything of the
// CRM did not ask for them. Their names may be subscribed to by any.
var operational = []Type{
	WebhookFailing, WebhookDisabled,
	ConnectionConnected, ConnectionDisconnected, ConnectionExpiring, ConnectionReconnectRequired,
}

// Definition describes a type to those who subscribe to it. Its slices are shared:
// they must not be changed.
type Definition struct {
	Type        Type            `json:"name"`
	Description Description     `json:"description"`
	Schema      json.RawMessage `json:"schema"`  // JSON Schema 2020-12 of data; it allows further fields
	Example     json.RawMessage `json:"example"` // a whole body, JS-stable as a sent one
	Operational bool            `json:"operational"`
}

// Description is a sentence or two on when an event occurs, in both languages of
// the dashboard.
type Description struct {
	En   string `json:"en"`
	PtBR string `json:"pt-BR"`
}

// Types returns the catalog: all types that customers subscribe to, in an order
// that stays, the operational ones last.
func Types() []Definition {
	types := make([]Definition, 0, len(subscribable)+len(operational))
	for _, t := range slices.Concat(subscribable, operational) {
		types = append(types, definitions()[t])
	}
	return types
}

// Operational reports whether t tells of our own service: no client may raise it.
func (t Type) Operational() bool { return slices.Contains(operational, t) }

// Names returns the names of all types that there are, in alphabetical order.
func Names() []string {
	names := make([]string, 0, len(definitions()))
	for t := range definitions() {
		names = append(names, string(t))
	}
	slices.Sort(names)
	return names
}

// Lookup returns the definition of a type, and false where there is none.
func Lookup(t Type) (Definition, bool) {
	d, ok := definitions()[t]
	return d, ok
}

func known(t Type) bool {
	_, ok := definitions()[t]
	return ok
}

//go:embed catalog/*.json
var files embed.FS

// definitions reads the embedded files once. They are ours and tested: what is
// wrong in them is a programmer's error.
var definitions = sync.OnceValue(func() map[Type]Definition {
	entries, err := files.ReadDir("catalog")
	if err != nil {
		panic(fmt.Sprintf("event: catalog: %v", err))
	}
	all := make(map[Type]Definition, len(entries))
	for _, entry := range entries {
		d, err := readDefinition(entry.Name())
		if err != nil {
			panic(fmt.Sprintf("event: catalog: %s: %v", entry.Name(), err))
		}
		all[d.Type] = d
	}
	return all
})

func readDefinition(file string) (Definition, error) {
	text, err := files.ReadFile("catalog/" + file)
	if err != nil {
		return Definition{}, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var d Definition
	if err := decoder.Decode(&d); err != nil {
		return Definition{}, err
	}
	if want := string(d.Type) + ".json"; file != want {
		return Definition{}, fmt.Errorf("its name should be %s", want)
	}
	d.Operational = d.Type.Operational()
	// The files are indented for their readers.
	if d.Schema, err = Normalise(d.Schema); err != nil {
		return Definition{}, fmt.Errorf("schema: %w", err)
	}
	if d.Example, err = Normalise(d.Example); err != nil {
		return Definition{}, fmt.Errorf("example: %w", err)
	}
	return d, nil
}

// All is the subscription to every type that is not operational, and for an
// operational webhook to those too.
const All = "*"

// ValidSubscription reports whether s is a type of the catalog, All, or a prefix
// such as deal.* that at least one type has.
func ValidSubscription(s string) bool {
	covered := func(t Type) bool { return Covers(s, t) }
	return slices.ContainsFunc(subscribable, covered) || slices.ContainsFunc(operational, covered)
}

// Covers reports whether the subscription s covers t: names it, or is All or a
// prefix of it. Whether the webhook gets t also depends on its operational
// setting: ask Matches.
func Covers(s string, t Type) bool {
	if s == string(t) {
		return true
	}
	prefix, wide := strings.CutSuffix(s, "*")
	if !wide || prefix != "" && !strings.HasSuffix(prefix, ".") {
		return false
	}
	return strings.HasPrefix(string(t), prefix) && known(t)
}

// Matches reports whether the subscription s brings t to a webhook. All and
// prefixes bring operational types only to a webhook that is operational.
func Matches(s string, t Type, isOperational bool) bool {
	return Covers(s, t) && (isOperational || s == string(t) || !t.Operational())
}

// ValidID reports whether a client may give an event this id: 1 to 64 letters,
// digits, underscores and hyphens of ASCII.
func ValidID(id string) bool {
	return 1 <= len(id) && len(id) <= 64 && !strings.ContainsFunc(id, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-')
	})
}
