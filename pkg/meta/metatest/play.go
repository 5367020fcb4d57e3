package metatest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
)

// Event is something that a person does, or that Meta tells of them. What it does not
// say is made up.
type Event struct {
	Channel messaging.Channel `json:"channel"`
	Kind    string            `json:"kind"` // one of Kinds; empty: text
	To      string            `json:"to"`   // the account: phone number id, page, Instagram account; empty: the first one
	From    From              `json:"from"` // empty: the first person that there is
	Name    string            `json:"name"` // as their profile says it now

	Text   string    `json:"text"`   // text, caption, title
	ID     string    `json:"id"`     // of the message; empty: a new one
	At     time.Time `json:"at"`     // zero: now
	Target string    `json:"target"` // the message it is about: edited, reacted to, read, …
	Value  string    `json:"value"`  // emoji, payload, id of a choice, new phone number or user id, JSON of a form
	File   *File     `json:"file"`
	Place  *Place    `json:"place"`
	Code   int       `json:"code"` // of an error
	Opaque string    `json:"opaque"`

	Count      int      `json:"count"`      // how many messages in one webhook, up to 1 000; 0: one
	Form       string   `json:"form"`       // Messenger, Instagram: messaging (as if empty), standby, changes
	Without    []string `json:"without"`    // WhatsApp: phone, userId, name, username: what Meta does not tell
	NumericIDs bool     `json:"numericIds"` // ids as numbers
	UTF8       bool     `json:"utf8"`       // not escaped
}

// From is a person: in JSON the object, or one name of theirs alone.
type From struct{ Person }

// UnmarshalJSON reads a person, or a name.
func (f *From) UnmarshalJSON(text []byte) error {
	var name string
	if json.Unmarshal(text, &name) == nil {
		*f = From{Person{Phone: name}} // whatever it is; see person
		return nil
	}
	if err := json.Unmarshal(text, &f.Person); err != nil {
		return fmt.Errorf("from: a name or a person: %w", err)
	}
	return nil
}

// maxCount bounds the messages of one webhook, as Meta does.
const maxCount = 1000

var errKind = errors.New("the channel has no such kind")

