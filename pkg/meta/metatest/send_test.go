package metatest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/meta/metatest"
)

func TestServer_SendWhatsApp(t *testing.T) {
	t.Parallel()
	t.Run("a text is accepted, recorded and followed by its statuses in order", func(t *testing.T) {
		t.Parallel()
		back := newCallback(t)
		s := start(t, metatest.Config{CallbackURL: back.URL, AppSecret: "secret-1"})
		status, answer := s.call(t, http.MethodPost, numberPath, metatest.DefaultNumberToken, textTo("+5511900000001"))
		if status != http.StatusOK || at(answer, "messaging_product") != "whatsapp" || at(answer, "contacts", 0, "input") != "+5511900000001" ||
			at(answer, "contacts", 0, "wa_id") != "5511900000001" {
			t.Fatalf("answered %d %v", status, answer)
		}
		id := at(answer, "messages", 0, "id")
		sent := s.Sent("+5511900000001")
		if len(sent) != 1 || sent[0].ID != id || sent[0].Opaque != "job-1" || !sent[0].Answered || sent[0].Person != "5511900000001" || sent[0].Type != "text" {
			t.Errorf("recorded %+v", sent)
		}
		var steps []any
		for i, h := range back.settled(t, s.Server) {
			h.verified(t, "secret-1")
			st := at(decode(t, h.Body), "entry", 0, "changes", 0, "value", "statuses", 0)
			steps = append(steps, at(st, "status"))
			if at(st, "id") != id || at(st, "biz_opaque_callback_data") != "job-1" || at(st, "recipient_id") != "5511900000001" || at(st, "recipient_user_id") != "BR.1001" {
				t.Errorf("the status is %v", st)
			}
			if priced := at(st, "pricing") != nil; priced != (i < 2) {
				t.Errorf("status %d has pricing: %t", i, priced)
			}
		}
		if !slices.Equal(steps, []any{"sent", "delivered", "read"}) {
			t.Errorf("the statuses are %v", steps)
		}
	})
	t.Run("a user id gets an answer and statuses without a phone number", func(t *testing.T) {
		t.Parallel()
		back := newCallback(t)
		s := start(t, metatest.Config{CallbackURL: back.URL})
		status, answer := s.call(t, http.MethodPost, numberPath, metatest.DefaultNumberToken,
			`{"messaging_product": "whatsapp", "recipient": "BR.1002", "type": "text", "text": {"body": "oi"}}`)
		if status != http.StatusOK || at(answer, "contacts", 0, "user_id") != "BR.1002" || at(answer, "contacts", 0, "wa_id") != nil {
			t.Errorf("answered %d %v", status, answer)
		}
		for _, h := range back.settled(t, s.Server) {
			st := at(decode(t, h.Body), "entry", 0, "changes", 0, "value", "statuses", 0)
			if at(st, "recipient_id") != nil || at(st, "recipient_user_id") != "BR.1002" {
				t.Errorf("the status is %v", st)
			}
		}
	})
	t.Run("without a plus sign the country of the business is put before the number", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		_, answer := s.call(t, http.MethodPost, numberPath, metatest.DefaultNumberToken, textTo("16505550100"))
		if got := at(answer, "contacts", 0, "wa_id"); got != "5516505550100" {
			t.Errorf("the wa_id is %v", got)
		}
	})
	t.Run("marks as read", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		status, answer := s.call(t, http.MethodPost, numberPath, metatest.DefaultNumberToken, `{"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.X"}`)
		if status != http.StatusOK || answer["success"] != true || len(s.Sent()) != 0 {
			t.Errorf("answered %d %v", status, answer)
		}
	})
	t.Run("takes every type", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		for _, body := range []string{
			`"type": "text", "text": {"preview_url": false, "body": "oi"}, "context": {"message_id": "wamid.Q"}`,
			`"text": {"body": "no type is text"}`,
			`"type": "template", "template": {"name": "promo", "language": {"code": "pt_BR"}, "components": []}`,
			`"type": "image", "image": {"link": "https://example.com/a.jpg", "caption": "c"}`,
			`"type": "document", "document": {"id": "1", "filename": "a.pdf"}`,
			`"type": "location", "location": {"latitude": -23.5, "longitude": "-46.6"}`,
			`"type": "contacts", "contacts": [{"name": {"formatted_name": "Davi"}}]`,
			`"type": "reaction", "reaction": {"message_id": "wamid.Q", "emoji": ""}`,
			`"type": "interactive", "interactive": {"type": "button", "body": {"text": "?"}, "action": {"buttons": [{"type": "reply", "reply": {"id": "y", "title": "Sim"}}]}}`,
			`"type": "interactive", "interactive": {"type": "list", "body": {"text": "?"}, "action": {"button": "b", "sections": [{"rows": [{"id": "1", "title": "t"}]}]}}`,
		} {
			if status, answer := s.call(t, http.MethodPost, numberPath, metatest.DefaultNumberToken, `{"messaging_product": "whatsapp", "to": "+5511900000001", `+body+`}`); status != http.StatusOK {
				t.Errorf("%s: answered %d %v", body, status, answer)
			}
		}
	})
	t.Run("says what is wrong with a body, and accepts nothing", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		for body, want := range map[string]int{
			`{`: 100, `{}`: 100, `{"messaging_product": "whatsapp"}`: 100,
			`{"messaging_product": "whatsapp", "to": "+55", "text": {"body": "x"}}`:                                                                                                 131009,
			`{"messaging_product": "whatsapp", "to": "+5511900000001", "type": "poem", "poem": {}}`:                                                                                 100,
			`{"messaging_product": "whatsapp", "to": "+5511900000001", "type": "text"}`:                                                                                             131008,
			`{"messaging_product": "whatsapp", "to": "+5511900000001", "type": "text", "text": {"body": ""}}`:                                                                       100,
			`{"messaging_product": "whatsapp", "to": "+5511900000001", "type": "image", "image": {}}`:                                                                               100,
			`{"messaging_product": "whatsapp", "to": "+5511900000001", "type": "template", "template": {"name": "x"}}`:                                                              131008,
			`{"messaging_product": "whatsapp", "to": "+5511900000001", "type": "contacts", "contacts": []}`:                                                                         131008,
			`{"messaging_product": "whatsapp", "to": "+5511900000001", "text": {"body": "` + strings.Repeat("é", 4097) + `"}}`:                                                      100,
			`{"messaging_product": "whatsapp", "to": "+5511900000001", "type": "interactive", "interactive": {"type": "button", "body": {"text": "?"}, "action": {"buttons": []}}}`: 131009,
		} {
			status, answer := s.call(t, http.MethodPost, numberPath, metatest.DefaultNumberToken, body)
			if got, _ := code(answer); status != http.StatusBadRequest || got != want || at(answer, "error", "fbtrace_id") == nil {
				t.Errorf("%.120s: answered %d %v, want code %d", body, status, answer, want)
			}
		}
		if sent := s.Sent(); len(sent) > 0 {
			t.Errorf("accepted %+v", sent)
		}
	})
}

