// Package messaging says what people, conversations and messages are, one model
// for WhatsApp, Messenger and Instagram: as they are stored, as the API shows
// them, and as the data of events has them.
package messaging

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// Channel is what a message goes through.
type Channel string

// The channels. Facebook is Messenger.
const (
	WhatsApp  Channel = "whatsapp"
	Facebook  Channel = "facebook"
	Instagram Channel = "instagram"
)

// Direction is from whom to whom.
type Direction string

// Inbound is from a contact.
const (
	Inbound  Direction = "inbound"
	Outbound Direction = "outbound"
)

// Type is what kind of message it is.
type Type string

// The types of messages.
const (
	Text         Type = "text"
	Image        Type = "image"
	Audio        Type = "audio"
	Video        Type = "video"
	Document     Type = "document"
	Sticker      Type = "sticker"
	LocationPin  Type = "location"
	Cards        Type = "contacts"
	Interactive  Type = "interactive" // a reply to buttons, a list or a form that were sent
	Button       Type = "button"      // the quick reply of a template
	OrderPlaced  Type = "order"
	Template     Type = "template"
	Reacted      Type = "reaction"
	Postback     Type = "postback" // a press on a persistent button, of the menu or "get started"
	Shared       Type = "share"    // a post, reel or product
	StoryMention Type = "story_mention"
	Ephemeral    Type = "ephemeral" // to be seen once: nothing of it can be kept
	Unsupported  Type = "unsupported"
)

// Status is how far a message has come.
type Status string

// Received is every inbound message's. An outbound one goes from Accepted towards
// Played; states may be skipped and told out of order.
const (
	Received  Status = "received"
	Accepted  Status = "accepted"
	Sent      Status = "sent"
	Delivered Status = "delivered"
	Read      Status = "read"
	Played    Status = "played" // a voice message was listened to
	Failed    Status = "failed"
)

// Message is one message as data.message of the events and as the API shows it.
type Message struct {
	ID         uuid.UUID       `json:"id"`
	ExternalID string          `json:"externalId,omitempty"` // Meta's
	Channel    Channel         `json:"channel"`
	Direction  Direction       `json:"direction"`
	Type       Type            `json:"type"`
	Text       *string         `json:"text"` // or caption
	Content                    // what else it holds
	Status     Status          `json:"status"`
	Error      json.RawMessage `json:"error,omitempty"` // why it failed, as Meta told
	Standby    bool            `json:"standby,omitempty"`
	SentAt     time.Time       `json:"sentAt"`
	EditedAt   *time.Time      `json:"editedAt,omitempty"`
	DeletedAt  *time.Time      `json:"deletedAt,omitempty"`
	Raw        json.RawMessage `json:"raw,omitempty"` // as Meta sent it
}

// Content is what a message holds beside its text, as it is stored.
type Content struct {
	Media       *Media       `json:"media"`
	Attachments []Attachment `json:"attachments,omitempty"` // where there are several, all of them, the first too
	Location    *Location    `json:"location,omitempty"`
	Contacts    []Card       `json:"contacts,omitempty"`
	Interactive *Choice      `json:"interactive,omitempty"`
	Order       *Order       `json:"order,omitempty"`
	Reaction    *Reaction    `json:"reaction,omitempty"`
	Share       *Share       `json:"share,omitempty"`
	Story       *Story       `json:"story,omitempty"` // that mentions the account
	Reply       *Reply       `json:"reply,omitempty"`
	Referral    *Referral    `json:"referral,omitempty"`
	Forwarded   bool         `json:"forwarded,omitempty"`
	GroupID     string       `json:"groupId,omitempty"`
	Errors      []Fault      `json:"errors,omitempty"`    // why Meta could not say what it is
	Truncated   bool         `json:"truncated,omitempty"` // text or content was too long: raw has it, where it is stored
}

// Media is a file. WhatsApp gives an id, by which Meta tells a URL for some
// minutes; the others give a URL that expires.
type Media struct {
	ID       string `json:"id,omitempty"`
	URL      string `json:"url,omitempty"`
	MIMEType string `json:"mimeType,omitempty"`
	SHA256   string `json:"sha256,omitempty"`
	FileName string `json:"fileName,omitempty"`
	Voice    bool   `json:"voice,omitempty"`
	Animated bool   `json:"animated,omitempty"`
}