// Kinds are what can be played on a channel.
func Kinds(channel messaging.Channel) []string {
	var kinds []string
	switch channel {
	case messaging.WhatsApp:
		for kind := range whatsAppKinds {
			kinds = append(kinds, kind)
		}
		kinds = append(kinds, "errors", "echo", "sent", "delivered", "read", "played", "failed")
	case messaging.Facebook:
		for kind := range pageKinds {
			if !slices.Contains(instagramAlone, kind) {
				kinds = append(kinds, kind)
			}
		}
	case messaging.Instagram:
		for kind := range pageKinds {
			if !slices.Contains(messengerAlone, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	slices.Sort(kinds)
	return kinds
}

// Payload is the webhook of an event, not sent, and the ids of its messages.
func (s *Server) Payload(e Event) (body []byte, ids []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, ids, _, err = s.payload(e)
	return body, ids, err
}

// Played is what became of an event.
type Played struct {
	IDs     []string `json:"ids"` // of its messages
	Webhook Webhook  `json:"webhook"`
}

// Play sends the webhook of an event. That the callback answers otherwise than by 200
// is no error.
func (s *Server) Play(ctx context.Context, e Event) (Played, error) {
	s.mu.Lock()
	body, ids, person, err := s.payload(e)
	s.mu.Unlock()
	if err != nil {
		return Played{}, err
	}
	return Played{IDs: ids, Webhook: s.hooks.once(ctx, person, body)}, nil
}

// PlayLater queues the webhook of an event, as it queues those of statuses.
func (s *Server) PlayLater(e Event) (ids []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, ids, person, err := s.payload(e)
	if err == nil {
		s.hooks.enqueue(hook{due: time.Now(), person: person, body: body})
	}
	return ids, err
}

// payload makes the webhook of an event. The caller holds mu.
func (s *Server) payload(e Event) (body []byte, ids []string, person string, err error) {
	e.Kind = cmp.Or(e.Kind, "text")
	e.Count = cmp.Or(e.Count, 1)
	if e.At.IsZero() {
		e.At = s.now()
	}
	if e.Channel == "messenger" {
		e.Channel = messaging.Facebook
	}
	switch {
	case !slices.Contains([]messaging.Channel{messaging.WhatsApp, messaging.Facebook, messaging.Instagram}, e.Channel):
		return nil, nil, "", errors.New("channel must be whatsapp, facebook or instagram")
	case !slices.Contains(Kinds(e.Channel), e.Kind):
		return nil, nil, "", fmt.Errorf("%w: %s is none of %s", errKind, e.Kind, strings.Join(Kinds(e.Channel), ", "))
	case e.Count < 0 || e.Count > maxCount:
		return nil, nil, "", fmt.Errorf("count must be 1 to %d", maxCount)
	case e.ID != "" && e.Count > 1:
		return nil, nil, "", errors.New("several messages cannot have one id")
	}
	for range e.Count {
		ids = append(ids, cmp.Or(e.ID, s.newID(e.Channel)))
	}
	if err := s.whom(&e); err != nil {
		return nil, nil, "", err
	}
	var payload M
	if e.Channel == messaging.WhatsApp {
		payload, err = s.playWhatsApp(e, ids)
	} else {
		payload, err = s.playPage(e, ids)
	}
	if err != nil {
		return nil, nil, "", err
	}
	body = Encode(payload, Encoding{UTF8: e.UTF8, NumericIDs: e.NumericIDs})
	return body, ids, e.To + " " + cmp.Or(e.From.waID(), e.From.UserID, e.From.scopedID(e.Channel)), nil
}

// whom completes the account and the person of an event.
func (s *Server) whom(e *Event) error {
	if e.To == "" {
		switch {
		case e.Channel == messaging.WhatsApp && len(s.world.Numbers) > 0:
			e.To = s.world.Numbers[0].ID
		case e.Channel == messaging.Facebook && len(s.world.Pages) > 0:
			e.To = s.world.Pages[0].ID
		case e.Channel == messaging.Instagram && len(s.world.Accounts) > 0:
			e.To = s.world.Accounts[0].ID
		default:
			return fmt.Errorf("to: there is no account on %s", e.Channel)
		}
	}
	from := e.From.Person
	switch from {
	case Person{}:
		at := slices.IndexFunc(s.world.People, func(p Person) bool {
			return e.Channel == messaging.WhatsApp && cmp.Or(p.Phone, p.UserID) != "" || e.Channel != messaging.WhatsApp && p.scopedID(e.Channel) != ""
		})
		if at < 0 {
			return errors.New("from: there is nobody")
		}
		from = s.world.People[at]
	case Person{Phone: from.Phone}: // a name alone
		from = s.world.person(e.Channel, from.Phone)
	}
	from.Name = cmp.Or(e.Name, from.Name, "Alguém")
	for _, what := range e.Without {
		switch what {
		case "phone":
			from.Phone, from.WaID = "", ""
		case "userId":
			from.UserID, from.ParentUserID = "", ""
		case "name":
			from.Name = ""
		case "username":
			from.Username = ""
		default:
			return fmt.Errorf("without: %q is none of phone, userId, name, username", what)
		}
	}
	e.From = From{from}
	return nil
}

// playWhatsApp is the webhook of an event on WhatsApp.
func (s *Server) playWhatsApp(e Event, ids []string) (M, error) {
	n, ok := s.world.number(e.To)
	if !ok {
		return nil, fmt.Errorf("to: there is no phone number %s", e.To)
	}
	switch e.Kind {
	case "errors":
		failure := ErrorOf(cmp.Or(e.Code, 131000))
		return WhatsAppHook(n, WhatsAppErrors(n, M{
			"code": failure.Code, "title": failure.Message, "message": failure.Message, "error_data": M{"details": failure.Details},
		})), nil
	case "echo":
		var messages []M
		for _, id := range ids {
			messages = append(messages, WhatsAppEcho(n, e.From.Person, id, e.At, WhatsAppText(e.said())))
		}
		return WhatsAppEchoHook(n, messages...), nil
	case "sent", "delivered", "read", "played", "failed":
		if e.Target == "" {
			return nil, errors.New("target must be the id of a message that was sent")
		}
		st := Status{ID: e.Target, Status: e.Kind, At: e.At, Opaque: e.Opaque}
		switch e.Kind {
		case "sent", "delivered":
			st.Category = "service"
		case "failed":
			st.Error = ErrorOf(cmp.Or(e.Code, 131026))
		}
		return WhatsAppHook(n, WhatsAppStatuses(n, slices.Repeat([]M{StatusOf(e.From.Person, st)}, e.Count)...)), nil
	}
	s.opens(n, e.From.Person)
	messages := make([]M, 0, len(ids))
	for _, id := range ids {
		content, err := whatsAppKinds[e.Kind](e)
		if err != nil {
			return nil, err
		}
		if e.Target != "" && content["type"] != "reaction" && content["type"] != "edit" && content["type"] != "revoke" {
			content = WhatsAppReply(n, content, e.Target)
		}
		messages = append(messages, WhatsAppMessage(e.From.Person, id, e.At, content))
	}
	return WhatsAppHook(n, WhatsAppMessages(n, e.From.Person, messages...)), nil
}

var errTarget = errors.New("target must be the id of a message")

// whatsAppKinds make the content of each kind of message.
var whatsAppKinds = map[string]func(Event) (M, error){
	"text":  func(e Event) (M, error) { return WhatsAppText(e.said()), nil },
	"image": func(e Event) (M, error) { return WhatsAppFile("image", e.file("image/jpeg", "")), nil },
	"audio": func(e Event) (M, error) { return WhatsAppFile("audio", e.file("audio/ogg; codecs=opus", "")), nil },
	"video": func(e Event) (M, error) { return WhatsAppFile("video", e.file("video/mp4", "")), nil },
	"document": func(e Event) (M, error) {
		return WhatsAppFile("document", e.file("application/pdf", "pedido.pdf")), nil
	},
	"sticker":  func(e Event) (M, error) { return WhatsAppFile("sticker", e.file("image/webp", "")), nil },
	"location": func(e Event) (M, error) { return WhatsAppLocation(e.place()), nil },
	"contacts": func(e Event) (M, error) {
		return WhatsAppCard(cmp.Or(e.Text, "Davi Lima"), cmp.Or(e.Value, "+5511900000009")), nil
	},
	"button_reply": func(e Event) (M, error) {
		return WhatsAppButtonReply(cmp.Or(e.Value, "yes"), cmp.Or(e.Text, "Sim")), nil
	},
	"list_reply": func(e Event) (M, error) {
		return WhatsAppListReply(cmp.Or(e.Value, "row-1"), cmp.Or(e.Text, "Entrega"), "Receber em casa"), nil
	},
	"nfm_reply": func(e Event) (M, error) {
		response := cmp.Or(e.Value, `{"flow_token":"simulated","quantity":"2"}`)
		if !json.Valid([]byte(response)) {
			return nil, errors.New("value must be JSON in text")
		}
		return WhatsAppFormReply(response), nil
	},
	"button":   func(e Event) (M, error) { return WhatsAppButton(cmp.Or(e.Value, "YES"), cmp.Or(e.Text, "Sim")), nil },
	"reaction": func(e Event) (M, error) { return about(e, WhatsAppReaction(e.Target, emoji(e.Value))) },
	"unreact":  func(e Event) (M, error) { return about(e, WhatsAppReaction(e.Target, "")) },
	"order": func(e Event) (M, error) {
		return WhatsAppOrder("900000000000001", cmp.Or(e.Value, "SKU-1"), 2, 199.9, e.Text), nil
	},
	"user_changed_number": func(e Event) (M, error) {
		return WhatsAppNumberChanged(e.From.Person, cmp.Or(e.Value, "+5511900000099")), nil
	},
	"user_changed_user_id": func(e Event) (M, error) {
		return WhatsAppUserIDChanged(e.From.Person, cmp.Or(e.Value, "BR.9999")), nil
	},
	"edit":            func(e Event) (M, error) { return about(e, WhatsAppEdit(e.Target, WhatsAppText(e.said()))) },
	"revoke":          func(e Event) (M, error) { return about(e, WhatsAppRevoke(e.Target)) },
	"unsupported":     func(e Event) (M, error) { return WhatsAppUnsupported(e.Value), nil },
	"request_welcome": func(Event) (M, error) { return WhatsAppWelcome(), nil },
	"referral":        func(e Event) (M, error) { return WhatsAppReferral(WhatsAppText(e.said())), nil },
}

// about is content that needs a message to be about.
func about(e Event, content M) (M, error) {
	if e.Target == "" {
		return nil, errTarget
	}
	return content, nil
}

func (e Event) said() string { return cmp.Or(e.Text, "Olá! Ainda há cadeiras? 😀") }

func emoji(value string) string { return cmp.Or(value, "❤") }

func (e Event) file(mimeType, name string) File {
	f := File{ID: "300000000000001"}
	if e.File != nil {
		f = *e.File
	}
	f.MIMEType, f.Name, f.Caption = cmp.Or(f.MIMEType, mimeType), cmp.Or(f.Name, name), cmp.Or(f.Caption, e.Text)
	return f
}

func (e Event) place() Place {
	if e.Place != nil {
		return *e.Place
	}
	return Place{Latitude: -23.5505, Longitude: -46.6333, Name: cmp.Or(e.Text, "Praça da Sé"), Address: "São Paulo"}
}

func (e Event) url(kind string) string {
	if e.File != nil && e.File.URL != "" {
		return e.File.URL
	}
	return "https://example.com/simulated/" + kind
}

// playPage is the webhook of an event on Messenger or Instagram.
func (s *Server) playPage(e Event, ids []string) (M, error) {
	_, page := s.world.page(e.To)
	if _, account := s.world.account(e.To); !page && e.Channel == messaging.Facebook || !account && e.Channel == messaging.Instagram {
		return nil, fmt.Errorf("to: there is no account %s on %s", e.To, e.Channel)
	}
	from := e.From.scopedID(e.Channel)
	if from == "" {
		return nil, fmt.Errorf("from: the person is not on %s", e.Channel)
	}
	items := make([]M, 0, len(ids))
	for _, id := range ids {
		made, err := pageKinds[e.Kind](e, from, id)
		if err != nil {
			return nil, err
		}
		items = append(items, made)
	}
	switch e.Form {
	case "", "messaging":
		return PageHook(e.Channel, e.To, e.At, items...), nil
	case "standby":
		return StandbyHook(e.Channel, e.To, e.At, items...), nil
	case "changes":
		return ChangesHook(e.Channel, e.To, e.At, fieldOf(e.Channel, e.Kind), items...), nil
	}
	return nil, fmt.Errorf("form: %q is none of messaging, standby, changes", e.Form)
}

// fieldOf is the field that a kind belongs to.
func fieldOf(channel messaging.Channel, kind string) string {
	field, ok := map[string]string{
		"postback": "messaging_postbacks", "reaction": "message_reactions", "unreact": "message_reactions", "edit": "message_edits",
		"delivery": "message_deliveries", "read": "message_reads", "seen": "messaging_seen", "optin": "messaging_optins",
		"referral": "messaging_referrals", "echo": "message_echoes",
	}[kind]
	switch {
	case !ok, channel == messaging.Instagram && kind == "echo":
		return "messages"
	case channel == messaging.Instagram && kind == "referral":
		return "messaging_referral"
	}
	return field
}

// Kinds that one of the two channels has and the other has not.
var (
	instagramAlone = []string{"story_reply", "story_mention", "ig_post", "share", "ephemeral", "seen", "product", "unsupported_type", "ig_reel", "ad"}
	messengerAlone = []string{"sticker", "location", "fallback", "template", "optin", "delivery", "read"}
)

// pageKinds make what happened of each kind.
var pageKinds = map[string]func(e Event, from, id string) (M, error){
	"text": func(e Event, from, id string) (M, error) { return e.wrote(from, id, PageText(e.said())) },
	"quick_reply": func(e Event, from, id string) (M, error) {
		return e.wrote(from, id, PageQuickReply(cmp.Or(e.Text, "Sim"), cmp.Or(e.Value, "YES")))
	},
	"image": attached("image"), "audio": attached("audio"), "video": attached("video"), "file": attached("file"),
	"fallback": attached("fallback"), "template": attached("template"), "reel": attached("reel"), "ig_reel": attached("ig_reel"),
	"share": attached("share"), "ig_post": attached("ig_post"), "story_mention": attached("story_mention"), "unsupported_type": attached("unsupported_type"),
	"sticker": func(e Event, from, id string) (M, error) {
		return e.wrote(from, id, MessengerSticker(e.url("sticker")))
	},
	"location":  func(e Event, from, id string) (M, error) { return e.wrote(from, id, PageLocation(e.place())) },
	"ephemeral": func(e Event, from, id string) (M, error) { return e.wrote(from, id, InstagramEphemeral()) },
	"story_reply": func(e Event, from, id string) (M, error) {
		return e.wrote(from, id, InstagramStoryReply(e.said(), cmp.Or(e.Value, "17900000000000001"), e.url("story")))
	},
	"product": func(e Event, from, id string) (M, error) {
		return e.wrote(from, id, InstagramProduct(e.said(), cmp.Or(e.Value, "SKU-1")))
	},
	"ad": func(e Event, from, id string) (M, error) {
		return e.wrote(from, id, InstagramAd(e.said(), cmp.Or(e.Value, "campaign-1")))
	},
	"unsupported": func(e Event, from, id string) (M, error) { return e.wrote(from, id, PageUnsupported()) },
	"postback": func(e Event, from, id string) (M, error) {
		return PagePostback(from, e.To, e.At, id, cmp.Or(e.Text, "Começar"), cmp.Or(e.Value, "GET_STARTED")), nil
	},
	"echo": func(e Event, from, id string) (M, error) {
		return PageEcho(e.To, from, e.At, id, cmp.Or(e.Value, DefaultAppID), PageText(e.said())), nil
	},
	"reaction": func(e Event, from, _ string) (M, error) {
		return about(e, PageReaction(from, e.To, e.At, e.Target, "love", emoji(e.Value)))
	},
	"unreact": func(e Event, from, _ string) (M, error) {
		return about(e, PageReaction(from, e.To, e.At, e.Target, "", ""))
	},
	"edit": func(e Event, from, _ string) (M, error) {
		return about(e, PageEdit(from, e.To, e.At, e.Target, e.said()))
	},
	"unsend": func(e Event, from, _ string) (M, error) { return about(e, PageUnsend(from, e.To, e.At, e.Target)) },
	"referral": func(e Event, from, _ string) (M, error) {
		return PageReferral(from, e.To, e.At, cmp.Or(e.Value, "campaign-1")), nil
	},
	"optin": func(e Event, from, _ string) (M, error) {
		return MessengerOptin(from, e.To, e.At, cmp.Or(e.Value, "newsletter")), nil
	},
	"delivery": func(e Event, from, _ string) (M, error) {
		return about(e, MessengerDelivery(from, e.To, e.At, e.Target))
	},
	"read": func(e Event, from, _ string) (M, error) { return MessengerRead(from, e.To, e.At), nil },
	"seen": func(e Event, from, _ string) (M, error) { return about(e, InstagramSeen(from, e.To, e.At, e.Target)) },
}

// wrote is a message of the person.
func (e Event) wrote(from, id string, content M) (M, error) {
	if e.Target != "" && content["reply_to"] == nil {
		content = PageReply(content, e.Target)
	}
	return PageMessage(from, e.To, e.At, id, content), nil
}

// attached is a kind that is an attachment of that type.
func attached(kind string) func(e Event, from, id string) (M, error) {
	return func(e Event, from, id string) (M, error) {
		payload := M{"url": e.url(kind)}
		if kind == "ig_post" || kind == "reel" || kind == "ig_reel" {
			payload["title"] = cmp.Or(e.Text, "Cadeiras em oferta")
			payload[map[string]string{"ig_post": "ig_post_media_id", "reel": "reel_video_id", "ig_reel": "reel_video_id"}[kind]] = "17900000000000002"
		}
		return e.wrote(from, id, PageAttachment(kind, payload))
	}
}

// answered is the status of HTTP that tells the player how the callback answered.
func (w Webhook) answered() int {
	if w.Status == http.StatusOK {
		return http.StatusOK
	}
	return http.StatusBadGateway
}