func TestServer_SendPage(t *testing.T) {
	t.Parallel()
	back := newCallback(t)
	s := start(t, metatest.Config{CallbackURL: back.URL, Statuses: metatest.Statuses{Steps: []string{"echo", "delivered", "read"}}})
	const messengerPerson, instagramPerson = "5001000000000001", "6001000000000001"
	for _, tc := range []struct{ path, to, account string }{
		{"/me/messages", messengerPerson, metatest.DefaultPageID},
		{"/v25.0/" + metatest.DefaultPageID + "/messages", messengerPerson, metatest.DefaultPageID},
		{"/v25.0/me/messages", instagramPerson, metatest.DefaultAccountID},
		{"/v25.0/" + metatest.DefaultAccountID + "/messages", instagramPerson, metatest.DefaultAccountID},
	} {
		before := len(back.hooks())
		status, answer := s.call(t, http.MethodPost, tc.path, metatest.DefaultPageToken, fmt.Sprintf(`{"recipient": {"id": %q}, "messaging_type": "RESPONSE", "message": {"text": "oi"}}`, tc.to))
		if status != http.StatusOK || answer["recipient_id"] != tc.to || answer["message_id"] == "" {
			t.Errorf("%s: answered %d %v", tc.path, status, answer)
		}
		sent := s.Sent(tc.to)
		if last := sent[len(sent)-1]; last.Account != tc.account || last.ID != answer["message_id"] {
			t.Errorf("%s: recorded %+v", tc.path, last)
		}
		hooks := back.settled(t, s.Server)[before:]
		want := map[string]int{metatest.DefaultPageID: 3, metatest.DefaultAccountID: 2}[tc.account] // Instagram tells of no delivery
		if len(hooks) != want {
			t.Fatalf("%s: %d webhooks, want %d", tc.path, len(hooks), want)
		}
		echo := at(decode(t, hooks[0].Body), "entry", 0, "messaging", 0)
		if at(echo, "message", "is_echo") != true || at(echo, "sender", "id") != tc.account || at(echo, "recipient", "id") != tc.to {
			t.Errorf("%s: the echo is %v", tc.path, echo)
		}
	}
	for body, want := range map[string]int{
		`{"message": {"text": "oi"}}`: 100, `{"recipient": {"id": "1"}}`: 100, `{"recipient": {"id": "1"}, "message": {}}`: 100,
		`{"recipient": {"id": "1"}, "sender_action": "dance"}`: 100, `{"recipient": {"id": "1"}, "sender_action": "typing_on"}`: 0,
		`{"recipient": {"id": "1"}, "message": {"attachment": {"type": "image", "payload": {"url": "https://example.com/a.jpg"}}}}`: 0,
	} {
		if _, answer := s.call(t, http.MethodPost, "/me/messages", metatest.DefaultPageToken, body); answer != nil {
			if got, _ := code(answer); got != want {
				t.Errorf("%s: answered %v, want code %d", body, answer, want)
			}
		}
	}
}

