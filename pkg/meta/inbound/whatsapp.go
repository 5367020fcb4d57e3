package inbound

import (
	"cmp"
	"encoding/json"
	"strings"

	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/messaging"
)

// whatsApp reads an entry of an account. Its changes name the phone number.
func (r *reader) whatsApp(entry value) {
	account, none := accountID(entry.get("id")), true
	changes := entry.get("changes")
	if !changes.exists() && entry.get("field").exists() {
		changes = entry // field and value stand in the entry itself
	}
	for each := range changes.list() {
		if r.full {
			return
		}
		r.change(account, each)
		none = false
	}
	if none {
		r.other(messaging.WhatsApp, accounts(account), "", entry)
	}
}

// change is one of an account: messages and what became of them, or something else.
type change struct {
	accounts []string
	field    string
	faults   []messaging.Fault // why Meta could not tell some message
	profiles map[string]Person // by the ids that messages name them by
	profile  Person            // the only one, or none
}

func (r *reader) change(account string, of value) {
	v := of.get("value")
	c := change{field: of.get("field").line(), accounts: accounts(account)}
	if number := accountID(v.get("metadata").get("phone_number_id")); number != "" {
		c.accounts = accounts(number)
	}
	var lists []list
	switch c.field {
	case "messages", "smb_message_echoes", "standby", "":
		c.readProfiles(v.get("contacts"))
		c.faults = faults(v.get("errors"))
		lists = []list{
			{v.get("messages"), c.message},
			{v.get("message_echoes"), c.echo},
			{v.get("statuses"), c.status},
		}
	case "user_id_update":
		lists = []list{{v.get("user_id_update"), c.userID}}
	}
	none := true
	for _, l := range lists {
		for each := range l.of.list() {
			if r.full {
				return
			}
			u := l.read(each)
			u.Channel, u.Accounts, u.Field = messaging.WhatsApp, c.accounts, c.field
			u.Standby = c.field == "standby"
			u.At, u.Raw = moment(each.get("timestamp")), each.raw()
			r.add(u)
			none = false
		}
	}
	if none {
		r.other(messaging.WhatsApp, c.accounts, c.field, of)
	}
}

// list is a member of a change's value, and what reads the payload of its items.
type list struct {
	of   value
	read func(value) Update
}

// readProfiles reads the contacts beside messages, once: as many messages may be of
// one of them as there are.
func (c *change) readProfiles(contacts value) {
	n := 0
	for contact := range contacts.list() {
		profile := contact.get("profile")
		p := Person{
			Phone: phone(contact.get("wa_id").line()), UserID: personID(contact.get("user_id")),
			ParentUserID: personID(contact.get("parent_user_id")),
		}
		p.Name, _ = cut(profile.get("name").line(), maxNameBytes)
		p.Username, _ = cut(strings.TrimPrefix(profile.get("username").line(), "@"), maxNameBytes)
		if c.profiles == nil {
			c.profiles = map[string]Person{}
		}
		for _, id := range []string{p.Phone, p.UserID} {
			if id != "" {
				c.profiles[id] = p
			}
		}
		c.profile = p
		n++
	}
	if n != 1 {
		c.profile = Person{}
	}
}

// person reads who is meant by a number, an id, or an id that is wider, any of which
// may be missing, and completes it from the profiles.
func (c *change) person(number, user, parent value) Person {
	p := Person{Phone: phone(number.line()), UserID: personID(user), ParentUserID: personID(parent)}
	if p.UserID == "" && isUserID(number.line()) {
		p.UserID = number.line()
	}
	profile, ok := c.profiles[p.Phone]
	if !ok {
		profile = c.profiles[p.UserID]
	}
	return p.completed(profile)
}

// completed adds what a profile says.
func (p Person) completed(profile Person) Person {
	p.Phone = cmp.Or(p.Phone, profile.Phone)
	p.ParentUserID = cmp.Or(p.ParentUserID, profile.ParentUserID)
	p.UserID = cmp.Or(p.UserID, profile.UserID, p.ParentUserID) // the wider id reaches the person, too
	p.Name, p.Username = profile.Name, profile.Username
	return p
}

func (p Person) known() bool { return p.Phone != "" || p.UserID != "" || p.ScopedID != "" }

// message reads what a person wrote.
func (c *change) message(m value) Update {
	return c.either(m, c.person(m.get("from"), m.get("from_user_id"), m.get("from_parent_user_id")), false)
}

// echo reads what the account's owner wrote on the phone.
func (c *change) echo(m value) Update {
	return c.either(m, c.person(m.get("to"), m.get("to_user_id"), m.get("to_parent_user_id")), true)
}

// either reads what somebody wrote to the account, or the account (echo) to somebody.
func (c *change) either(m value, p Person, echo bool) Update {
	other := Update{Payload: Other{}}
	if !m.isObject() {
		return other
	}
	if !p.known() {
		p = p.completed(c.profile)
	}
	switch m.get("type").line() {
	case "system":
		if changed, ok := identityChange(m, p); ok {
			return Update{Payload: changed}
		}
		return other
	case "edit":
		edited := m.get("edit")
		id, now := messageID(edited.get("original_message_id")), edited.get("message")
		if id == "" || !now.isObject() {
			return other
		}
		what, text, content := c.content(now)
		edit := Edit{Person: p, Echo: echo, ExternalID: id, Type: what}
		edit.Text, edit.Content = fit(text, content)
		return Update{Payload: edit}
	case "revoke":
		id := messageID(m.get("revoke").get("original_message_id"))
		if id == "" {
			return other
		}
		return Update{Payload: Removal{Person: p, Echo: echo, ExternalID: id}}
	case "request_welcome": // opened the chat, and said nothing
		return other
	}
	if !p.known() {
		return other
	}
	id := messageID(m.get("id"))
	if id == "" {
		id = key("message", canonical(m))
	}
	what, text, content := c.content(m)
	message := Message{Person: p, Echo: echo, ExternalID: id, Type: what}
	message.Text, message.Content = fit(text, content)
	return Update{Payload: message}
}

