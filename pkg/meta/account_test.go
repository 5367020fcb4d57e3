package meta_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/meta"
)

func TestClient_Account(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		channel messaging.Channel
		id      string
		status  int
		body    string
		path    string
		fields  string
		want    meta.Account
		err     error // nil with a class: an *Error of it
		class   meta.Class
	}{
		{
			name: "a number", channel: messaging.WhatsApp, id: "800001", status: 200,
			body: `{"verified_name":"Loja","display_phone_number":"+55 11 4000-0001","id":"800001"}`,
			path: "/v25.0/800001", fields: "id,display_phone_number,verified_name",
			want: meta.Account{ID: "800001", Name: "+55 11 4000-0001"},
		},
		{
			name: "a number that is not shown", channel: messaging.WhatsApp, id: "800001", status: 200,
			body: `{"verified_name":"Loja","id":800001}`,
			path: "/v25.0/800001", fields: "id,display_phone_number,verified_name",
			want: meta.Account{ID: "800001", Name: "Loja"},
		},
		{
			name: "a page, by its token", channel: messaging.Facebook, id: "100000000000001", status: 200,
			body: `{"id":100000000000001,"name":"Loja"}`,
			path: "/v25.0/me", fields: "id,name",
			want: meta.Account{ID: "100000000000001", Name: "Loja"},
		},
		{
			name: "an Instagram account", channel: messaging.Instagram, id: "17841400000000011", status: 200,
			body: `{"username":"loja","name":"A Loja","id":"17841400000000011"}`,
			path: "/v25.0/17841400000000011", fields: "id,username,name",
			want: meta.Account{ID: "17841400000000011", Name: "loja"},
		},
		{
			name: "an account without a name", channel: messaging.Instagram, id: "1", status: 200, body: `{"id":"1","username":null}`,
			path: "/v25.0/1", fields: "id,username,name", want: meta.Account{ID: "1"},
		},
		{
			name: "another page's token", channel: messaging.Facebook, id: "1", status: 200, body: `{"id":"2","name":"x"}`,
			path: "/v25.0/me", fields: "id,name", err: meta.ErrOtherAccount,
		},
		{
			name: "a number called me is the token's owner", channel: messaging.WhatsApp, id: "me", status: 200, body: `{"id":"2"}`,
			path: "/v25.0/me", fields: "id,display_phone_number,verified_name", err: meta.ErrOtherAccount,
		},
		{
			name: "an answer without an id", channel: messaging.Facebook, id: "1", status: 200, body: `{}`,
			path: "/v25.0/me", fields: "id,name", err: meta.ErrOtherAccount,
		},
		{
			name: "a token that is not taken", channel: messaging.Facebook, id: "1", status: 400, body: `{"error":{"code":190,"error_subcode":463}}`,
			path: "/v25.0/me", fields: "id,name", class: meta.Auth,
		},
		{
			name: "an answer of another form", channel: messaging.Facebook, id: "1", status: 200, body: `[]`,
			path: "/v25.0/me", fields: "id,name", err: meta.ErrOutcomeUnknown,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, says(tc.status, tc.body))
			got, err := client(t, withSecrets, g.URL).Account(t.Context(), tc.channel, tc.id, token)
			failed, ok := errors.AsType[*meta.Error](err)
			switch {
			case got != tc.want:
				t.Errorf("account %+v, want %+v", got, tc.want)
			case tc.class != "" && (!ok || failed.Class != tc.class):
				t.Errorf("error %v, want class %s", err, tc.class)
			case tc.class == "" && !errors.Is(err, tc.err):
				t.Errorf("error %v, want %v", err, tc.err)
			}
			asked := g.asked()
			if len(asked) != 1 || asked[0].method != http.MethodGet || asked[0].path != tc.path || asked[0].query.Get("fields") != tc.fields {
				t.Errorf("asked %+v", asked)
			}
		})
	}
	t.Run("an unknown channel and a strange id are not asked for", func(t *testing.T) {
		t.Parallel()
		g := serve(t, says(200, `{}`))
		c := client(t, withSecrets, g.URL)
		if _, err := c.Account(t.Context(), "sms", "1", token); err == nil {
			t.Error("no error for a channel that does not exist")
		}
		if _, err := c.Account(t.Context(), messaging.WhatsApp, "../me", token); !errors.Is(err, meta.ErrPath) {
			t.Errorf("error %v, want ErrPath", err)
		}
		if asked := g.asked(); len(asked) != 0 {
			t.Errorf("asked %+v", asked)
		}
	})
}

func TestClient_LinkedAccount(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		want   string
		err    error
	}{
		"the page's account":           {200, `{"id":"1","instagram_business_account":{"id":"17841400000000011"}}`, "17841400000000011", nil},
		"ids that are numbers":         {200, `{"id":1,"instagram_business_account":{"id":17841400000000011}}`, "17841400000000011", nil},
		"a page without an account":    {200, `{"id":"1"}`, "", nil},
		"a page that says it has none": {200, `{"id":"1","instagram_business_account":null}`, "", nil},
		"another page":                 {200, `{"id":"2","instagram_business_account":{"id":"3"}}`, "", meta.ErrOtherAccount},
		"an answer of another form":    {200, `{"id":"1","instagram_business_account":[]}`, "", meta.ErrOutcomeUnknown},
		"a gateway's answer":           {502, ``, "", meta.ErrOutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, says(tc.status, tc.body))
			got, err := client(t, withSecrets, g.URL).LinkedAccount(t.Context(), "1", token)
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("account %q, %v; want %q, %v", got, err, tc.want, tc.err)
			}
			asked := g.asked()
			if len(asked) != 1 || asked[0].path != "/v25.0/1" || asked[0].query.Get("fields") != "id,instagram_business_account" {
				t.Errorf("asked %+v", asked)
			}
		})
	}
}
