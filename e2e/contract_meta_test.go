package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/primezap/primezap/pkg/meta"
)

// What the app of the contract's test has at Meta.
const (
	verifyToken = "let-me-in"
	appSecret   = "app-secret"
)

// challenge is what Meta asks when the address is entered.
var challenge = map[string]string{"hub.mode": "subscribe", "hub.verify_token": verifyToken, "hub.challenge": "1158201444"}

// updates is what Meta may post: messages to the connection and to others, and what
// it does not document.
func (w *contractWorld) updates(rt *rapid.T) any {
	messages := make([]any, rapid.IntRange(0, 5).Draw(rt, "messages"))
	for i := range messages {
		from := rapid.StringMatching(`55119[0-9]{8}`).Draw(rt, "from")
		messages[i] = map[string]any{"from": from, "id": "wamid." + uuid.NewString(), "timestamp": "1763942300", "type": "text", "text": map[string]any{"body": rapid.String().Draw(rt, "text")}}
	}
	post := map[string]any{"object": "whatsapp_business_account", "entry": []any{map[string]any{"id": "1", "changes": []any{map[string]any{
		"field": "messages", "value": map[string]any{
			"metadata": map[string]any{"phone_number_id": rapid.SampledFrom([]string{w.connection, "1"}).Draw(rt, "number")}, "messages": messages,
		},
	}}}}}
	return rapid.SampledFrom([]any{post, []any{post}, 7, "text", []any{}, map[string]any{"object": "page", "entry": messages}, nil}).Draw(rt, "post")
}

// wrongUpdates are the ways in which what Meta posts can be made wrong. Whatever is
// JSON and signed is taken.
func wrongUpdates(r *request) map[string]func() []int {
	whole := func() []byte {
		encoded, err := json.Marshal(r.body)
		if err != nil {
			panic(fmt.Sprintf("encode %v: %v", r.body, err))
		}
		return encoded
	}
	return map[string]func() []int{
		"a signature of another secret": func() []int {
			r.header.Set(meta.SignatureHeader, meta.Sign("another", whole()))
			return []int{http.StatusUnauthorized}
		},
		"a signature of another body": func() []int {
			r.header.Set(meta.SignatureHeader, meta.Sign(appSecret, append(whole(), ' ')))
			return []int{http.StatusUnauthorized}
		},
		"a signature that is none": func() []int {
			r.header.Set(meta.SignatureHeader, "sha256=")
			return []int{http.StatusUnauthorized}
		},
		"something behind the body": func() []int {
			r.raw = append(whole(), '{')
			return []int{http.StatusBadRequest}
		},
		"a body that is too large": func() []int {
			r.raw = append(whole(), bytes.Repeat([]byte(" "), 3<<20)...)
			return []int{http.StatusRequestEntityTooLarge}
		},
		"a body that is compressed": func() []int {
			r.raw = whole()
			r.header.Set("Content-Encoding", "gzip")
			return []int{http.StatusUnsupportedMediaType}
		},
	}
}
