package metatest_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/meta/inbound"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

// What is played and what the product reads are made apart from each other, from
// Meta's documents: they have to meet.
func TestServer_PlaysWhatTheProductReads(t *testing.T) {
	t.Parallel()
	payloads := map[string]string{ // of kinds that are no messages of a person
		"sent": "Receipt", "delivered": "Receipt", "read": "Receipt", "played": "Receipt", "failed": "Receipt", "delivery": "Receipt", "seen": "Receipt",
		"edit": "Edit", "revoke": "Removal", "unsend": "Removal", "user_changed_number": "IdentityChange", "user_changed_user_id": "IdentityChange",
		"errors": "Other", "request_welcome": "Other", "optin": "Other",
	}
	types := map[string]messaging.Type{ // of messages whose kind has another name
		"button_reply": messaging.Interactive, "list_reply": messaging.Interactive, "nfm_reply": messaging.Interactive, "quick_reply": messaging.Interactive,
		"unreact": messaging.Reacted, "echo": messaging.Text, "ad": messaging.Text, "product": messaging.Text, "story_reply": messaging.Text, "referral": messaging.Text,
		"file": messaging.Document, "fallback": messaging.Shared, "reel": messaging.Shared, "ig_reel": messaging.Shared, "ig_post": messaging.Shared,
		"unsupported_type": messaging.Unsupported, "contacts": messaging.Cards, "location": messaging.LocationPin, "order": messaging.OrderPlaced,
	}
	accounts := map[messaging.Channel]string{
		messaging.WhatsApp: metatest.DefaultNumberID, messaging.Facebook: metatest.DefaultPageID, messaging.Instagram: metatest.DefaultAccountID,
	}
	s := start(t, metatest.Config{})
	for _, channel := range channels {
		for _, kind := range metatest.Kinds(channel) {
			for _, form := range []string{"", "standby", "changes"} {
				if form != "" && channel == messaging.WhatsApp {
					continue
				}
				body, ids, err := s.Payload(metatest.Event{Channel: channel, Kind: kind, Form: form, Target: "wamid.Q"})
				if err != nil {
					t.Errorf("%s %s %s: %v", channel, kind, form, err)
					continue
				}
				updates, err := inbound.Parse(body)
				if err != nil || len(updates) != 1 {
					t.Errorf("%s %s %s: %d updates (%v)", channel, kind, form, len(updates), err)
					continue
				}
				u := updates[0]
				want, ok := payloads[kind]
				switch {
				case kind == "referral" && channel == messaging.WhatsApp:
					want = "Message"
				case kind == "referral":
					want = "Other"
				case !ok:
					want = "Message"
				}
				if got := fmt.Sprintf("%T", u.Payload); got != "inbound."+want || u.Channel != channel || !slices.Contains(u.Accounts, accounts[channel]) || u.Standby != (form == "standby") {
					t.Errorf("%s %s %s: read as %s %+v, want %s", channel, kind, form, got, u, want)
				}
				message, ok := u.Payload.(inbound.Message)
				if !ok {
					continue
				}
				wantType, ok := types[kind]
				if !ok {
					wantType = messaging.Type(kind)
				}
				if message.Type != wantType || message.Echo != (kind == "echo") || message.Type != messaging.Reacted && message.ExternalID != ids[0] {
					t.Errorf("%s %s %s: read as %+v, want %s", channel, kind, form, message, wantType)
				}
			}
		}
	}
}
