package metatest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

var channels = []messaging.Channel{messaging.WhatsApp, messaging.Facebook, messaging.Instagram}

func TestServer_Play(t *testing.T) {
	t.Parallel()
	t.Run("every kind of every channel is a signed webhook of ASCII", func(t *testing.T) {
		t.Parallel()
		back := newCallback(t)
		s := start(t, metatest.Config{CallbackURL: back.URL, AppSecret: "secret-1"})
		objects := map[messaging.Channel]string{messaging.WhatsApp: "whatsapp_business_account", messaging.Facebook: "page", messaging.Instagram: "instagram"}
		accounts := map[messaging.Channel]string{messaging.WhatsApp: metatest.DefaultWABA, messaging.Facebook: metatest.DefaultPageID, messaging.Instagram: metatest.DefaultAccountID}
		for _, channel := range channels {
			for _, kind := range metatest.Kinds(channel) {
				before := len(back.hooks())
				played, err := s.Play(t.Context(), metatest.Event{Channel: channel, Kind: kind, Target: "wamid.Q"})
				if err != nil || played.Webhook.Status != http.StatusOK || len(played.IDs) != 1 {
					t.Errorf("%s %s: %+v (%v)", channel, kind, played, err)
					continue
				}
				h := back.hooks()[before]
				h.verified(t, "secret-1")
				body := decode(t, h.Body)
				if body["object"] != objects[channel] || at(body, "entry", 0, "id") != accounts[channel] {
					t.Errorf("%s %s: %s", channel, kind, h.Body)
				}
				if i := strings.IndexFunc(string(h.Body), func(r rune) bool { return r > '~' || r == '<' }); i >= 0 {
					t.Errorf("%s %s is not escaped at %.20q", channel, kind, h.Body[i:])
				}
			}
		}
		if n := len(metatest.Kinds(messaging.WhatsApp)); n < 28 {
			t.Errorf("WhatsApp has %d kinds", n)
		}
	})

	// payload is one that is not sent.
	payload := func(t *testing.T, s simulated, e metatest.Event) (map[string]any, string) {
		t.Helper()
		body, _, err := s.Payload(e)
		if err != nil {
			t.Fatalf("%s %s: %v", e.Channel, e.Kind, err)
		}
		return decode(t, body), string(body)
	}
	when := time.Date(2026, 11, 24, 12, 0, 0, 123e6, time.UTC)
	for name, tc := range map[string]struct {
		event metatest.Event
		want  string
	}{
		"a text on WhatsApp": {
			metatest.Event{Channel: "whatsapp", ID: "wamid.X", Text: "olá/😀", Target: "wamid.Q"},
			`{"entry":[{"changes":[{"field":"messages","value":{"contacts":[{"profile":{"name":"Ana Souza","username":"ana.souza"},"user_id":"BR.1001","wa_id":"5511900000001"}],` +
				`"messages":[{"context":{"from":"551140000001","id":"wamid.Q"},"from":"5511900000001","from_user_id":"BR.1001","id":"wamid.X","text":{"body":"ol\u00e1\/\ud83d\ude00"},"timestamp":"1795521600","type":"text"}],` +
				`"messaging_product":"whatsapp","metadata":{"display_phone_number":"551140000001","phone_number_id":"800000000000001"}}}],"id":"700000000000001"}],"object":"whatsapp_business_account"}`,
		},
		"a message of somebody without a phone number": {
			metatest.Event{Channel: "whatsapp", Kind: "revoke", ID: "wamid.X", Target: "wamid.Q", Without: []string{"phone", "username"}},
			`{"entry":[{"changes":[{"field":"messages","value":{"contacts":[{"profile":{"name":"Ana Souza"},"user_id":"BR.1001"}],` +
				`"messages":[{"from_user_id":"BR.1001","id":"wamid.X","revoke":{"original_message_id":"wamid.Q"},"timestamp":"1795521600","type":"revoke"}],` +
				`"messaging_product":"whatsapp","metadata":{"display_phone_number":"551140000001","phone_number_id":"800000000000001"}}}],"id":"700000000000001"}],"object":"whatsapp_business_account"}`,
		},
		"a system message, which has no contacts": {
			metatest.Event{Channel: "whatsapp", Kind: "user_changed_number", ID: "wamid.X", Value: "+5511900000002", Without: []string{"userId"}},
			`{"entry":[{"changes":[{"field":"messages","value":{"messages":[{"from":"5511900000001","id":"wamid.X","system":{"body":"User Ana Souza changed from 5511900000001 to 5511900000002","type":"user_changed_number","wa_id":"5511900000002"},"timestamp":"1795521600","type":"system"}],` +
				`"messaging_product":"whatsapp","metadata":{"display_phone_number":"551140000001","phone_number_id":"800000000000001"}}}],"id":"700000000000001"}],"object":"whatsapp_business_account"}`,
		},
		"a status": {
			metatest.Event{Channel: "whatsapp", Kind: "failed", Target: "wamid.S", Code: 131026, Opaque: "job-1", Without: []string{"userId"}},
			`{"entry":[{"changes":[{"field":"messages","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"551140000001","phone_number_id":"800000000000001"},` +
				`"statuses":[{"biz_opaque_callback_data":"job-1","errors":[{"code":131026,"error_data":{"details":"Message Undeliverable."},"href":"\/documentation\/business-messaging\/whatsapp\/support\/error-codes","message":"Message undeliverable","title":"Message undeliverable"}],` +
				`"id":"wamid.S","recipient_id":"5511900000001","status":"failed","timestamp":"1795521600"}]}}],"id":"700000000000001"}],"object":"whatsapp_business_account"}`,
		},
		"a postback on Messenger, another app holding the thread": {
			metatest.Event{Channel: "messenger", Kind: "postback", ID: "m_X", Form: "standby"},
			`{"entry":[{"id":"100000000000001","standby":[{"postback":{"mid":"m_X","payload":"GET_STARTED","title":"Come\u00e7ar"},"recipient":{"id":"100000000000001"},"sender":{"id":"5001000000000001"},"timestamp":1795521600123}],"time":1795521600123}],"object":"page"}`,
		},
		"a delivery on Messenger, which has no time": {
			metatest.Event{Channel: "facebook", Kind: "delivery", Target: "m_X"},
			`{"entry":[{"id":"100000000000001","messaging":[{"delivery":{"mids":["m_X"],"watermark":1795521600123},"recipient":{"id":"100000000000001"},"sender":{"id":"5001000000000001"}}],"time":1795521600123}],"object":"page"}`,
		},
		"a story reply on Instagram, in the form of changes": {
			metatest.Event{Channel: "instagram", Kind: "story_reply", ID: "X", Text: "uau", Form: "changes", From: metatest.From{Person: metatest.Person{IGSID: "12334"}}},
			`{"entry":[{"changes":[{"field":"messages","value":{"message":{"mid":"X","reply_to":{"story":{"id":"17900000000000001","url":"https:\/\/example.com\/simulated\/story"}},"text":"uau"},` +
				`"recipient":{"id":"17841400000000001"},"sender":{"id":"12334"},"timestamp":"1795521600"}}],"id":"17841400000000001","time":1795521600}],"object":"instagram"}`,
		},
		"a reaction on Instagram with ids as numbers, not escaped": {
			metatest.Event{Channel: "instagram", Kind: "reaction", Target: "X", Value: "❤", NumericIDs: true, UTF8: true},
			`{"entry":[{"id":17841400000000001,"messaging":[{"reaction":{"action":"react","emoji":"❤","mid":"X","reaction":"love"},"recipient":{"id":17841400000000001},"sender":{"id":6001000000000001},"timestamp":1795521600123}],"time":1795521600123}],"object":"instagram"}`,
		},
		"an unsent message": {
			metatest.Event{Channel: "instagram", Kind: "unsend", Target: "X"},
			`{"entry":[{"id":"17841400000000001","messaging":[{"message":{"is_deleted":true,"mid":"X"},"recipient":{"id":"17841400000000001"},"sender":{"id":"6001000000000001"},"timestamp":1795521600123}],"time":1795521600123}],"object":"instagram"}`,
		},
	} {
		t.Run(name+" has Meta's shape", func(t *testing.T) {
			t.Parallel()
			tc.event.At = when
			if _, got := payload(t, start(t, metatest.Config{}), tc.event); got != tc.want {
				t.Errorf("is\n%s, want\n%s", got, tc.want)
			}
		})
	}
	t.Run("a stranger has the same user id whenever they write", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		e := metatest.Event{Channel: "whatsapp", Name: "Davi", ID: "wamid.X", At: when}
		if err := json.Unmarshal([]byte(`"+5511955550000"`), &e.From); err != nil {
			t.Fatal(err)
		}
		first, one := payload(t, s, e)
		_, two := payload(t, start(t, metatest.Config{}), e)
		if one != two || at(first, "entry", 0, "changes", 0, "value", "contacts", 0, "profile", "name") != "Davi" {
			t.Errorf("is %s, then %s", one, two)
		}
	})
	t.Run("up to a thousand messages come in one webhook, each with its own id", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		body, ids, err := s.Payload(metatest.Event{Channel: "whatsapp", Count: 1000})
		messages, _ := at(decode(t, body), "entry", 0, "changes", 0, "value", "messages").([]any)
		unique := slices.Compact(slices.Sorted(slices.Values(ids)))
		if err != nil || len(messages) != 1000 || len(unique) != 1000 || at(messages, 999, "id") != ids[999] {
			t.Errorf("%d messages, %d ids (%v)", len(messages), len(unique), err)
		}
	})
	t.Run("says what cannot be played", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		for want, e := range map[string]metatest.Event{
			"channel": {Channel: "pigeon"}, "story_reply is none of": {Channel: "whatsapp", Kind: "story_reply"}, "target": {Channel: "whatsapp", Kind: "edit"},
			"count": {Channel: "whatsapp", Count: 1001}, "one id": {Channel: "whatsapp", Count: 2, ID: "x"}, "no phone number 1": {Channel: "whatsapp", To: "1"},
			"no account": {Channel: "instagram", To: metatest.DefaultPageID}, "form": {Channel: "facebook", Form: "letter"}, "without": {Channel: "whatsapp", Without: []string{"shoes"}},
			"not on instagram": {Channel: "instagram", From: metatest.From{Person: metatest.Person{PSID: "1"}}},
		} {
			if _, _, err := s.Payload(e); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %v, want one of %q", e, err, want)
			}
		}
	})
	t.Run("webhooks of a person that are queued keep their order", func(t *testing.T) {
		t.Parallel()
		back := newCallback(t)
		s := start(t, metatest.Config{CallbackURL: back.URL})
		var want []string
		for range 200 {
			ids, err := s.PlayLater(metatest.Event{Channel: "whatsapp"})
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, ids...)
		}
		var got []string
		for _, h := range back.settled(t, s.Server) {
			got = append(got, fmt.Sprint(at(decode(t, h.Body), "entry", 0, "changes", 0, "value", "messages", 0, "id")))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d came, in another order", len(got))
		}
	})
}

