package inbound

import (
	"fmt"
	"slices"

	"github.com/primezap/primezap/pkg/messaging"
)

// Parse reads what Meta posted, in the order that it has. The error is ErrMalformed
// for what is no JSON (nesting deeper than 10 000 levels counts as none), and
// ErrTooMany beside the first MaxUpdates: those are good. Whatever else is in a
// body, each part of it that may be an update gives one, of kind Other where it
// cannot be read.
//
// Updates share the body's memory: it must not change while they are used. The work
// is linear in its length, which the caller bounds.
func Parse(body []byte) ([]Update, error) {
	src, ok := clean(body)
	if !ok {
		return nil, ErrMalformed
	}
	root, at, ok := read(src)
	if !ok {
		return nil, fmt.Errorf("%w: the fault is at byte %d", ErrMalformed, at)
	}
	var r reader
	if !root.exists() {
		r.other("", nil, "", root) // null
	}
	for each := range root.list() { // one, or an array of them
		if r.full {
			break
		}
		r.body(each)
	}
	if r.full {
		return r.updates, ErrTooMany
	}
	return r.updates, nil
}

// reader gathers updates.
type reader struct {
	updates []Update
	full    bool // an update was left out
}

// add takes an update as long as there is room. Whoever has a list of them asks
// full before the next.
func (r *reader) add(u Update) {
	if len(r.updates) == MaxUpdates {
		r.full = true
		return
	}
	u.Field, _ = cut(u.Field, maxFieldBytes)
	r.updates = append(r.updates, u)
}

// other adds what cannot be read.
func (r *reader) other(channel messaging.Channel, accounts []string, field string, of value) {
	r.add(Update{Channel: channel, Accounts: accounts, Field: field, Raw: of.raw(), Payload: Other{}})
}

func (r *reader) body(body value) {
	var channel messaging.Channel
	var entry func(value)
	object := body.get("object").line()
	switch object {
	case "whatsapp_business_account":
		channel, entry = messaging.WhatsApp, r.whatsApp
	case "page":
		channel, entry = messaging.Facebook, func(of value) { r.messenger(messaging.Facebook, of) }
	case "instagram":
		channel, entry = messaging.Instagram, func(of value) { r.messenger(messaging.Instagram, of) }
	}
	none := true
	if channel != "" {
		for each := range body.get("entry").list() {
			if r.full {
				return
			}
			entry(each)
			none = false
		}
	}
	if none {
		r.other(channel, nil, object, body)
	}
}

// accounts are those ids that are any, each once.
func accounts(ids ...string) (known []string) {
	for _, id := range ids {
		if id != "" && !slices.Contains(known, id) {
			known = append(known, id)
		}
	}
	return known
}
