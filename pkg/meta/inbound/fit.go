package inbound

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/messaging"
)

// Bounds of parts of a content, as JSON.
const (
	maxLineBytes     = 1 << 10 // a title
	maxNameBytes     = 512     // a person's
	maxFieldBytes    = 64
	maxCardBytes     = 4 << 10
	maxResponseBytes = 16 << 10 // of a form
	maxFaultBytes    = 8 << 10
	maxFaults        = 10
)

// cut returns the beginning of a text that is at most so many bytes as JSON, with
// its quotation marks, and reports whether it is all of it.
func cut(text string, most int) (string, bool) {
	size := len(`""`)
	if 6*len(text)+size <= most {
		return text, true
	}
	for i, r := range text {
		switch {
		case r == '"' || r == '\\':
			size += 2
		case r < ' ':
			size += len(`\u0000`)
		default:
			size += utf8.RuneLen(r)
		}
		if size > most {
			return text[:i], false
		}
	}
	return text, true
}

// line reads a text that is short, and cut where it is not.
func line(v value) string {
	text, _ := cut(v.line(), maxLineBytes)
	return text
}

// fit makes a message's text and content as short as they must be.
func fit(text string, c messaging.Content) (*string, messaging.Content) {
	text, whole := cut(text, MaxTextBytes)
	c, all := shorten(c)
	c.Truncated = !whole || !all
	if text == "" {
		return nil, c
	}
	return &text, c
}

// shorten leaves out of a content what it must to be at most MaxContentBytes, the
// least needed first.
func shorten(c messaging.Content) (messaging.Content, bool) {
	if fits(c) {
		return c, true
	}
	for _, leaveOut := range []func(){
		func() {
			for i := range c.Contacts {
				c.Contacts[i].Raw = nil
			}
		},
		func() { shortenLists(&c, 50) },
		func() { shortenLists(&c, 10) },
		func() { c.Attachments, c.Contacts, c.Order = nil, nil, nil },
		func() { c.Interactive = nil },
		func() { c.Referral, c.Share, c.Story = nil, nil, nil },
		func() { c = messaging.Content{Reaction: c.Reaction, GroupID: c.GroupID} },
	} {
		if leaveOut(); fits(c) {
			break
		}
	}
	return c, false
}

func shortenLists(c *messaging.Content, most int) {
	c.Attachments = c.Attachments[:min(most, len(c.Attachments))]
	c.Contacts = c.Contacts[:min(most, len(c.Contacts))]
	if c.Order != nil {
		c.Order.Items = c.Order.Items[:min(most, len(c.Order.Items))]
	}
}

// fits counts with room for Truncated.
func fits(c messaging.Content) bool {
	text, err := json.Marshal(c)
	return err == nil && len(text) <= MaxContentBytes-len(`,"truncated":true`)
}

// embed is JSON as an event takes it, nil for what is none or too long.
func embed(v value, most int) json.RawMessage {
	if !v.exists() {
		return nil
	}
	return event.Embed(v.raw(), most)
}