func TestServer_Control(t *testing.T) {
	t.Parallel()
	back := newCallback(t)
	back.verify = "token-1"
	s := start(t, metatest.Config{VerifyToken: "token-1"})
	must := func(t *testing.T, method, path, body string, want int) map[string]any {
		t.Helper()
		status, answer := s.call(t, method, path, "", body)
		if status != want {
			t.Fatalf("%s %s %s: answered %d %v, want %d", method, path, body, status, answer, want)
		}
		return answer
	}

	answer := must(t, http.MethodPost, "/simulate/message", `{"channel": "whatsapp"}`, http.StatusBadGateway)
	if at(answer, "webhook", "says") != "there is no callback URL" {
		t.Errorf("without a callback the answer is %v", answer)
	}
	must(t, http.MethodPut, "/simulate/callback", fmt.Sprintf(`{"url": %q}`, back.URL), http.StatusOK)
	must(t, http.MethodPost, "/simulate/verify", `{}`, http.StatusOK)

	answer = must(t, http.MethodPost, "/simulate/message", `{"channel": "whatsapp", "kind": "text", "from": "+5511900000001", "name": "Ana", "text": "oi"}`, http.StatusOK)
	hooks := back.hooks()
	hooks[0].verified(t, metatest.DefaultAppSecret)
	if message := at(decode(t, hooks[0].Body), "entry", 0, "changes", 0, "value", "messages", 0); at(message, "text", "body") != "oi" || at(message, "id") != at(answer, "ids", 0) ||
		at(answer, "webhook", "status") != 200.0 || at(answer, "webhook", "body", "object") != "whatsapp_business_account" || answer["simulated"] != true {
		t.Errorf("sends %s, answers %v", hooks[0].Body, answer)
	}

	raw := "{\"anything\": [1,  2]}"
	must(t, http.MethodPost, "/simulate/webhook", raw, http.StatusOK)
	if last := back.hooks()[1]; string(last.Body) != raw {
		t.Errorf("sends %s, want it as it was given", last.Body)
	} else {
		last.verified(t, metatest.DefaultAppSecret)
	}
	must(t, http.MethodPost, "/simulate/redeliver", `{"last": 1}`, http.StatusOK)
	if hooks := back.settled(t, s.Server); len(hooks) != 3 || string(hooks[2].Body) != raw {
		t.Errorf("%d webhooks came", len(hooks))
	}

	must(t, http.MethodPut, "/simulate/statuses", `{"none": true}`, http.StatusOK)
	must(t, http.MethodPost, "/simulate/faults", `{"kind": "error", "error": {"code": 131056}, "next": 1, "delayMs": 1}`, http.StatusOK)
	if faults := must(t, http.MethodGet, "/simulate/faults", "", http.StatusOK); at(faults, "data", 0, "error", "code") != 131056.0 || at(faults, "data", 0, "delayMs") != 1.0 {
		t.Errorf("the faults are %v", faults)
	}
	if status, answer := s.call(t, http.MethodPost, numberPath, metatest.DefaultNumberToken, textTo("+5511900000001")); status != http.StatusBadRequest {
		t.Errorf("a send with a fault is answered %d %v", status, answer)
	}
	s.send(t, "+5511900000001")
	s.send(t, "+5511900000002")
	if sent := must(t, http.MethodGet, "/simulate/sent?to=%2B5511900000001", "", http.StatusOK); sent["total"] != 1.0 || at(sent, "data", 0, "body", "text", "body") != "oi" {
		t.Errorf("sent is %v", sent)
	}
	if sent := must(t, http.MethodGet, "/simulate/sent?limit=1", "", http.StatusOK); sent["total"] != 2.0 || at(sent, "data", 0, "to") != "+5511900000002" || at(sent, "data", 1) != nil {
		t.Errorf("sent is %v", sent)
	}
	if counts := must(t, http.MethodGet, "/simulate/counts?spanMs=60000", "", http.StatusOK); at(counts, "peaks", metatest.DefaultNumberID) != 2.0 || at(counts, "refused", "131056") != 1.0 {
		t.Errorf("the counts are %v", counts)
	}
	if webhooks := must(t, http.MethodGet, "/simulate/webhooks?limit=1", "", http.StatusOK); at(webhooks, "data", 0, "attempts") != 1.0 {
		t.Errorf("the webhooks are %v", webhooks)
	}

	must(t, http.MethodPut, "/simulate/limits", `{"numberPerSecond": 1, "pairEveryMs": 6000}`, http.StatusOK)
	must(t, http.MethodPut, "/simulate/numbers", `{"id": "9", "wabaId": "8", "phone": "+551140000009", "token": "t9"}`, http.StatusOK)
	must(t, http.MethodPost, "/simulate/people", `{"phone": "+5511900000007", "name": "Eva"}`, http.StatusOK)
	if status, _ := s.call(t, http.MethodGet, "/9", "t9", ""); status != http.StatusOK {
		t.Errorf("a new number is answered %d", status)
	}
	must(t, http.MethodPost, "/simulate/tokens/revoke", `{"token": "t9"}`, http.StatusOK)
	if status, _ := s.call(t, http.MethodGet, "/9", "t9", ""); status != http.StatusUnauthorized {
		t.Errorf("a revoked token is answered %d", status)
	}
	must(t, http.MethodPost, "/simulate/tokens/restore", `{"token": "t9"}`, http.StatusOK)
	if world := must(t, http.MethodGet, "/simulate/world", "", http.StatusOK); at(world, "numbers", 1, "id") != "9" {
		t.Errorf("the world is %v", world)
	}

	for path, body := range map[string]string{
		"/simulate/message": `{"channel": "whatsapp", "shoes": 1}`, "/simulate/faults": `{"kind": "flood"}`, "/simulate/redeliver": `{}`, "/simulate/tokens/revoke": `[`,
	} {
		if answer := must(t, http.MethodPost, path, body, http.StatusUnprocessableEntity); answer["error"] == nil {
			t.Errorf("%s: answered %v", path, answer)
		}
	}
	must(t, http.MethodGet, "/simulate/nothing", "", http.StatusNotFound)
	t.Run("a page of another site cannot play", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/simulate/message", strings.NewReader(`{"channel": "whatsapp"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "text/plain") // what needs no asking first
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusUnsupportedMediaType {
			t.Errorf("answered %s", resp.Status)
		}
	})
	back.verify = "another"
	must(t, http.MethodPost, "/simulate/verify", `{}`, http.StatusBadGateway)
}

