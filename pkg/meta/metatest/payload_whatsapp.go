package metatest

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"strings"
	"time"
)

// WhatsAppHook is a whole payload with changes of the field messages.
func WhatsAppHook(n Number, values ...M) M {
	changes := make([]M, 0, len(values))
	for _, value := range values {
		changes = append(changes, M{"field": "messages", "value": value})
	}
	return M{"object": "whatsapp_business_account", "entry": []M{{"id": n.WABA, "changes": changes}}}
}

// WhatsAppMessages is a value with messages of a person; of several, one after
// another. System messages have no contacts.
func WhatsAppMessages(n Number, p Person, messages ...M) M {
	value := whatsAppValue(n)
	value["messages"] = messages
	if len(messages) == 0 || messages[0]["type"] != "system" {
		profile := M{}
		set(profile, "name", p.Name)
		set(profile, "username", p.Username)
		contact := M{"profile": profile}
		set(contact, "wa_id", p.waID())
		set(contact, "user_id", p.UserID)
		set(contact, "parent_user_id", p.ParentUserID)
		value["contacts"] = []M{contact}
	}
	return value
}

// WhatsAppEchoHook is a whole payload with messages that the account's owner wrote on
// the phone.
func WhatsAppEchoHook(n Number, messages ...M) M {
	value := whatsAppValue(n)
	value["message_echoes"] = messages
	return M{"object": "whatsapp_business_account", "entry": []M{{
		"id": n.WABA, "changes": []M{{"field": "smb_message_echoes", "value": value}},
	}}}
}

// WhatsAppEcho is such a message: its envelope, with content in it.
func WhatsAppEcho(n Number, to Person, id string, at time.Time, content M) M {
	m := M{"id": id, "timestamp": seconds(at), "from": strings.TrimPrefix(n.Phone, "+")}
	set(m, "to", to.waID())
	set(m, "to_user_id", to.UserID)
	maps.Copy(m, content)
	return m
}

// WhatsAppStatuses is a value with statuses of messages that were sent.
func WhatsAppStatuses(n Number, statuses ...M) M {
	value := whatsAppValue(n)
	value["statuses"] = statuses
	return value
}

// WhatsAppErrors is a value with errors and nothing else.
func WhatsAppErrors(n Number, errors ...M) M {
	value := whatsAppValue(n)
	value["errors"] = errors
	return value
}

func whatsAppValue(n Number) M {
	return M{
		"messaging_product": "whatsapp",
		"metadata":          M{"display_phone_number": strings.TrimPrefix(n.Phone, "+"), "phone_number_id": n.ID},
	}
}

// WhatsAppMessage is a message of a person: its envelope, with content in it.
func WhatsAppMessage(p Person, id string, at time.Time, content M) M {
	m := M{"id": id, "timestamp": seconds(at)}
	set(m, "from", p.waID())
	set(m, "from_user_id", p.UserID)
	set(m, "from_parent_user_id", p.ParentUserID)
	maps.Copy(m, content)
	return m
}

// File is a file that was sent.
type File struct {
	ID       string `json:"id,omitempty"` // WhatsApp
	URL      string `json:"url,omitempty"`
	MIMEType string `json:"mimeType,omitempty"`
	Caption  string `json:"caption,omitempty"`
	Name     string `json:"name,omitempty"`
	Voice    bool   `json:"voice,omitempty"`
	Animated bool   `json:"animated,omitempty"`
}

// WhatsAppText is the content of a text.
func WhatsAppText(body string) M { return M{"type": "text", "text": M{"body": body}} }

// WhatsAppFile is the content of a file: kind is image, audio, video, document or
// sticker.
func WhatsAppFile(kind string, f File) M {
	sum := sha256.Sum256([]byte(f.ID + f.URL))
	file := M{"sha256": base64.StdEncoding.EncodeToString(sum[:])}
	set(file, "id", f.ID)
	set(file, "url", f.URL)
	set(file, "mime_type", f.MIMEType)
	set(file, "caption", f.Caption)
	set(file, "filename", f.Name)
	if kind == "audio" {
		file["voice"] = f.Voice
	}
	if kind == "sticker" {
		file["animated"] = f.Animated
	}
	return M{"type": kind, kind: file}
}

// Place is a location.
type Place struct {
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
	Name      string  `json:"name,omitempty"`
	Address   string  `json:"address,omitempty"`
	URL       string  `json:"url,omitempty"`
}

// WhatsAppLocation is the content of a location.
func WhatsAppLocation(p Place) M {
	location := M{"latitude": p.Latitude, "longitude": p.Longitude}
	set(location, "name", p.Name)
	set(location, "address", p.Address)
	set(location, "url", p.URL)
	return M{"type": "location", "location": location}
}

