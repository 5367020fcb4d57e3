package messaging

import (
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Contact is a person, as contact.created and contact.updated have her. Events of
// conversations and messages have the first five fields.
type Contact struct {
	ID           uuid.UUID
	Name         string
	Phone        *string // E.164
	Email        *string
	Tags         []string
	Instagram    *string // user name
	Source       Channel
	Owner        *Agent
	CustomFields json.RawMessage // an object of texts, numbers, booleans and nulls; empty: none
	Identities   []Identity      // nil: not looked up
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Agent is a member of the CRM's team.
type Agent struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
}

// Identity is one of the ids that a person is known by.
type Identity struct {
	Kind    string `json:"kind"` // phone, user_id, psid, igsid
	Value   string `json:"value"`
	Account string `json:"account,omitempty"` // Meta's id of the page or account that it holds for
}

// Actor is who did something.
type Actor struct {
	Type string     `json:"type"` // user, contact, workflow, broadcast, api, system
	ID   *uuid.UUID `json:"id,omitempty"`
	Name string     `json:"name,omitempty"`
}

// System is an actor that is nobody in particular: ourselves, or what the account
// did by another app of Meta's.
var System = Actor{Type: "system"}

// By is a contact as an actor.
func By(c Contact) Actor { return Actor{Type: "contact", ID: &c.ID, Name: nameOf(c)} }

// What a contact may have, so that an event has room for it twice: as it is, and as it
// was before.
const (
	MaxTags              = 100
	MaxCustomFieldsBytes = 64 << 10 // as JSON
)

// maxName is how many characters a name has that was not set by hand.
const maxName = 200

// DisplayName is what a contact is called that has no name set by hand: what the
// profile says, else the user name, else the phone number, else the channel and the
// end of id, whatever is known of her. It is never empty.
func DisplayName(profile, username, phone string, channel Channel, id string) string {
	for _, name := range []string{profile, username, phone} {
		if name = Clean(name, maxName); name != "" {
			return name
		}
	}
	const digits = 4
	if id = Clean(id, maxName); len(id) > digits {
		id = strings.ToValidUTF8(id[len(id)-digits:], "")
	}
	return strings.TrimSpace(channel.Title() + " " + id)
}

// Title is what people call the channel.
func (c Channel) Title() string {
	switch c {
	case WhatsApp:
		return "WhatsApp"
	case Facebook:
		return "Messenger"
	case Instagram:
		return "Instagram"
	default:
		return string(c)
	}
}

// Clean is a text of one line as people see it: without control characters and
// white space around it, at most so many characters long.
func Clean(text string, most int) string {
	text = strings.ToValidUTF8(text, "")
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text))
	if utf8.RuneCountInString(text) > most {
		text = strings.TrimSpace(string([]rune(text)[:most]))
	}
	return text
}
