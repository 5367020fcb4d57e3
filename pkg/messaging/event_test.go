package messaging_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/messaging"
)

var (
	at    = time.Date(2026, 11, 24, 10, 0, 0, 123456000, time.FixedZone("BRT", -3*60*60))
	agent = &messaging.Agent{ID: v7(), Name: "Rafaela"}
)

func v7() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func contact() messaging.Contact {
	return messaging.Contact{
		ID: v7(), Name: "Juliana", Phone: new("+5511912345678"), Source: messaging.WhatsApp, CreatedAt: at, UpdatedAt: at,
		Identities: []messaging.Identity{{Kind: "user_id", Value: "BR.1"}, {Kind: "phone", Value: "+5511912345678"}},
	}
}

func conversation() messaging.Conversation {
	return messaging.Conversation{
		ID: v7(), Channel: messaging.WhatsApp, ConnectionID: v7(), Status: messaging.Open, CreatedAt: at,
		LastMessageAt: &at, LastInboundAt: &at,
	}
}

func received(typ messaging.Type, content messaging.Content) messaging.Message {
	return messaging.Message{
		ID: v7(), ExternalID: "wamid.A", Channel: messaging.WhatsApp, Direction: messaging.Inbound, Type: typ,
		Content: content, Status: messaging.Received, SentAt: at, Raw: json.RawMessage(`{"id": "wamid.A"}`),
	}
}

// body makes an event what is sent, and requires that it is as the catalog says.
func body(t *testing.T, e messaging.Event) []byte {
	t.Helper()
	data, err := json.Marshal(e.Data)
	if err != nil {
		t.Fatal(err)
	}
	text, err := event.Body(e.Type, at, data)
	if err != nil {
		t.Fatalf("%s: %v", e.Type, err)
	}
	for _, fault := range event.Validate(e.Type, text) {
		t.Errorf("%s: %v in %s", e.Type, fault, text)
	}
	return text
}

// decoded is the data of an event's body.
func decoded(t *testing.T, e messaging.Event) map[string]any {
	t.Helper()
	var read struct {
		Data map[string]any `json:"data"`
	}
	if err := json.Unmarshal(body(t, e), &read); err != nil {
		t.Fatal(err)
	}
	return read.Data
}

var (
	place  = &messaging.Location{Latitude: -23.5, Longitude: -46.6, Name: "Clínica", Address: "Rua A, 1", URL: "https://a.example"}
	file   = &messaging.Media{ID: "1", URL: "https://cdn.example/a?b=c%3D", MIMEType: "image/jpeg", SHA256: "aGFzaA==", FileName: "a.jpg", Voice: true, Animated: true}
	reel   = &messaging.Share{Kind: "reel", ID: "1", Title: "Antes e depois", URL: "https://a.example"}
	choice = &messaging.Choice{Kind: "nfm_reply", ID: "1", Title: "Sim", Description: "d", Payload: "p", Response: json.RawMessage(`{"dia": "sábado"}`)}
	good   = &messaging.Product{CatalogID: "1", ID: "2"}
)

// contents has what a message of each type holds, all fields of it.
var contents = map[messaging.Type]messaging.Content{
	messaging.Text: {
		Reply:    &messaging.Reply{ExternalID: "wamid.B", Story: &messaging.Story{ID: "1", URL: "https://a.example"}, Product: good},
		Referral: &messaging.Referral{Source: "ad", Type: "OPEN_THREAD", Ref: "r", AdID: "1", URL: "https://a.example", Title: "t", Body: "b", MediaURL: "https://a.example", ClickID: "c", Product: good},
		GroupID:  "g", Forwarded: true,
	},
	messaging.Image: {Media: file}, messaging.Audio: {Media: &messaging.Media{ID: "1"}}, messaging.Video: {Media: file},
	messaging.Document: {Media: file, Attachments: []messaging.Attachment{{Type: messaging.Image, Title: "t", Media: file, Location: place, Share: reel, Story: &messaging.Story{ID: "1"}}, {Type: messaging.Document}}},
	messaging.Sticker:  {Media: file}, messaging.LocationPin: {Location: place},
	messaging.Cards:       {Contacts: []messaging.Card{{Name: "Bia", Phones: []string{"+55"}, Emails: []string{"b@a.example"}, VCard: "BEGIN", Raw: json.RawMessage(`{"org":{}}`)}}},
	messaging.Interactive: {Interactive: choice}, messaging.Button: {Interactive: choice}, messaging.Postback: {Interactive: choice},
	messaging.OrderPlaced: {Order: &messaging.Order{CatalogID: "1", Items: []messaging.OrderItem{{ProductID: "1", Quantity: 2, Price: 19.9, Currency: "BRL"}}}},
	messaging.Template:    {}, messaging.Reacted: {Reaction: &messaging.Reaction{ExternalID: "wamid.B", Emoji: "❤", Name: "love", Removed: true}},
	messaging.Shared: {Share: reel}, messaging.StoryMention: {Story: &messaging.Story{ID: "1", URL: "https://a.example"}}, messaging.Ephemeral: {},
	messaging.Unsupported: {Errors: []messaging.Fault{{Code: 131051, Title: "Unsupported", Details: "d"}}},
}