// WhatsAppCard is the content of a contact card.
func WhatsAppCard(name, phone string) M {
	first, last, _ := strings.Cut(name, " ")
	return M{"type": "contacts", "contacts": []M{{
		"name":   M{"formatted_name": name, "first_name": first, "last_name": last},
		"phones": []M{{"phone": phone, "type": "CELL", "wa_id": strings.TrimPrefix(phone, "+")}},
	}}}
}

// WhatsAppButtonReply is the content of a press on a button.
func WhatsAppButtonReply(id, title string) M {
	return M{"type": "interactive", "interactive": M{"type": "button_reply", "button_reply": M{"id": id, "title": title}}}
}

// WhatsAppListReply is the content of a choice from a list.
func WhatsAppListReply(id, title, description string) M {
	reply := M{"id": id, "title": title}
	set(reply, "description", description)
	return M{"type": "interactive", "interactive": M{"type": "list_reply", "list_reply": reply}}
}

// WhatsAppFormReply is the content of a form that was filled in; response is JSON.
func WhatsAppFormReply(response string) M {
	return M{"type": "interactive", "interactive": M{
		"type": "nfm_reply", "nfm_reply": M{"name": "flow", "body": "Sent", "response_json": response},
	}}
}

// WhatsAppButton is the content of a press on a quick reply of a template.
func WhatsAppButton(payload, text string) M {
	return M{"type": "button", "button": M{"payload": payload, "text": text}}
}

// WhatsAppReaction is the content of a reaction to a message; without an emoji it was
// taken back.
func WhatsAppReaction(to, emoji string) M {
	reaction := M{"message_id": to}
	set(reaction, "emoji", emoji)
	return M{"type": "reaction", "reaction": reaction}
}

// WhatsAppOrder is the content of an order of one product.
func WhatsAppOrder(catalogue, product string, quantity int, price float64, note string) M {
	order := M{"catalog_id": catalogue, "product_items": []M{{
		"product_retailer_id": product, "quantity": quantity, "item_price": price, "currency": "BRL",
	}}}
	set(order, "text", note)
	return M{"type": "order", "order": order}
}

// WhatsAppNumberChanged is the content of a system message: the person has another
// number.
func WhatsAppNumberChanged(p Person, phone string) M {
	digits := strings.TrimPrefix(phone, "+")
	return M{"type": "system", "system": M{
		"type": "user_changed_number", "wa_id": digits, "body": "User " + p.Name + " changed from " + p.waID() + " to " + digits,
	}}
}

// WhatsAppUserIDChanged is the content of a system message: the person has another
// business-scoped user id.
func WhatsAppUserIDChanged(p Person, userID string) M {
	return M{"type": "system", "system": M{
		"type": "user_changed_user_id", "user_id": userID, "body": "User " + p.Name + " changed their user id",
	}}
}

// WhatsAppEdit is the content of an edit: what a message is from now on.
func WhatsAppEdit(of string, content M) M {
	return M{"type": "edit", "edit": M{"original_message_id": of, "message": content}}
}

// WhatsAppRevoke is the content of a message's end.
func WhatsAppRevoke(of string) M {
	return M{"type": "revoke", "revoke": M{"original_message_id": of}}
}

// WhatsAppUnsupported is the content of what Meta does not pass on; kind says what it
// was, where it is told.
func WhatsAppUnsupported(kind string) M {
	m := M{"type": "unsupported", "errors": []M{{
		"code": 131051, "title": "Message type unknown", "message": "Message type unknown",
		"error_data": M{"details": "Message type is currently not supported."},
	}}}
	if kind != "" {
		m["unsupported"] = M{"type": kind}
	}
	return m
}

// WhatsAppWelcome is the content of a chat that a person has opened.
func WhatsAppWelcome() M { return M{"type": "request_welcome"} }

// WhatsAppReferral adds to a content the advertisement that led to it.
func WhatsAppReferral(content M) M {
	content["referral"] = M{
		"source_url": "https://fb.me/simulated", "source_type": "ad", "source_id": "120200000000001", "headline": "Cadeiras em oferta",
		"body": "Só nesta semana", "media_type": "image", "image_url": "https://example.com/simulated/ad.jpg", "ctwa_clid": "ARAsimulated",
	}
	return content
}

// WhatsAppReply adds to a content the message that it answers.
func WhatsAppReply(n Number, content M, to string) M {
	content["context"] = M{"from": strings.TrimPrefix(n.Phone, "+"), "id": to}
	return content
}

// set sets what is not empty.
func set(m M, name, value string) {
	if value != "" {
		m[name] = value
	}
}
