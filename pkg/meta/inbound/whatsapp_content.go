package inbound

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/messaging"
)

// content reads what a message of WhatsApp holds. A kind that is not known, or has
// not what a message of its kind should, is Unsupported, with the reasons that Meta
// gives.
func (c *change) content(m value) (messaging.Type, string, messaging.Content) {
	kind := kindOf(m)
	p := parts{inner: m.get(kind)}
	if read := readers[kind]; read != nil && (p.inner.isObject() || kind == "text" || kind == "contacts") {
		read(&p)
	}
	if p.what == "" {
		p = parts{what: messaging.Unsupported}
	}
	p.Errors = faults(m.get("errors"))
	if p.what == messaging.Unsupported && p.Errors == nil {
		p.Errors = c.faults
	}
	context := m.get("context")
	p.Reply = reply(context)
	p.Forwarded = truth(context.get("forwarded")) || truth(context.get("frequently_forwarded"))
	p.GroupID = personID(m.get("group_id"))
	p.Referral = advertisement(m.get("referral"))
	return p.what, p.text, p.Content
}

// parts are what a message is made of: read from inner.
type parts struct {
	inner value
	what  messaging.Type // none: it could not be read
	text  string
	messaging.Content
}

// readers are by what Meta calls a type.
var readers = map[string]func(*parts){
	"text":        (*parts).readText,
	"image":       func(p *parts) { p.readMedia(messaging.Image) },
	"video":       func(p *parts) { p.readMedia(messaging.Video) },
	"audio":       func(p *parts) { p.readMedia(messaging.Audio) },
	"voice":       func(p *parts) { p.readMedia(messaging.Audio); p.Media.Voice = true },
	"document":    func(p *parts) { p.readMedia(messaging.Document) },
	"sticker":     func(p *parts) { p.readMedia(messaging.Sticker) },
	"location":    (*parts).readLocation,
	"contacts":    (*parts).readCards,
	"interactive": (*parts).readInteractive,
	"button":      (*parts).readButton,
	"order":       (*parts).readOrder,
	"reaction":    (*parts).readReaction,
	"template":    func(p *parts) { p.what = messaging.Template },
}

// kindOf is the type that a message says it is of, or that its content shows.
func kindOf(m value) string {
	if kind := m.get("type").line(); kind != "" {
		return kind
	}
	for key := range m.members() {
		if kind := key.text(); readers[kind] != nil {
			return kind
		}
	}
	return ""
}

func (p *parts) readText() {
	body := first(p.inner.get("body"), p.inner)
	if kind := body.kind(); kind == jsontext.KindString || kind == jsontext.KindNumber {
		p.what, p.text = messaging.Text, body.text()
	}
}

func (p *parts) readMedia(what messaging.Type) {
	p.what, p.text = what, p.inner.get("caption").text()
	p.Media = &messaging.Media{
		ID:       line(p.inner.get("id")),
		URL:      address(first(p.inner.get("url"), p.inner.get("link"))),
		MIMEType: line(p.inner.get("mime_type")),
		SHA256:   line(p.inner.get("sha256")),
		FileName: line(p.inner.get("filename")),
		Voice:    truth(p.inner.get("voice")),
		Animated: truth(p.inner.get("animated")),
	}
}

func (p *parts) readLocation() {
	at, ok := place(p.inner.get("latitude"), p.inner.get("longitude"))
	if !ok {
		return
	}
	at.Name, at.Address, at.URL = line(p.inner.get("name")), line(p.inner.get("address")), address(p.inner.get("url"))
	p.what, p.Location = messaging.LocationPin, at
}

func (p *parts) readCards() {
	for each := range p.inner.list() {
		p.what, p.Contacts = messaging.Cards, append(p.Contacts, card(each))
	}
}

// card reads a contact card: fields, or a vCard.
func card(v value) messaging.Card {
	name := v.get("name")
	c := messaging.Card{Name: line(first(name.get("formatted_name"), name))}
	if c.Name == "" {
		c.Name = strings.TrimSpace(line(name.get("first_name")) + " " + line(name.get("last_name")))
	}
	for each := range v.get("phones").list() {
		number := phone(each.get("wa_id").line())
		if number == "" {
			number = line(first(each.get("phone"), each))
		}
		if number != "" {
			c.Phones = append(c.Phones, number)
		}
	}
	for each := range v.get("emails").list() {
		if email := line(first(each.get("email"), each)); email != "" {
			c.Emails = append(c.Emails, email)
		}
	}
	if whole, ok := cut(v.get("vcard").text(), maxCardBytes); ok {
		c.VCard = whole
	}
	for key := range v.members() {
		switch key.text() {
		case "name", "phones", "emails", "vcard":
		default:
			c.Raw = embed(v, maxCardBytes)
		}
	}
	return c
}