func TestMessageReceived(t *testing.T) {
	t.Parallel()
	for typ, content := range contents {
		t.Run(string(typ)+" is as the catalog says", func(t *testing.T) {
			t.Parallel()
			m, in, from := received(typ, content), conversation(), contact()
			m.Standby, m.Text = true, new("Oi")
			e := messaging.MessageReceived(m, in, from)
			data := decoded(t, e)
			if e.Order != from.ID.String() {
				t.Errorf("its order is %q", e.Order)
			}
			if data["conversationId"] != in.ID.String() || data["connectionId"] != in.ConnectionID.String() {
				t.Errorf("ids beside: %v, %v", data["conversationId"], data["connectionId"])
			}
			shown := data["message"].(map[string]any)
			if shown["id"] != m.ID.String() || shown["externalId"] != "wamid.A" || shown["type"] != string(typ) || shown["sentAt"] != "2026-11-24T13:00:00.123456Z" {
				t.Errorf("the message is %v", shown)
			}
			if _, ok := shown["raw"].(map[string]any); !ok {
				t.Errorf("raw is %v", shown["raw"])
			}
		})
	}
	t.Run("a number that JavaScript would round is a string", func(t *testing.T) {
		t.Parallel()
		m := received(messaging.Unsupported, messaging.Content{})
		m.Raw = json.RawMessage(`{"id":17841400000000011,"n":1,"d":1.5,"e":1e999,"a":[{"x":-9007199254740993}]}`)
		text, _ := json.Marshal(decoded(t, messaging.MessageReceived(m, conversation(), contact()))["message"].(map[string]any)["raw"])
		if want := `{"a":[{"x":"-9007199254740993"}],"d":1.5,"e":"1e999","id":"17841400000000011","n":1}`; string(text) != want {
			t.Errorf("raw is %s", text)
		}
	})
	t.Run("no raw spoils an event", func(t *testing.T) {
		t.Parallel()
		for _, raw := range []string{`[1]`, `"x"`, `{`, ``, `{"a":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `}`} {
			m := received(messaging.Text, messaging.Content{})
			m.Raw = json.RawMessage(raw)
			body(t, messaging.MessageReceived(m, conversation(), contact()))
		}
	})
	t.Run("an address that is none is left out", func(t *testing.T) {
		t.Parallel()
		bad := &messaging.Media{ID: "1", URL: "::no"}
		m := received(messaging.Image, messaging.Content{Media: bad, Attachments: []messaging.Attachment{{Type: messaging.Image, Media: bad}}})
		body(t, messaging.MessageReceived(m, conversation(), contact()))
		if bad.URL == "" {
			t.Error("the caller's message was changed")
		}
	})
	t.Run("what is too long loses raw, then all but its text, and says so", func(t *testing.T) {
		t.Parallel()
		long := strings.Repeat("\x01ç", 200_000)
		m := received(messaging.Text, messaging.Content{GroupID: "g"})
		m.Raw, _ = json.Marshal(map[string]string{"body": long})
		shown := decoded(t, messaging.MessageReceived(m, conversation(), contact()))["message"].(map[string]any)
		if _, has := shown["raw"]; has || shown["truncated"] != true || shown["groupId"] != "g" {
			t.Errorf("the message is %.200v", shown)
		}
		half := strings.Repeat("a", 120_000)
		m.Raw, m.Text = json.RawMessage(`{"body":"`+half+`"}`), &half
		shown = decoded(t, messaging.MessageReceived(m, conversation(), contact()))["message"].(map[string]any)
		if _, has := shown["raw"]; has || shown["text"] != half || shown["groupId"] != "g" || shown["truncated"] != true {
			t.Errorf("the message is %.200v", shown)
		}
		m.Text = &long
		shown = decoded(t, messaging.MessageReceived(m, conversation(), contact()))["message"].(map[string]any)
		if text := shown["text"].(string); !strings.HasPrefix(long, text) || len(text) < 30_000 || shown["truncated"] != true {
			t.Errorf("of the text are %d bytes", len(text))
		}
		m.Text = nil
		m.GroupID = long
		shown = decoded(t, messaging.MessageReceived(m, conversation(), contact()))["message"].(map[string]any)
		if _, has := shown["groupId"]; has || shown["truncated"] != true {
			t.Error("the rest is there")
		}
	})
	t.Run("a contact with what no event may have", func(t *testing.T) {
		t.Parallel()
		c := contact()
		c.Name, c.Phone = "", new("+123")
		shown := decoded(t, messaging.MessageReceived(received(messaging.Text, messaging.Content{}), conversation(), c))["contact"].(map[string]any)
		if shown["name"] != "WhatsApp" || shown["phone"] != nil {
			t.Errorf("the contact is %v", shown)
		}
	})
}

func TestMessageSent(t *testing.T) {
	t.Parallel()
	m := received(messaging.Text, messaging.Content{})
	m.Direction, m.Status, m.Error = messaging.Outbound, messaging.Failed, json.RawMessage(`[{"code":131047}]`)
	to := contact()
	for _, by := range []messaging.Actor{messaging.System, messaging.By(to), {Type: "user", ID: &agent.ID, Name: agent.Name}} {
		data := decoded(t, messaging.MessageSent(m, conversation(), to, by))
		if data["sentBy"].(map[string]any)["type"] != by.Type {
			t.Errorf("sent by %v", data["sentBy"])
		}
	}
}

func TestContactCreated(t *testing.T) {
	t.Parallel()
	c := contact()
	e := messaging.ContactCreated(c)
	shown := decoded(t, e)["contact"].(map[string]any)
	if e.Order != c.ID.String() || shown["id"] != c.ID.String() || shown["createdAt"] != "2026-11-24T13:00:00.123456Z" {
		t.Errorf("the contact is %v", shown)
	}
	for _, source := range []messaging.Channel{messaging.WhatsApp, messaging.Facebook, messaging.Instagram} {
		c.Source = source
		body(t, messaging.ContactCreated(c))
	}
}

func TestContactUpdated(t *testing.T) {
	t.Parallel()
	t.Run("previous has what the changed fields held, and only those", func(t *testing.T) {
		t.Parallel()
		before := contact()
		before.Tags, before.CustomFields = []string{"lead"}, json.RawMessage(`{"a":1}`)
		for name, change := range map[string]func(*messaging.Contact){
			"name":         func(c *messaging.Contact) { c.Name = "Ju" },
			"phone":        func(c *messaging.Contact) { c.Phone = nil },
			"email":        func(c *messaging.Contact) { c.Email = new("a@b.example") },
			"tags":         func(c *messaging.Contact) { c.Tags = []string{"lead", "x"} },
			"instagram":    func(c *messaging.Contact) { c.Instagram = new("ju") },
			"owner":        func(c *messaging.Contact) { c.Owner = agent },
			"customFields": func(c *messaging.Contact) { c.CustomFields = nil },
			"identities": func(c *messaging.Contact) {
				c.Identities = []messaging.Identity{{Kind: "psid", Value: "1", Account: "2"}}
			},
		} {
			after := before
			change(&after)
			e, changed := messaging.ContactUpdated(before, after, messaging.System)
			if !changed || e.Order != before.ID.String() {
				t.Fatalf("%s: changed %t, order %q", name, changed, e.Order)
			}
			data := decoded(t, e)
			previous := data["previous"].(map[string]any)
			if _, has := previous[name]; !has || len(previous) != 1 {
				t.Errorf("%s: previous is %v", name, previous)
			}
		}
	})
	t.Run("nothing is told where nothing changed", func(t *testing.T) {
		t.Parallel()
		before := contact()
		after := before
		after.UpdatedAt = at.Add(time.Hour)
		after.Tags, after.CustomFields = []string{}, json.RawMessage(`{ }`)
		after.Identities = []messaging.Identity{before.Identities[1], before.Identities[0]}
		if e, changed := messaging.ContactUpdated(before, after, messaging.System); changed {
			t.Errorf("tells %+v", e)
		}
		after.Identities = nil
		if e, changed := messaging.ContactUpdated(before, after, messaging.System); changed {
			t.Errorf("without identities, tells %+v", e)
		}
	})
}

func TestConversationCreated(t *testing.T) {
	t.Parallel()
	in, with := conversation(), contact()
	e := messaging.ConversationCreated(in, with, messaging.By(with))
	data := decoded(t, e)
	if e.Order != with.ID.String() || data["conversation"].(map[string]any)["lastMessageAt"] != "2026-11-24T13:00:00.123456Z" {
		t.Errorf("order %q, data %v", e.Order, data)
	}
}

func TestConversationUpdated(t *testing.T) {
	t.Parallel()
	with, before := contact(), conversation()
	later := at.Add(time.Minute)
	for name, change := range map[string]func(*messaging.Conversation){
		"status":        func(c *messaging.Conversation) { c.Status = messaging.Pending },
		"assignee":      func(c *messaging.Conversation) { c.Assignee = agent },
		"lastMessageAt": func(c *messaging.Conversation) { c.LastMessageAt = &later },
	} {
		after := before
		change(&after)
		e, changed := messaging.ConversationUpdated(before, after, with, messaging.By(with))
		if !changed || e.Order != with.ID.String() {
			t.Fatalf("%s: changed %t, order %q", name, changed, e.Order)
		}
		data := decoded(t, e)
		previous := data["previous"].(map[string]any)
		if _, has := previous[name]; !has || len(previous) != 1 || data["message"] != nil {
			t.Errorf("%s: %v", name, data)
		}
	}
	if e, changed := messaging.ConversationUpdated(before, before, with, messaging.System); changed {
		t.Errorf("tells %+v of nothing", e)
	}
	before.LastMessageAt = nil
	after := before
	after.LastMessageAt = &at
	first, _ := messaging.ConversationUpdated(before, after, with, messaging.System)
	body(t, first)
}

func TestMessageChanged(t *testing.T) {
	t.Parallel()
	before, in, with := received(messaging.Text, messaging.Content{}), conversation(), contact()
	for name, change := range map[string]func(*messaging.Message){
		"editedAt":  func(m *messaging.Message) { m.EditedAt = &at },
		"deletedAt": func(m *messaging.Message) { m.DeletedAt = &at },
	} {
		after := before
		change(&after)
		e, changed := messaging.MessageChanged(before, after, in, with, messaging.By(with))
		if !changed || e.Type != event.ConversationUpdated || e.Order != with.ID.String() {
			t.Fatalf("%s: changed %t, %s, order %q", name, changed, e.Type, e.Order)
		}
		data := decoded(t, e)
		was := data["previous"].(map[string]any)["message"].(map[string]any)
		if old, has := was[name]; !has || old != nil || len(was) != 1 || data["message"].(map[string]any)[name] == nil {
			t.Errorf("%s: %v", name, data)
		}
	}
	if e, changed := messaging.MessageChanged(before, before, in, with, messaging.System); changed {
		t.Errorf("tells %+v of nothing", e)
	}
}

func TestConversationClosed(t *testing.T) {
	t.Parallel()
	c, with := conversation(), contact()
	c.Status, c.ClosedAt = messaging.Closed, new(at.Add(90*time.Second))
	data := decoded(t, messaging.ConversationClosed(c, with, messaging.System, messaging.Resolved, 3))
	if data["durationSeconds"] != 90.0 || data["messageCount"] != 3.0 || data["closedAt"] != "2026-11-24T13:01:30.123456Z" {
		t.Errorf("data is %v", data)
	}
	c.ClosedAt = new(at.Add(-time.Second)) // clocks step back
	body(t, messaging.ConversationClosed(c, with, messaging.System, messaging.Resolved, 0))
}

func TestDisplayName(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, profile, username, phone, id string
		channel                            messaging.Channel
		want                               string
	}{
		{name: "the profile's", profile: " Ju\x00\n ", username: "ju", phone: "+55", want: "Ju"},
		{name: "the user name", profile: " \t", username: "ju", phone: "+55", want: "ju"},
		{name: "the phone number", phone: "+55", want: "+55"},
		{name: "the end of an id", id: "1234567890", channel: messaging.Facebook, want: "Messenger 7890"},
		{name: "a short id", id: "12", channel: messaging.Instagram, want: "Instagram 12"},
		{name: "the channel alone", channel: messaging.WhatsApp, want: "WhatsApp"},
		{name: "as much of a long one as fits", profile: strings.Repeat("ç", 300), want: strings.Repeat("ç", 200)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := messaging.DisplayName(tc.profile, tc.username, tc.phone, tc.channel, tc.id); got != tc.want {
				t.Errorf("is %q, want %q", got, tc.want)
			}
		})
	}
}
