package inbound

import (
	"github.com/primezap/primezap/pkg/messaging"
)

// content reads what a message of Messenger or Instagram holds.
func (it item) content() (messaging.Type, string, messaging.Content) {
	m := it.what
	c := messaging.Content{Reply: replyTo(m.get("reply_to")), Referral: referral(m.get("referral"))}
	text := m.get("text").text()
	attached, story := attachments(m.get("attachments"))
	if len(attached) > 0 {
		one := attached[0]
		c.Media, c.Location, c.Share, c.Story = one.Media, one.Location, one.Share, story
	}
	if len(attached) > 1 {
		c.Attachments = attached
	}
	what := messaging.Text
	switch {
	case truth(m.get("is_unsupported")):
		what = messaging.Unsupported
	case m.get("quick_reply").isObject():
		what = messaging.Interactive
		c.Interactive = &messaging.Choice{Kind: "quick_reply", Title: line(m.get("text")), Payload: payloadOf(m.get("quick_reply"))}
	case len(attached) > 0 && (text == "" || !isPreview(attached)):
		what = attached[0].Type
		if m.get("sticker_id").exists() && what == messaging.Image {
			what = messaging.Sticker
		}
	case text != "":
	case m.get("sticker_id").exists():
		what = messaging.Sticker
	default:
		what = messaging.Unsupported
	}
	return what, text, c
}

// isPreview reports whether attachments are no more than what Meta shows of a link in
// the text.
func isPreview(attached []messaging.Attachment) bool {
	return len(attached) == 1 && attached[0].Share != nil && attached[0].Share.Kind == "fallback"
}

// shares are what Meta calls what can be shared, and what we call it.
var shares = map[string]string{
	"share": "share", "ig_post": "post", "post": "post", "ig_reel": "reel", "reel": "reel",
	"ig_story": "story", "fallback": "fallback", "product": "product",
}

// media are what Meta calls files.
var media = map[string]messaging.Type{
	"image": messaging.Image, "video": messaging.Video, "audio": messaging.Audio, "file": messaging.Document,
}

// attachments reads all, and the story that the first one is of.
func attachments(of value) (all []messaging.Attachment, story *messaging.Story) {
	for each := range of.list() {
		a := attachment(each)
		if len(all) == 0 {
			story = a.Story
		}
		all = append(all, a)
	}
	return all, story
}

func attachment(v value) messaging.Attachment {
	kind, p := v.get("type").line(), v.get("payload")
	url := address(first(p.get("url"), v.get("url")))
	a := messaging.Attachment{Type: messaging.Unsupported, Title: line(first(v.get("title"), p.get("title")))}
	product := p.get("product").get("elements")
	switch what := media[kind]; {
	case what != "":
		a.Type, a.Media = what, &messaging.Media{URL: url}
		if what == messaging.Document {
			a.Media.FileName = a.Title
		}
		if what == messaging.Image && p.get("sticker_id").exists() {
			a.Type = messaging.Sticker
		}
	case kind == "location":
		at := p.get("coordinates")
		if where, ok := place(at.get("lat"), at.get("long")); ok {
			where.Name, where.URL = a.Title, url
			a.Type, a.Location = messaging.LocationPin, where
		}
	case kind == "template" && product.exists():
		a.Type, a.Share = messaging.Shared, &messaging.Share{Kind: "product"}
		for each := range product.list() {
			a.Share.ID, a.Share.URL = line(each.get("id")), address(first(each.get("url"), each.get("image_url")))
			a.Share.Title = line(each.get("title"))
			break // the first: raw has the others
		}
	case kind == "template":
		a.Type = messaging.Template
	case shares[kind] != "":
		a.Type, a.Share = messaging.Shared, &messaging.Share{
			Kind: shares[kind], Title: a.Title, URL: url,
			ID: line(first(p.get("ig_post_media_id"), p.get("reel_video_id"), p.get("id"))),
		}
	case kind == "story_mention":
		a.Type, a.Story = messaging.StoryMention, &messaging.Story{ID: line(p.get("id")), URL: url}
	case kind == "ephemeral":
		a.Type = messaging.Ephemeral
	}
	return a
}

// replyTo is what a message answers.
func replyTo(v value) *messaging.Reply {
	r := messaging.Reply{ExternalID: messageID(v.get("mid"))}
	if story := v.get("story"); story.isObject() {
		r.Story = &messaging.Story{ID: line(story.get("id")), URL: address(story.get("url"))}
	}
	if r == (messaging.Reply{}) {
		return nil
	}
	return &r
}

// referral is what led a person here.
func referral(v value) *messaging.Referral {
	if !v.isObject() {
		return nil
	}
	ad := v.get("ads_context_data")
	r := &messaging.Referral{
		Source:   line(v.get("source")),
		Type:     line(v.get("type")),
		Ref:      line(v.get("ref")),
		AdID:     line(v.get("ad_id")),
		URL:      address(first(v.get("referer_uri"), v.get("source_url"))),
		Title:    line(ad.get("ad_title")),
		MediaURL: address(first(ad.get("photo_url"), ad.get("video_url"))),
	}
	if id := line(v.get("product").get("id")); id != "" {
		r.Product = &messaging.Product{ID: id}
	}
	return r
}