func TestServer_Statuses(t *testing.T) {
	t.Parallel()
	states := func(t *testing.T, hooks []hook) (list []any) {
		t.Helper()
		for _, h := range hooks {
			list = append(list, at(decode(t, h.Body), "entry", 0, "changes", 0, "value", "statuses", 0, "status"))
		}
		return list
	}
	t.Run("may come in another order, and twice each", func(t *testing.T) {
		t.Parallel()
		back := newCallback(t)
		s := start(t, metatest.Config{CallbackURL: back.URL, Seed: 7, Statuses: metatest.Statuses{Shuffle: true, Repeat: 2}})
		var all []any
		for range 5 {
			s.send(t, "+5511900000001")
			all = append(all, "sent", "sent", "delivered", "delivered", "read", "read")
		}
		got := states(t, back.settled(t, s.Server))
		if len(got) != len(all) || slices.Equal(got, all) {
			t.Errorf("the statuses are %v", got)
		}
	})
	t.Run("may tell of a failure instead", func(t *testing.T) {
		t.Parallel()
		back := newCallback(t)
		s := start(t, metatest.Config{CallbackURL: back.URL, Statuses: metatest.Statuses{Fail: 131049}})
		s.send(t, "+5511900000001")
		s.send(t, "+5511900000003") // who cannot be reached
		hooks := back.settled(t, s.Server)
		if got := states(t, hooks); !slices.Equal(got, []any{"failed", "failed"}) {
			t.Fatalf("the statuses are %v", got)
		}
		var codes []any
		for _, h := range hooks {
			codes = append(codes, at(decode(t, h.Body), "entry", 0, "changes", 0, "value", "statuses", 0, "errors", 0, "code"))
		}
		slices.SortFunc(codes, func(a, b any) int { return int(a.(float64) - b.(float64)) })
		if !slices.Equal(codes, []any{131026.0, 131049.0}) {
			t.Errorf("the codes are %v", codes)
		}
	})
	t.Run("tell who has not written for 24 hours that only a template reaches them", func(t *testing.T) {
		t.Parallel()
		now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
		s := start(t, metatest.Config{Window: true, Now: func() time.Time { return now }, Statuses: metatest.Statuses{Steps: []string{"sent"}}})
		back := newCallback(t)
		s.SetCallback(back.URL)
		const bruno = "BR.1002"
		s.send(t, bruno)
		if _, err := s.Play(t.Context(), metatest.Event{Channel: "whatsapp", From: metatest.From{Person: metatest.Person{UserID: bruno}}}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(24*time.Hour - time.Second)
		s.send(t, bruno)
		now = now.Add(time.Second)
		s.send(t, bruno)
		status, _ := s.call(t, http.MethodPost, numberPath, metatest.DefaultNumberToken,
			`{"messaging_product": "whatsapp", "to": "BR.1002", "type": "template", "template": {"name": "promo", "language": {"code": "pt_BR"}}}`)
		got := slices.DeleteFunc(states(t, back.settled(t, s.Server)), func(state any) bool { return state == nil })
		if want := []any{"failed", "sent", "failed", "sent"}; status != http.StatusOK || !slices.Equal(got, want) {
			t.Errorf("the statuses are %v, want %v", got, want)
		}
	})
	t.Run("a webhook that is not answered 200 comes again, the same, until it is", func(t *testing.T) {
		t.Parallel()
		back := newCallback(t, http.StatusInternalServerError, http.StatusNoContent)
		s := start(t, metatest.Config{CallbackURL: back.URL, Statuses: metatest.Statuses{Steps: []string{"sent"}}})
		s.send(t, "+5511900000001")
		hooks := back.settled(t, s.Server)
		if len(hooks) != 3 || string(hooks[0].Body) != string(hooks[2].Body) || hooks[2].Answered != http.StatusOK {
			t.Errorf("came as %+v", hooks)
		}
		if kept := s.Webhooks(); len(kept) != 1 || kept[0].Attempts != 3 || kept[0].Status != http.StatusOK {
			t.Errorf("remembered as %+v", kept)
		}
	})
	t.Run("a webhook is given up after the last attempt", func(t *testing.T) {
		t.Parallel()
		back := newCallback(t, slices.Repeat([]int{503}, 50)...)
		s := start(t, metatest.Config{CallbackURL: back.URL, Statuses: metatest.Statuses{Steps: []string{"sent"}}})
		s.send(t, "+5511900000001")
		if hooks := back.settled(t, s.Server); len(hooks) != 1+len(fast) {
			t.Errorf("came %d times, want %d", len(hooks), 1+len(fast))
		}
	})
	t.Run("webhooks are redelivered on demand, byte for byte", func(t *testing.T) {
		t.Parallel()
		back := newCallback(t)
		s := start(t, metatest.Config{CallbackURL: back.URL})
		s.send(t, "+5511900000001")
		first := back.settled(t, s.Server)
		if n := s.Redeliver(2); n != 2 {
			t.Fatalf("redelivers %d, want 2", n)
		}
		hooks := back.settled(t, s.Server)
		if len(hooks) != 5 || string(hooks[3].Body) != string(first[1].Body) || string(hooks[4].Body) != string(first[2].Body) {
			t.Errorf("came %d", len(hooks))
		}
	})
	t.Run("Close does not wait for those that are to come", func(t *testing.T) {
		t.Parallel()
		back := newCallback(t)
		s := start(t, metatest.Config{CallbackURL: back.URL, Statuses: metatest.Statuses{Delay: metatest.Ms(time.Hour)}})
		s.send(t, "+5511900000001")
		s.Close()
		if hooks := back.hooks(); len(hooks) > 0 {
			t.Errorf("%d came", len(hooks))
		}
	})
}
