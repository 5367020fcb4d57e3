package metatest

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/primezap/primezap/pkg/messaging"
)

// maxPageText is how many bytes of text Messenger and Instagram take.
const maxPageText = 2000

// sendPage serves POST /{page or Instagram account}/messages. The caller holds mu.
func (s *Server) sendPage(c *call) (result any, sent string, failed *GraphError) {
	channel, account := messaging.Facebook, c.object
	if _, ok := s.world.account(c.object); ok {
		channel = messaging.Instagram
	} else if _, ok := s.world.page(c.object); !ok {
		return nil, "", noObject(http.MethodPost, c.object)
	}
	recipient, ok := c.body["recipient"].(M)
	switch {
	case !ok:
		return nil, "", badParameter("The parameter recipient is required.")
	case c.input == "" && text(recipient, "user_ref") == "" && text(recipient, "comment_id") == "":
		return nil, "", badParameter("Param recipient must be non-empty.")
	}
	// A page writes to people on Instagram for the account that is linked to it.
	_, direct := find(s.world.People, func(p Person) bool { return c.input != "" && p.IGSID == c.input })
	if linked, ok := find(s.world.Accounts, func(a Account) bool { return a.Page == c.object }); ok && direct {
		channel, account = messaging.Instagram, linked.ID
	}
	scope, code, page := "pages_messaging", 200, c.object
	if a, ok := s.world.account(account); ok {
		scope, code, page = "instagram_manage_messages", 10, a.Page
	}
	if failed := cmp.Or(s.demand(c, code, scope), s.demandTask(c, page, "MESSAGING")); failed != nil {
		return nil, "", failed
	}
	c.person = s.world.person(channel, c.input)
	if action := text(c.body, "sender_action"); action != "" {
		if !slices.Contains([]string{"typing_on", "typing_off", "mark_seen", "react", "unreact"}, action) {
			return nil, "", badParameter("Param sender_action must be one of {TYPING_ON, TYPING_OFF, MARK_SEEN, REACT, UNREACT} - got %q.", action)
		}
		return M{"recipient_id": c.input}, "", nil
	}
	message, ok := c.body["message"].(M)
	if !ok {
		return nil, "", badParameter("The parameter message is required.")
	}
	kind, failed := checkPage(message)
	if failed != nil {
		return nil, "", failed
	}
	id := s.newID(channel)
	s.record.add(Sent{ID: id, At: s.now(), Channel: channel, Account: account, To: c.input, Person: c.input, Type: kind, Answered: true, Body: c.raw})
	s.tellPage(c, channel, account, id, message)
	return M{"recipient_id": c.input, "message_id": id}, id, nil
}

// checkPage says what kind of message it is, or what is wrong with it.
func checkPage(message M) (kind string, failed *GraphError) {
	if body := text(message, "text"); body != "" {
		if len(body) > maxPageText {
			return "", badParameter("Length of param message[text] must be less than or equal to %d", maxPageText)
		}
		return "text", nil
	}
	attachment, ok := message["attachment"].(M)
	if list, _ := message["attachments"].([]any); !ok && len(list) > 0 {
		attachment, ok = list[0].(M)
	}
	if !ok {
		return "", badParameter("Message cannot be empty, must provide valid attachment or text")
	}
	kind = text(attachment, "type")
	payload, ok := attachment["payload"].(M)
	if kind == "" || !ok || len(payload) == 0 {
		return "", badParameter("Param message[attachment] must have a type and a payload")
	}
	return kind, nil
}
