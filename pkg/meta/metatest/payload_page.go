package metatest

import (
	"maps"
	"strconv"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
)

// PageHook is a whole payload of Messenger or Instagram for a page or an account,
// with what happened under messaging.
func PageHook(channel messaging.Channel, account string, at time.Time, items ...M) M {
	return pageHook(channel, M{"id": account, "time": at.UnixMilli(), "messaging": items})
}

// StandbyHook is one of what happened while another app held the thread.
func StandbyHook(channel messaging.Channel, account string, at time.Time, items ...M) M {
	return pageHook(channel, M{"id": account, "time": at.UnixMilli(), "standby": items})
}

// ChangesHook is one in the form of the dashboard's tests: changes of a field, their
// times in text. The entry's id is account.
func ChangesHook(channel messaging.Channel, account string, at time.Time, field string, items ...M) M {
	changes := make([]M, 0, len(items))
	for _, item := range items {
		if ms, ok := item["timestamp"].(int64); ok {
			item["timestamp"] = strconv.FormatInt(ms/1000, 10)
		}
		changes = append(changes, M{"field": field, "value": item})
	}
	return pageHook(channel, M{"id": account, "time": at.Unix(), "changes": changes})
}

func pageHook(channel messaging.Channel, entry M) M {
	object := "page"
	if channel == messaging.Instagram {
		object = "instagram"
	}
	return M{"object": object, "entry": []M{entry}}
}

// item is what one side did, to the other.
func item(from, to string, at time.Time, what string, content M) M {
	return M{"sender": M{"id": from}, "recipient": M{"id": to}, "timestamp": at.UnixMilli(), what: content}
}

// PageMessage is a message of a person to a page or an account; content is what
// stands in it beside its id.
func PageMessage(from, account string, at time.Time, mid string, content M) M {
	message := M{"mid": mid}
	maps.Copy(message, content)
	return item(from, account, at, "message", message)
}

// PageEcho is a message that a page or an account sent, by an app.
func PageEcho(account, to string, at time.Time, mid, app string, content M) M {
	message := M{"mid": mid, "is_echo": true, "app_id": app}
	for name, value := range content {
		if name == "attachment" { // sent as one, told as one of several
			name, value = "attachments", []any{value}
		}
		message[name] = value
	}
	return item(account, to, at, "message", message)
}

// PageText is the content of a text.
func PageText(text string) M { return M{"text": text} }

// PageAttachment is the content of an attachment: image, audio, video, file,
// fallback, template, reel, ig_reel, share, ig_post, story_mention.
func PageAttachment(kind string, payload M) M {
	return M{"attachments": []M{{"type": kind, "payload": payload}}}
}

// PageLocation is the content of a place.
func PageLocation(p Place) M {
	return M{"attachments": []M{{
		"type": "location", "title": p.Name, "payload": M{"coordinates": M{"lat": p.Latitude, "long": p.Longitude}},
	}}}
}

// PageQuickReply is the content of a press on a quick reply.
func PageQuickReply(text, payload string) M {
	return M{"text": text, "quick_reply": M{"payload": payload}}
}

// PageReply adds to a content the message that it answers.
func PageReply(content M, to string) M {
	content["reply_to"] = M{"mid": to}
	return content
}

// PagePostback is a press on a persistent button.
func PagePostback(from, account string, at time.Time, mid, title, payload string) M {
	return item(from, account, at, "postback", M{"mid": mid, "title": title, "payload": payload})
}

// PageReaction is a reaction to a message; without an emoji it was taken back.
func PageReaction(from, account string, at time.Time, mid, name, emoji string) M {
	if emoji == "" {
		return item(from, account, at, "reaction", M{"mid": mid, "action": "unreact"})
	}
	return item(from, account, at, "reaction", M{"mid": mid, "action": "react", "reaction": name, "emoji": emoji})
}

// PageReferral is somebody who came by a link.
func PageReferral(from, account string, at time.Time, ref string) M {
	return item(from, account, at, "referral", M{"ref": ref, "source": "SHORTLINK", "type": "OPEN_THREAD"})
}

// PageEdit is what a message says from now on.
func PageEdit(from, account string, at time.Time, mid, text string) M {
	return item(from, account, at, "message_edit", M{"mid": mid, "text": text, "num_edit": 1})
}

// PageUnsend is a message's end.
func PageUnsend(from, account string, at time.Time, mid string) M {
	return PageMessage(from, account, at, mid, M{"is_deleted": true})
}

// MessengerSticker is the content of a sticker: a picture whose number is told twice.
func MessengerSticker(url string) M {
	const thumb = 369239263222822 // the one of the thumb
	content := PageAttachment("image", M{"url": url, "sticker_id": thumb})
	content["sticker_id"] = thumb
	return content
}

// MessengerDelivery says that messages, and all before them, have arrived.
func MessengerDelivery(from, page string, at time.Time, mids ...string) M {
	m := item(from, page, at, "delivery", M{"mids": mids, "watermark": at.UnixMilli()})
	delete(m, "timestamp")
	return m
}

// MessengerRead says that all before a time was read.
func MessengerRead(from, page string, at time.Time) M {
	return item(from, page, at, "read", M{"watermark": at.UnixMilli()})
}

// MessengerOptin is consent by a plugin or a checkbox.
func MessengerOptin(from, page string, at time.Time, ref string) M {
	return item(from, page, at, "optin", M{"ref": ref, "type": "one_time_notif_req", "payload": ref})
}

// InstagramSeen says that a message was seen.
func InstagramSeen(from, account string, at time.Time, mid string) M {
	return item(from, account, at, "read", M{"mid": mid})
}

// InstagramStoryReply is the content of an answer to a story.
func InstagramStoryReply(text, story, url string) M {
	return M{"text": text, "reply_to": M{"story": M{"id": story, "url": url}}}
}

// InstagramEphemeral is the content of what may be seen once: it has no payload.
func InstagramEphemeral() M { return M{"attachments": []M{{"type": "ephemeral"}}} }

// InstagramProduct is the content of a question about a product of the shop.
func InstagramProduct(text, product string) M {
	return M{"text": text, "referral": M{"product": M{"id": product}}}
}

// InstagramAd is the content of a message that an advertisement led to.
func InstagramAd(text, ref string) M {
	return M{"text": text, "referral": M{
		"ref": ref, "ad_id": "120200000000001", "source": "ADS", "type": "OPEN_THREAD",
		"ads_context_data": M{"ad_title": "Cadeiras em oferta", "photo_url": "https://example.com/simulated/ad.jpg"},
	}}
}

// PageUnsupported is the content of what Meta does not pass on.
func PageUnsupported() M { return M{"is_unsupported": true} }