func TestServer_ServesMany(t *testing.T) {
	t.Parallel()
	back := newCallback(t)
	s := start(t, metatest.Config{CallbackURL: back.URL})
	const people, each = 8, 20
	var calling sync.WaitGroup
	for person := range people {
		calling.Go(func() {
			for range each {
				to := fmt.Sprintf("+551190000100%d", person)
				status, _, body, err := s.do(t, http.MethodPost, numberPath, metatest.DefaultNumberToken, textTo(to))
				if err != nil || status != http.StatusOK {
					t.Errorf("a send is answered %d %s (%v)", status, body, err)
				}
			}
		})
	}
	calling.Wait()
	came := make(map[any][]any) // by person
	for _, h := range back.settled(t, s.Server) {
		st := at(decode(t, h.Body), "entry", 0, "changes", 0, "value", "statuses", 0)
		came[at(st, "recipient_id")] = append(came[at(st, "recipient_id")], at(st, "status"))
	}
	want := slices.Repeat([]any{"sent", "delivered", "read"}, each)
	for person, states := range came {
		if !slices.Equal(states, want) {
			t.Errorf("the statuses of %v are %v", person, states)
		}
	}
	if counts := s.Count(time.Hour); len(came) != people || counts.Accepted != people*each || counts.Peaks[metatest.DefaultNumberID] != people*each {
		t.Errorf("statuses of %d people, %+v", len(came), counts)
	}
}

