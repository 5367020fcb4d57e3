package metatest

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/primezap/primezap/pkg/messaging"
)

// address reads whom a send is to. A phone number wins over a user id. The caller
// holds mu.
func (s *Server) address(c *call) {
	if c.number.ID == "" {
		recipient, _ := c.body["recipient"].(M)
		c.input = text(recipient, "id")
		c.to = c.input
		return
	}
	to, recipient := text(c.body, "to"), text(c.body, "recipient")
	c.input = cmp.Or(to, recipient)
	name := recipient
	if to != "" && !isUserID(to) {
		name = dial(to, c.number.Phone)
	} else if to != "" {
		name = to
	}
	if name == "" {
		return
	}
	c.person = s.world.person(messaging.WhatsApp, name)
	c.to = cmp.Or(c.person.waID(), c.person.UserID)
	if to == "" || isUserID(to) {
		c.to = c.person.UserID // whoever is named so is answered so
	}
}

// dial is the number that Meta makes of one: without a plus sign the country of the
// business is put before it, whatever it begins with.
func dial(to, own string) string {
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, to)
	if digits == "" || strings.HasPrefix(strings.TrimSpace(to), "+") {
		return "+" + digits
	}
	return "+" + country(strings.TrimPrefix(own, "+")) + digits
}

// country is the country code that a number begins with.
func country(digits string) string {
	const two = " 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98 "
	switch {
	case len(digits) < 3:
		return digits
	case digits[0] == '1' || digits[0] == '7':
		return digits[:1]
	case strings.Contains(two, " "+digits[:2]+" "):
		return digits[:2]
	}
	return digits[:3]
}

// sendWhatsApp serves POST /{phone-number-id}/messages. The caller holds mu.
func (s *Server) sendWhatsApp(c *call, fault Fault) (result any, sent string, failed *GraphError) {
	if text(c.body, "messaging_product") != "whatsapp" {
		return nil, "", badParameter("The parameter messaging_product is required.")
	}
	if c.kind == callMarkRead {
		if text(c.body, "status") != "read" {
			return nil, "", badParameter("Param status must be one of {READ}")
		}
		if text(c.body, "message_id") == "" {
			return nil, "", missing("message_id")
		}
		return M{"success": true}, "", nil
	}
	if c.input == "" {
		return nil, "", badParameter("The parameter to is required.")
	}
	if digits := strings.TrimPrefix(c.person.Phone, "+"); c.person.UserID == "" || c.person.Phone != "" && !isUserID(c.input) && (len(digits) < 7 || len(digits) > 15) {
		return nil, "", badValue("Recipient is not a valid phone number or user id")
	}
	if failed := checkWhatsApp(c.body, isUserID(c.to)); failed != nil {
		return nil, "", failed
	}
	id := s.newID(messaging.WhatsApp)
	s.record.add(Sent{
		ID: id, At: s.now(), Channel: messaging.WhatsApp, Account: c.number.ID, To: c.input, Person: c.to,
		Type: cmp.Or(text(c.body, "type"), "text"), Opaque: text(c.body, "biz_opaque_callback_data"), Answered: true, Body: c.raw,
	})
	s.tellStatuses(c, id, fault)
	contact := M{"input": c.input, "wa_id": c.to}
	if isUserID(c.to) {
		contact = M{"input": c.input, "user_id": c.to}
	}
	return M{"messaging_product": "whatsapp", "contacts": []M{contact}, "messages": []M{{"id": id}}}, id, nil
}

// Bounds of what a message may hold, in characters unless they count.
const (
	maxText        = 4096
	maxCaption     = 1024
	maxOpaque      = 512
	maxButtons     = 3
	maxButtonTitle = 20
	maxRows        = 10
)

