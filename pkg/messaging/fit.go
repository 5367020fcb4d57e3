package messaging

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/primezap/primezap/pkg/event"
)

const (
	maxMessage = 128 << 10 // bytes of a message in an event, of which the body has room for twice as many
	maxText    = 32 << 10  // of a message of which little else fits
	maxNesting = 32        // of what Meta sent
)

// fit is the message as events have it: what Meta and people put into it may be as
// long as a request, or no JSON that JavaScript reads unharmed. Numbers that it
// would round become strings; of what is too long, raw is left out, then all but
// the text, and truncated says so.
func fit(m Message) json.RawMessage {
	m.SentAt, m.EditedAt, m.DeletedAt = m.SentAt.UTC(), inUTC(m.EditedAt), inUTC(m.DeletedAt)
	m.Raw, m.Error = safe(m.Raw), safe(m.Error)
	if len(m.Raw) > 0 && m.Raw[0] != '{' {
		m.Raw = nil
	}
	m.Content = fitting(m.Content)
	if text, ok := encode(message{Message: m}); ok {
		return text
	}
	m.Raw = nil
	if text, ok := encode(message{Message: m, Truncated: true}); ok {
		return text
	}
	m.Content, m.Error = Content{}, nil
	if m.Text != nil && len(*m.Text) > maxText {
		m.Text = new(strings.ToValidUTF8((*m.Text)[:maxText], ""))
	}
	text, _ := encode(message{Message: m, Truncated: true})
	return text
}

type message struct {
	Message
	Truncated bool `json:"truncated,omitempty"`
}

// encode writes a message, false if events cannot hold it.
func encode(m message) (json.RawMessage, bool) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, false
	}
	text, err = event.Normalise(text)
	return text, err == nil && len(text) <= maxMessage
}

// fitting leaves out addresses that are none, and keeps the rest.
func fitting(c Content) Content {
	c.Media = addressed(c.Media)
	if c.Attachments != nil {
		all := make([]Attachment, len(c.Attachments))
		for i, a := range c.Attachments {
			a.Media = addressed(a.Media)
			all[i] = a
		}
		c.Attachments = all
	}
	if c.Contacts != nil {
		all := make([]Card, len(c.Contacts))
		for i, card := range c.Contacts {
			card.Raw = safe(card.Raw)
			all[i] = card
		}
		c.Contacts = all
	}
	if c.Interactive != nil {
		choice := *c.Interactive
		choice.Response = safe(choice.Response)
		c.Interactive = &choice
	}
	return c
}

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

// safe is JSON that events can hold, mostly raw itself; nil if it is too deep.
func safe(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return nil
	}
	if normal, err := event.Normalise(raw); err == nil && nesting(normal) <= maxNesting {
		return normal
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var v any
	if decoder.Decode(&v) != nil {
		return nil
	}
	text, err := json.Marshal(rounded(v, maxNesting))
	if err != nil {
		return nil
	}
	return text
}

// rounded has strings for the numbers that events refuse, and null for what nests
// deeper than levels.
func rounded(v any, levels int) any {
	switch v := v.(type) {
	case json.Number:
		if _, err := event.Normalise([]byte(v)); err != nil {
			return v.String()
		}
	case []any:
		if levels == 0 {
			return nil
		}
		for i := range v {
			v[i] = rounded(v[i], levels-1)
		}
	case map[string]any:
		if levels == 0 {
			return nil
		}
		for name := range v {
			v[name] = rounded(v[name], levels-1)
		}
	}
	return v
}

// nesting is how many arrays and objects stand in one another in JS-stable JSON.
func nesting(text []byte) int {
	depth, deepest := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		}
	}
	return deepest
}