func (p *parts) readInteractive() {
	kind := p.inner.get("type").line()
	of := p.inner.get(kind)
	if kind == "" {
		for key, member := range p.inner.members() {
			kind, of = key.text(), member
		}
	}
	if !of.isObject() {
		return
	}
	if kind == "product" {
		p.what, p.Share = messaging.Shared, &messaging.Share{
			Kind: kind, ID: line(first(of.get("product_retailer_id"), of.get("id"))),
			Title: line(first(of.get("title"), of.get("name"))), URL: address(of.get("url")),
		}
		return
	}
	choice := &messaging.Choice{
		ID: line(of.get("id")), Title: line(of.get("title")), Description: line(of.get("description")),
	}
	choice.Kind, _ = cut(kind, maxFieldBytes)
	p.what, p.Interactive, p.text = messaging.Interactive, choice, of.get("title").text()
	switch kind {
	case "button_reply", "list_reply":
	case "nfm_reply":
		choice.Title, p.text = line(of.get("name")), of.get("body").text()
		if text, ok := clean([]byte(plainText(of.get("response_json")))); ok {
			choice.Response = event.Embed(text, maxResponseBytes)
		}
	default:
		choice.Response = embed(of, maxResponseBytes)
	}
}

func (p *parts) readButton() {
	p.what, p.text = messaging.Button, p.inner.get("text").text()
	p.Interactive = &messaging.Choice{
		Kind: "template_button", Title: line(p.inner.get("text")), Payload: payloadOf(p.inner),
	}
}

func (p *parts) readOrder() {
	p.what, p.text = messaging.OrderPlaced, p.inner.get("text").text()
	p.Order = &messaging.Order{CatalogID: line(p.inner.get("catalog_id")), Items: []messaging.OrderItem{}}
	for each := range p.inner.get("product_items").list() {
		item := messaging.OrderItem{
			ProductID: line(each.get("product_retailer_id")),
			Currency:  line(each.get("currency")),
		}
		item.Quantity, _ = number(each.get("quantity"))
		item.Price, _ = number(each.get("item_price"))
		p.Order.Items = append(p.Order.Items, item)
	}
}

func (p *parts) readReaction() {
	on := messageID(p.inner.get("message_id"))
	if on == "" {
		return
	}
	p.what = messaging.Reacted
	p.Reaction = &messaging.Reaction{ExternalID: on, Emoji: line(p.inner.get("emoji"))}
	p.Reaction.Removed = p.Reaction.Emoji == ""
}

// reply is what a message quotes.
func reply(context value) *messaging.Reply {
	r := messaging.Reply{ExternalID: messageID(context.get("id"))}
	product := context.get("referred_product")
	if id := line(product.get("product_retailer_id")); id != "" {
		r.Product = &messaging.Product{CatalogID: line(product.get("catalog_id")), ID: id}
	}
	if r == (messaging.Reply{}) {
		return nil
	}
	return &r
}

// advertisement is the post or advertisement whose button opened the chat.
func advertisement(v value) *messaging.Referral {
	if !v.isObject() {
		return nil
	}
	r := &messaging.Referral{
		Type:     line(v.get("source_type")),
		URL:      address(v.get("source_url")),
		Title:    line(v.get("headline")),
		Body:     line(v.get("body")),
		MediaURL: address(first(v.get("image_url"), v.get("video_url"), v.get("thumbnail_url"))),
		ClickID:  line(v.get("ctwa_clid")),
	}
	if id := line(v.get("source_id")); r.Type == "ad" {
		r.AdID = id
	} else {
		r.Ref = id
	}
	return r
}

// place is a point on Earth.
func place(latitude, longitude value) (*messaging.Location, bool) {
	north, ok := number(latitude)
	east, also := number(longitude)
	if !ok || !also || north < -90 || north > 90 || east < -180 || east > 180 {
		return nil, false
	}
	return &messaging.Location{Latitude: north, Longitude: east}, true
}

// address is a URL. Half of one leads nowhere.
func address(v value) string {
	const longest = 4 << 10
	text, ok := cut(v.line(), longest)
	if !ok {
		return ""
	}
	return text
}

// payloadOf is what a button was given to be handed back.
func payloadOf(v value) string {
	text, _ := cut(plainText(v.get("payload")), 4*maxLineBytes)
	return text
}