// Attachment is one of several of a message.
type Attachment struct {
	Type     Type      `json:"type"`
	Title    string    `json:"title,omitempty"`
	Media    *Media    `json:"media,omitempty"`
	Location *Location `json:"location,omitempty"`
	Share    *Share    `json:"share,omitempty"`
	Story    *Story    `json:"story,omitempty"`
}

// Location is a place.
type Location struct {
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
	Name      string  `json:"name,omitempty"`
	Address   string  `json:"address,omitempty"`
	URL       string  `json:"url,omitempty"`
}

// Card is a contact card. Raw is the whole of it, where it says more than this.
type Card struct {
	Name   string          `json:"name,omitempty"`
	Phones []string        `json:"phones,omitempty"`
	Emails []string        `json:"emails,omitempty"`
	VCard  string          `json:"vcard,omitempty"`
	Raw    json.RawMessage `json:"raw,omitempty"`
}

// Choice is what a person chose or filled in.
type Choice struct {
	Kind        string          `json:"kind"` // button_reply, list_reply, nfm_reply, quick_reply, template_button, postback, or as Meta calls it
	ID          string          `json:"id,omitempty"`
	Title       string          `json:"title,omitempty"`
	Description string          `json:"description,omitempty"`
	Payload     string          `json:"payload,omitempty"`
	Response    json.RawMessage `json:"response,omitempty"` // of a form: the JSON that it holds as text; of a kind that is not known, all of it
}

// Order is what a person ordered from a catalogue.
type Order struct {
	CatalogID string      `json:"catalogId,omitempty"`
	Items     []OrderItem `json:"items"`
}

// OrderItem is a product and how many.
type OrderItem struct {
	ProductID string  `json:"productId"`
	Quantity  float64 `json:"quantity"`
	Price     float64 `json:"price"`
	Currency  string  `json:"currency,omitempty"`
}

// Reaction is an emoji on another message; without one it was taken back.
type Reaction struct {
	ExternalID string `json:"externalId"` // of the message that it is on
	Emoji      string `json:"emoji,omitempty"`
	Name       string `json:"name,omitempty"` // love, angry
	Removed    bool   `json:"removed,omitempty"`
}

// Share is a post, reel or product that was shared.
type Share struct {
	Kind  string `json:"kind"` // post, reel, share, product, fallback
	ID    string `json:"id,omitempty"`
	Title string `json:"title,omitempty"`
	URL   string `json:"url,omitempty"`
}

// Story is a story on Instagram.
type Story struct {
	ID  string `json:"id,omitempty"`
	URL string `json:"url,omitempty"`
}

// Reply is what a message answers: a message, a story, or a product.
type Reply struct {
	ExternalID string   `json:"externalId,omitempty"`
	Story      *Story   `json:"story,omitempty"`
	Product    *Product `json:"product,omitempty"`
}

// Product is one of a catalogue.
type Product struct {
	CatalogID string `json:"catalogId,omitempty"`
	ID        string `json:"id"`
}

// Referral is what led a person here: an advertisement, a link, a product.
type Referral struct {
	Source   string   `json:"source,omitempty"`
	Type     string   `json:"type,omitempty"`
	Ref      string   `json:"ref,omitempty"`
	AdID     string   `json:"adId,omitempty"`
	URL      string   `json:"url,omitempty"`
	Title    string   `json:"title,omitempty"`
	Body     string   `json:"body,omitempty"`
	MediaURL string   `json:"mediaUrl,omitempty"` // of the advertisement's picture or film
	ClickID  string   `json:"clickId,omitempty"`  // ctwa_clid
	Product  *Product `json:"product,omitempty"`
}

// Fault is an error that Meta told of.
type Fault struct {
	Code    int64  `json:"code"`
	Title   string `json:"title,omitempty"`
	Details string `json:"details,omitempty"`
}
