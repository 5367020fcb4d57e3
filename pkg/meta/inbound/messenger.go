package inbound

import (
	"github.com/primezap/primezap/pkg/messaging"
)

// messenger reads an entry of a page, or of an Instagram account.
func (r *reader) messenger(channel messaging.Channel, entry value) {
	account, none := accountID(entry.get("id")), true
	for _, l := range []struct {
		name    string
		standby bool
	}{{"messaging", false}, {"standby", true}} {
		for each := range entry.get(l.name).list() {
			if r.full {
				return
			}
			r.item(channel, account, each, "", l.standby)
			none = false
		}
	}
	changes := entry.get("changes")
	if !changes.exists() && entry.get("field").exists() {
		changes = entry // field and value stand in the entry itself
	}
	for each := range changes.list() {
		if r.full {
			return
		}
		none = false
		field, of := each.get("field").line(), each.get("value")
		if of.get("sender").isObject() || of.get("recipient").isObject() {
			r.item(channel, account, of, field, field == "standby")
		} else {
			r.other(channel, accounts(account), field, each) // comments, mentions, what happens on a page
		}
	}
	if none {
		r.other(channel, accounts(account), "", entry)
	}
}

// item is what happened between an account and a person.
type item struct {
	value
	kind    string // the name of the member that says what
	what    value  // that member
	account string
	person  Person
	echo    bool // it is the account's doing
}

// kinds are what an item may be, and the fields that pages and Instagram accounts
// subscribe to it by.
var kinds = []struct {
	name             string
	field, instagram string
	read             func(item) Payload // nil: Other
}{
	{"message", "messages", "messages", item.message},
	{"postback", "messaging_postbacks", "messaging_postbacks", item.postback},
	{"reaction", "message_reactions", "message_reactions", item.reaction},
	{"delivery", "message_deliveries", "message_deliveries", item.delivery},
	{"read", "message_reads", "messaging_seen", item.seen},
	{"message_edit", "message_edits", "message_edit", item.edit},
	{"referral", "messaging_referrals", "messaging_referral", nil},
	{"optin", "messaging_optins", "messaging_optins", nil},
	{"account_linking", "messaging_account_linking", "messaging_account_linking", nil},
	{"pass_thread_control", "messaging_handovers", "messaging_handover", nil},
	{"take_thread_control", "messaging_handovers", "messaging_handover", nil},
	{"request_thread_control", "messaging_handovers", "messaging_handover", nil},
	{"app_roles", "messaging_handovers", "messaging_handover", nil},
	{"policy-enforcement", "messaging_policy_enforcement", "messaging_policy_enforcement", nil},
}

func (r *reader) item(channel messaging.Channel, account string, v value, field string, standby bool) {
	u := Update{
		Channel: channel, Field: field, At: moment(v.get("timestamp")), Standby: standby,
		Raw: v.raw(), Payload: Other{},
	}
	it := item{value: v}
	var read func(item) Payload
	for _, k := range kinds {
		if it.what = v.get(k.name); !it.what.isObject() {
			continue
		}
		it.kind, read = k.name, k.read
		if field == "" && channel == messaging.Instagram {
			u.Field = k.instagram
		} else if field == "" {
			u.Field = k.field
		}
		break
	}
	if it.kind == "" && field == "" {
		u.Field = unknownKind(v)
	}
	it.meet(account)
	if it.echo && it.kind == "message" && field == "" && channel == messaging.Facebook {
		u.Field = "message_echoes"
	}
	// The account that takes part goes first. An entry's id that does not is a page's, or
	// none: whoever entered it as an account of their own shall not read along.
	u.Accounts = accounts(it.account, account)
	if read != nil {
		u.Payload = read(it)
	}
	if receipt, ok := u.Payload.(Receipt); ok && u.At.IsZero() {
		u.At = receipt.Watermark // deliveries tell no other time
	}
	r.add(u)
}

// unknownKind is the name of the first member that is none of every item.
func unknownKind(v value) string {
	for key := range v.members() {
		switch name := key.text(); name {
		case "sender", "recipient", "timestamp":
		default:
			return name
		}
	}
	return ""
}