// checkWhatsApp says what is wrong with a message.
func checkWhatsApp(m M, toUserID bool) *GraphError {
	kind := cmp.Or(text(m, "type"), "text")
	check, ok := whatsAppTypes[kind]
	if !ok {
		return badParameter("Param type must be one of {AUDIO, CONTACTS, DOCUMENT, IMAGE, INTERACTIVE, LOCATION, REACTION, STICKER, TEMPLATE, TEXT, VIDEO} - got %q.", kind)
	}
	if kind == "contacts" {
		cards, _ := m[kind].([]any)
		if len(cards) == 0 {
			return missing(kind)
		}
	}
	object, _ := m[kind].(M)
	if object == nil && kind != "contacts" {
		return missing(kind)
	}
	if recipient := text(m, "recipient_type"); recipient != "" && recipient != "individual" && recipient != "group" {
		return badParameter("Param recipient_type must be one of {INDIVIDUAL, GROUP} - got %q.", recipient)
	}
	if length(text(m, "biz_opaque_callback_data")) > maxOpaque {
		return badParameter("Param biz_opaque_callback_data must be at most %d characters long.", maxOpaque)
	}
	if context, given := m["context"]; given {
		if context, _ := context.(M); text(context, "message_id") == "" {
			return missing("context[message_id]")
		}
	}
	if kind == "template" && toUserID && text(object, "category") == "authentication" {
		return (&GraphError{Code: 131062, Message: "(#131062) Business-scoped user ids are not supported for this message"}).complete()
	}
	return check(object)
}

// whatsAppTypes say what is wrong with the object of each type.
var whatsAppTypes = map[string]func(M) *GraphError{
	"text": func(o M) *GraphError {
		body, ok := o["body"].(string)
		switch {
		case !ok || body == "":
			return badParameter("The parameter text['body'] is required.")
		case length(body) > maxText:
			return badParameter("Param text['body'] must be at most %d characters long.", maxText)
		}
		return nil
	},
	"image": media, "audio": media, "video": media, "document": media, "sticker": media,
	"location": func(o M) *GraphError {
		for _, name := range []string{"latitude", "longitude"} {
			if _, number := o[name].(float64); !number && text(o, name) == "" {
				return missing("location[" + name + "]")
			}
		}
		return nil
	},
	"contacts": func(M) *GraphError { return nil },
	"reaction": func(o M) *GraphError {
		if text(o, "message_id") == "" {
			return missing("reaction[message_id]")
		}
		return nil
	},
	"template": func(o M) *GraphError {
		language, _ := o["language"].(M)
		switch {
		case text(o, "name") == "":
			return missing("template[name]")
		case text(language, "code") == "":
			return missing("template[language][code]")
		}
		return nil
	},
	"interactive": interactive,
}

func media(o M) *GraphError {
	switch id, link := text(o, "id"), text(o, "link"); {
	case id == "" && link == "":
		return badParameter("Either 'id' or 'link' must be given.")
	case id != "" && link != "":
		return badParameter("'id' and 'link' cannot be given together.")
	case link != "" && !strings.HasPrefix(link, "http://") && !strings.HasPrefix(link, "https://"):
		return badParameter("Param link must be a valid URL.")
	case length(text(o, "caption")) > maxCaption:
		return badParameter("Param caption must be at most %d characters long.", maxCaption)
	}
	return nil
}

func interactive(o M) *GraphError {
	action, _ := o["action"].(M)
	if action == nil {
		return missing("interactive[action]")
	}
	body, _ := o["body"].(M)
	kind := text(o, "type")
	if text(body, "text") == "" && slices.Contains([]string{"button", "list", "cta_url", "flow"}, kind) {
		return missing("interactive[body][text]")
	}
	switch kind {
	case "button":
		buttons, _ := action["buttons"].([]any)
		if len(buttons) < 1 || len(buttons) > maxButtons {
			return badValue("Invalid buttons count. Min allowed buttons: 1, Max allowed buttons: %d", maxButtons)
		}
		for _, b := range buttons {
			button, _ := b.(M)
			reply, _ := button["reply"].(M)
			if title := text(reply, "title"); text(reply, "id") == "" || title == "" || length(title) > maxButtonTitle {
				return badValue("Button title length invalid. Min length: 1, Max length: %d", maxButtonTitle)
			}
		}
	case "list":
		sections, _ := action["sections"].([]any)
		rows := 0
		for _, one := range sections {
			section, _ := one.(M)
			list, _ := section["rows"].([]any)
			rows += len(list)
		}
		if rows < 1 || rows > maxRows {
			return badValue("Total row count exceed max allowed count: %d", maxRows)
		}
	case "":
		return missing("interactive[type]")
	}
	return nil
}

// text is a value that is text. An id may come as a number.
func text(m M, name string) string {
	switch v := m[name].(type) {
	case string:
		return v
	case float64:
		return string(encode(v))
	case json.Number:
		return v.String()
	}
	return ""
}

func length(s string) int { return utf8.RuneCountInString(s) }