func TestServer_Close(t *testing.T) {
	t.Parallel()
	t.Run("cuts requests in hand off, and waits for them", func(t *testing.T) {
		t.Parallel()
		waits := make(chan struct{})
		now := func() time.Time { // which an accepted send asks for
			select {
			case <-waits:
			default:
				close(waits)
			}
			return time.Now()
		}
		s := metatest.New(metatest.Config{Now: now})
		if _, err := s.Inject(metatest.Fault{Kind: metatest.FaultSlowBody, Delay: metatest.Ms(time.Hour), Next: 1}); err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(s) // which Close does not know
		defer server.Close()
		ended := make(chan error, 1)
		go func() {
			_, _, _, err := simulated{s, server.URL}.do(t, http.MethodPost, numberPath, metatest.DefaultNumberToken, textTo("+5511900000001"))
			ended <- err
		}()
		<-waits
		began := time.Now()
		s.Close()
		if took := time.Since(began); took > patience/2 { // the caller gives up after patience
			t.Errorf("ended after %s", took)
		}
		if err := <-ended; err == nil {
			t.Error("the request was answered whole")
		}
	})
	s := metatest.New(metatest.Config{})
	if _, err := s.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close() // may be asked twice
	if url, err := s.Listen(t.Context(), "127.0.0.1:0"); err == nil {
		t.Errorf("listens at %s after its end", url)
	}
	if err := s.Settle(context.WithoutCancel(t.Context())); err != nil {
		t.Errorf("nothing was under way: %v", err)
	}
}