// meet finds out which of sender and recipient is the account. The entry's id says
// it, whichever way round they are; but it may be of the page that an Instagram
// account belongs to, or missing. Then an echo is the sender's, all else the
// recipient's.
func (it *item) meet(account string) {
	sender, recipient := it.get("sender"), it.get("recipient")
	from, to := personID(sender.get("id")), personID(recipient.get("id"))
	it.echo = truth(it.what.get("is_echo")) || truth(it.what.get("is_self"))
	switch {
	case account != "" && from == account:
		it.echo = true
	case account != "" && to == account:
		sender, recipient, from, to = recipient, sender, to, from
	case !it.echo:
		sender, recipient, from, to = recipient, sender, to, from
	}
	// From here on, sender is the account.
	it.account = accountID(sender.get("id"))
	if to == from && to != "" {
		return // the account itself: no person
	}
	it.person.ScopedID = to
	if ref := personID(recipient.get("user_ref")); to == "" && ref != "" && len(userRef)+len(ref) <= MaxIDBytes {
		it.person.ScopedID = userRef + ref
	}
}

// userRef keeps names that websites give apart from Meta's ids.
const userRef = "user_ref:"

func (it item) message() Payload {
	id := messageID(it.what.get("mid"))
	if truth(it.what.get("is_deleted")) {
		if id == "" {
			return Other{}
		}
		return Removal{Person: it.person, Echo: it.echo, ExternalID: id}
	}
	if !it.person.known() {
		return Other{}
	}
	if id == "" {
		id = key("message", canonical(it.value))
	}
	what, text, content := it.content()
	m := Message{Person: it.person, Echo: it.echo, ExternalID: id, Type: what}
	m.Text, m.Content = fit(text, content)
	return m
}

func (it item) postback() Payload {
	if !it.person.known() || it.echo {
		return Other{}
	}
	id, payload := messageID(it.what.get("mid")), plainText(it.what.get("payload"))
	title := it.what.get("title").text()
	if id == "" {
		id = key("postback", it.person.ScopedID, payload, title, it.get("timestamp").line())
	}
	m := Message{Person: it.person, ExternalID: id, Type: messaging.Postback}
	m.Text, m.Content = fit(title, messaging.Content{
		Interactive: &messaging.Choice{Kind: "postback", Title: line(it.what.get("title")), Payload: payloadOf(it.what)},
		Referral:    referral(it.what.get("referral")),
	})
	return m
}

// reaction reads one, or that it is taken back. It has no id of its own: a person who
// reacts, and reacts again, does so at another time.
func (it item) reaction() Payload {
	on := messageID(it.what.get("mid"))
	if !it.person.known() || on == "" {
		return Other{}
	}
	reaction := &messaging.Reaction{ExternalID: on, Emoji: line(it.what.get("emoji")), Name: line(it.what.get("reaction"))}
	action := it.what.get("action").line()
	reaction.Removed = action == "unreact" || action == "" && reaction.Emoji == "" && reaction.Name == ""
	by := "person"
	if it.echo {
		by = "account"
	}
	return Message{
		Person: it.person, Echo: it.echo, Type: messaging.Reacted,
		ExternalID: key("reaction", by, it.person.ScopedID, on, action, reaction.Emoji, reaction.Name, it.get("timestamp").line()),
		Content:    messaging.Content{Reaction: reaction},
	}
}

func (it item) delivery() Payload { return it.receipt(messaging.Delivered) }

func (it item) seen() Payload { return it.receipt(messaging.Read) }

// receipt reads how far the person has come. How far the account has, others need
// not know.
func (it item) receipt(status messaging.Status) Payload {
	receipt := Receipt{Person: it.person, Status: status, Watermark: moment(it.what.get("watermark"))}
	for _, name := range []string{"mids", "mid"} {
		for each := range it.what.get(name).list() {
			if id := messageID(each); id != "" && len(receipt.ExternalIDs) < maxReceiptIDs {
				receipt.ExternalIDs = append(receipt.ExternalIDs, id)
			}
		}
	}
	byTime := !receipt.Watermark.IsZero() && it.person.known()
	if it.echo || !byTime && len(receipt.ExternalIDs) == 0 {
		return Other{}
	}
	return receipt
}

// maxReceiptIDs is how many messages one receipt may name. Meta's name a few.
const maxReceiptIDs = 1000

// edit reads a text that was edited: whatever else the message holds stays.
func (it item) edit() Payload {
	id := messageID(it.what.get("mid"))
	if id == "" {
		return Other{}
	}
	e := Edit{Person: it.person, Echo: it.echo, ExternalID: id}
	e.Text, e.Content = fit(it.what.get("text").text(), messaging.Content{})
	return e
}