// identityChange reads a message of the system. It comes from the old number, which
// may be missing, as may be the old id.
func identityChange(m value, p Person) (IdentityChange, bool) {
	s := m.get("system")
	switch s.get("type").line() {
	case "user_changed_number", "customer_changed_number", "user_changed_user_id":
	default:
		return IdentityChange{}, false
	}
	if p.Phone == "" {
		p.Phone = phone(s.get("customer").line())
	}
	return changed(p,
		Person{UserID: personID(s.get("previous_user_id")), ParentUserID: personID(s.get("previous_parent_user_id"))},
		Person{
			Phone:  phone(first(s.get("wa_id"), s.get("new_wa_id")).line()),
			UserID: personID(s.get("user_id")), ParentUserID: personID(s.get("parent_user_id")),
		})
}

// userID reads a change of id that is told by itself.
func (c *change) userID(of value) Update {
	user, parent := of.get("user_id"), of.get("parent_user_id")
	p, ok := changed(Person{},
		Person{
			UserID:       personID(first(user.get("previous"), of.get("previous").get("user_id"), of.get("previous_user_id"))),
			ParentUserID: personID(first(parent.get("previous"), of.get("previous").get("parent_user_id"), of.get("previous_parent_user_id"))),
		},
		Person{
			Phone:        phone(of.get("wa_id").line()),
			UserID:       personID(first(user.get("current"), of.get("current").get("user_id"), user)),
			ParentUserID: personID(first(parent.get("current"), of.get("current").get("parent_user_id"), parent)),
		})
	if !ok {
		return Update{Payload: Other{}}
	}
	return Update{Payload: p}
}

// changed makes a change of who a person was, as far as the message says (which may
// be who she is) and as far as the change itself says, and who she is.
func changed(said, before, now Person) (IdentityChange, bool) {
	was := said
	was.UserID = cmp.Or(before.UserID, was.UserID)
	was.ParentUserID = cmp.Or(before.ParentUserID, was.ParentUserID)
	was.UserID = cmp.Or(was.UserID, was.ParentUserID)
	now.UserID = cmp.Or(now.UserID, now.ParentUserID)
	if now.Phone == was.Phone {
		now.Phone = ""
	}
	if now.UserID == was.UserID {
		now.UserID = ""
	}
	if now.ParentUserID == was.ParentUserID {
		now.ParentUserID = ""
	}
	return IdentityChange{Old: was, New: now}, was.known() && now.known()
}

// first is the first that there is.
func first(values ...value) value {
	for _, v := range values {
		if v.exists() {
			return v
		}
	}
	return value{}
}

// statuses are what a message of the account may be said to be.
var statuses = map[string]messaging.Status{
	"sent": messaging.Sent, "delivered": messaging.Delivered, "read": messaging.Read,
	"played": messaging.Played, "failed": messaging.Failed,
}

func (c *change) status(s value) Update {
	id, status := messageID(s.get("id")), statuses[s.get("status").line()]
	if id == "" || status == "" {
		return Update{Payload: Other{}}
	}
	receipt := Receipt{
		ExternalIDs: []string{id}, Status: status,
		Errors:       faults(s.get("errors")),
		Failure:      failure(s.get("errors")),
		Pricing:      embed(s.get("pricing"), maxLineBytes),
		Conversation: embed(s.get("conversation"), maxLineBytes),
	}
	receipt.Opaque, _ = cut(s.get("biz_opaque_callback_data").text(), maxLineBytes)
	// A group is no person.
	user, parent := s.get("recipient_user_id"), s.get("parent_recipient_user_id")
	if !parent.exists() {
		parent = s.get("recipient_parent_user_id")
	}
	number := s.get("recipient_id")
	if s.get("recipient_type").is("group") {
		number, user, parent = s.get("recipient_participant_id"), s.get("recipient_participant_user_id"), value{}
	}
	receipt.Person = c.person(number, user, parent)
	return Update{Payload: receipt}
}

// faults are Meta's errors: its code, what it is called, and what there is to say.
func faults(errors value) (all []messaging.Fault) {
	for e := range errors.list() {
		if len(all) == maxFaults {
			break
		}
		code, _ := number(e.get("code"))
		fault := messaging.Fault{
			Code:    int64(code),
			Title:   line(first(e.get("title"), e.get("message"))),
			Details: line(first(e.get("error_data").get("details"), e.get("details"))),
		}
		if fault == (messaging.Fault{}) {
			fault.Details = line(e) // a text alone
		}
		all = append(all, fault)
	}
	return all
}

// failure is Meta's errors as they came, or if they are too much what they say.
func failure(errors value) json.RawMessage {
	all := faults(errors)
	if len(all) == 0 {
		return nil
	}
	if whole := embed(errors, maxFaultBytes); whole != nil {
		return whole
	}
	text, err := json.Marshal(all[:1])
	if err != nil {
		return nil
	}
	return event.Embed(text, maxFaultBytes)
}
