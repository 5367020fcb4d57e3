package messaging

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/primezap/primezap/pkg/event"
)

const (
	maxMessage = 192 << 10 // bytes of a message in an event; a contact with a hundred long tags fits beside it
	maxText    = 32 << 10  // of a message of which nothing else fits
)

// fit is the message as events have it: what Meta and people put into it may be as
// long as a request, or no JSON that JavaScript reads unharmed. Numbers that it
// would round become strings; of what is too long, raw is left out, then all but
// the text, and truncated says so.
func fit(m Message) json.RawMessage {
	m.SentAt, m.EditedAt, m.DeletedAt = m.SentAt.UTC(), inUTC(m.EditedAt), inUTC(m.DeletedAt)
	raw := m.Raw
	if m.Raw = event.Embed(raw, maxMessage); len(m.Raw) == 0 || m.Raw[0] != '{' {
		m.Raw = nil
	}
	m.Truncated = m.Truncated || len(raw) > 0 && m.Raw == nil
	m.Error = event.Embed(m.Error, maxText)
	m.Media = addressed(m.Media)
	m.Attachments = withAddresses(m.Attachments)
	if text, ok := encode(m); ok {
		return text
	}
	m.Raw, m.Truncated = nil, true
	if text, ok := encode(m); ok {
		return text
	}
	m.Content, m.Error = Content{Truncated: true}, nil
	if m.Text != nil && len(*m.Text) > maxText {
		m.Text = new(strings.ToValidUTF8((*m.Text)[:maxText], ""))
	}
	text, _ := encode(m)
	return text
}

// encode writes a message, false if events cannot hold it.
func encode(m Message) (json.RawMessage, bool) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, false
	}
	text, err = event.Normalise(text)
	return text, err == nil && len(text) <= maxMessage
}

func withAddresses(attachments []Attachment) []Attachment {
	all := make([]Attachment, len(attachments))
	for i, a := range attachments {
		a.Media = addressed(a.Media)
		all[i] = a
	}
	return all
}

// addressed leaves out an address that is none: Meta's are not ours to judge, but
// subscribers are promised one.
func addressed(m *Media) *Media {
	if m == nil || m.URL == "" {
		return m
	}
	if at, err := url.Parse(m.URL); err == nil && at.IsAbs() {
		return m
	}
	without := *m
	without.URL = ""
	return &without
}
