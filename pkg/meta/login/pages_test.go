package login_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
)

// pageJSON is a page as Meta lists it.
func pageJSON(n int) string {
	return fmt.Sprintf(`{"id":"%d","name":"Loja %d","category":"Store","access_token":"%s","tasks":["MESSAGING","MODERATE"],"instagram_business_account":{"id":"1784%d"}}`, n, n, pageToken, n)
}

// list is a page of a list; next leads astray.
func list(after, next string, pages ...string) string {
	return fmt.Sprintf(`{"data":[%s],"paging":{"cursors":{"after":%q},"next":%s}}`, strings.Join(pages, ","), after, next)
}

func ids(pages []login.Page) (all []string) {
	for _, p := range pages {
		all = append(all, p.ID)
	}
	return all
}

func TestApp_Pages(t *testing.T) {
	t.Parallel()
	t.Run("all are read, by cursors that are not followed", func(t *testing.T) {
		t.Parallel()
		astray := serve(t, says(`{}`))
		next, _ := json.Marshal(astray.URL + "/v26.0/777/accounts?access_token=" + userToken + "&after=elsewhere")
		g := serve(t, says(
			list("one", string(next), pageJSON(1), pageJSON(2)),
			list("two", string(next)), // empty, and yet not the end
			list("three", string(next), pageJSON(2), pageJSON(3)),
			list("four", "null", pageJSON(4)), // a cursor, and yet the end
		))
		pages, warnings, err := app(t, settings, g.URL).Pages(t.Context(), userToken)
		if err != nil || len(warnings) > 0 || !slices.Equal(ids(pages), []string{"1", "2", "3", "4"}) {
			t.Fatalf("pages %v, %v, %v", pages, warnings, err)
		}
		want := login.Page{ID: "1", Name: "Loja 1", Category: "Store", AccessToken: pageToken, Tasks: []string{"MESSAGING", "MODERATE"}, InstagramID: "17841"}
		if !reflect.DeepEqual(pages[0], want) {
			t.Errorf("page %+v", pages[0])
		}
		var cursors []string
		for _, c := range g.asked() {
			cursors = append(cursors, c.params.Get("after"))
			if c.path != "/v25.0/me/accounts" || c.params.Get("limit") != "100" || c.params.Has("access_token") {
				t.Errorf("asked %+v", c)
			}
		}
		if !slices.Equal(cursors, []string{"", "one", "two", "three"}) || len(astray.asked()) > 0 {
			t.Errorf("cursors %q, and %d calls elsewhere", cursors, len(astray.asked()))
		}
		proves(t, g.asked())
	})
	t.Run("what cannot be used is a warning, and the rest is read", func(t *testing.T) {
		t.Parallel()
		g := serve(t, says(list("x", "null",
			`{"id":1,"name":"Loja","access_token":"`+pageToken+`","tasks":"none","instagram_business_account":null}`,
			`{"id":"2"}`, `{"id":"3","access_token":null}`, `{"id":"4","access_token":"a b"}`, `{"id":"../me","access_token":"`+pageToken+`"}`, `7`, `{"name":"`+pageToken+`"}`)))
		pages, warnings, err := app(t, settings, g.URL).Pages(t.Context(), userToken)
		if err != nil || !reflect.DeepEqual(pages, []login.Page{{ID: "1", Name: "Loja", AccessToken: pageToken}}) {
			t.Fatalf("pages %v, %v", pages, err)
		}
		var got []string
		for _, w := range warnings {
			got = append(got, string(w.Reason)+" "+w.Page)
			if w.Err != nil {
				hides(t, w.Err)
			}
		}
		if want := []string{"page_without_token 2", "page_without_token 3", "page_without_token 4", "page_unreadable ", "page_unreadable ", "page_unreadable "}; !slices.Equal(got, want) {
			t.Errorf("warnings %q, want %q", got, want)
		}
	})
	t.Run("there is an end to it", func(t *testing.T) {
		t.Parallel()
		many := func(w http.ResponseWriter, _ call, before int) {
			var all []string
			for n := range 100 {
				all = append(all, pageJSON(before*100+n))
			}
			_, _ = io.WriteString(w, list(fmt.Sprint(before), `"x"`, all...))
		}
		empty := func(w http.ResponseWriter, _ call, before int) {
			_, _ = io.WriteString(w, list(fmt.Sprint(before), `"x"`))
		}
		for name, tc := range map[string]struct {
			with            answer
			pages, requests int
		}{
			"of pages":                      {many, login.MaxPages, login.MaxPages/100 + 1},
			"of requests":                   {empty, 0, login.MaxRequests},
			"of a cursor that comes again":  {says(list("same", `"x"`, pageJSON(1))), 1, 2},
			"of a list that has no cursors": {says(list("", `"x"`, pageJSON(1))), 1, 1},
		} {
			g := serve(t, tc.with)
			pages, warnings, err := app(t, settings, g.URL).Pages(t.Context(), userToken)
			if err != nil || len(pages) != tc.pages || len(g.asked()) != tc.requests || len(warnings) != 1 || warnings[0].Reason != login.PagesCut {
				t.Errorf("%s: %d pages by %d requests, %v, %v; want %d by %d, and a warning", name, len(pages), len(g.asked()), warnings, err, tc.pages, tc.requests)
			}
		}
	})
	t.Run("a list that breaks off is an error, not a short list", func(t *testing.T) {
		t.Parallel()
		g := serve(t, func(w http.ResponseWriter, _ call, before int) {
			if before == 0 {
				_, _ = io.WriteString(w, list("one", `"x"`, pageJSON(1)))
				return
			}
			refuses(w, 400, 4, 0, "limit "+userToken)
		})
		pages, _, err := app(t, settings, g.URL).Pages(t.Context(), userToken)
		if failed, ok := errors.AsType[*meta.Error](err); !ok || failed.Class != meta.RateLimited || pages != nil {
			t.Errorf("pages %v, %v", pages, err)
		}
		hides(t, err)
	})
}

func TestApp_InstagramAccounts(t *testing.T) {
	t.Parallel()
	linked := func(n int) (pages []login.Page) {
		for i := 1; i <= n; i++ {
			pages = append(pages, login.Page{ID: fmt.Sprint(i), InstagramID: fmt.Sprint(1000 + i), AccessToken: fmt.Sprint("token", i)})
		}
		return pages
	}
	t.Run("each is read with its page's token, and what cannot be read is a warning", func(t *testing.T) {
		t.Parallel()
		g := serve(t, func(w http.ResponseWriter, c call, _ int) {
			switch c.path {
			case "/v25.0/1001":
				_, _ = io.WriteString(w, `{"id":"1001","username":"loja","name":"Loja","profile_picture_url":"https://cdn.example.com/p.jpg","followers_count":0}`)
			case "/v25.0/1002":
				refuses(w, 403, 10, 0, "no permission with "+c.token)
			case "/v25.0/1003":
				_, _ = io.WriteString(w, `{"id":"1"}`)
			case "/v25.0/1004":
				_, _ = io.WriteString(w, `{"id":1004}`)
			}
		})
		pages := slices.Insert(linked(4), 1, login.Page{ID: "9", AccessToken: "unlinked"})
		accounts, warnings := app(t, settings, g.URL).InstagramAccounts(t.Context(), pages)
		none := 0
		want := []login.InstagramAccount{
			{ID: "1001", Username: "loja", Name: "Loja", ProfilePictureURL: "https://cdn.example.com/p.jpg", FollowersCount: &none, PageID: "1"},
			{ID: "1004", PageID: "4"},
		}
		if !reflect.DeepEqual(accounts, want) {
			t.Errorf("accounts %+v", accounts)
		}
		if len(warnings) != 2 || warnings[0].Page != "2" || warnings[0].Account != "1002" || !errors.Is(warnings[1].Err, meta.ErrOtherAccount) {
			t.Fatalf("warnings %v", warnings)
		}
		if failed, ok := errors.AsType[*meta.Error](warnings[0].Err); !ok || failed.Code != 10 || strings.Contains(failed.Message, "token2") {
			t.Errorf("warning %v", warnings[0])
		}
		for _, c := range g.asked() {
			if want := "token" + strings.TrimPrefix(c.path, "/v25.0/100"); c.token != want {
				t.Errorf("asked %s with %s", c.path, c.token)
			}
		}
		proves(t, g.asked())
	})
	t.Run("a few at a time", func(t *testing.T) {
		t.Parallel()
		var now, most atomic.Int32
		var once sync.Once
		full, tooMany := make(chan struct{}), make(chan struct{}, 5*login.Parallel)
		g := serve(t, func(w http.ResponseWriter, c call, _ int) {
			n := now.Add(1)
			defer now.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			switch {
			case n > login.Parallel:
				tooMany <- struct{}{}
			case n == login.Parallel:
				once.Do(func() { // the calls go on when as many are there as may be, and no more come
					select {
					case <-tooMany:
					case <-time.After(100 * time.Millisecond):
					}
					close(full)
				})
			}
			<-full
			_, _ = fmt.Fprintf(w, `{"id":%q}`, strings.TrimPrefix(c.path, "/v25.0/"))
		})
		accounts, warnings := app(t, settings, g.URL).InstagramAccounts(t.Context(), linked(5*login.Parallel))
		if len(accounts) != 5*login.Parallel || len(warnings) > 0 || most.Load() != login.Parallel {
			t.Errorf("%d accounts, %v, %d at a time", len(accounts), warnings, most.Load())
		}
	})
	t.Run("when Meta throttles, also if it calls that transient, the rest is not asked for", func(t *testing.T) {
		t.Parallel()
		g := serve(t, func(w http.ResponseWriter, _ call, _ int) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":{"message":"limit","type":"OAuthException","code":4,"is_transient":true}}`)
		})
		accounts, warnings := app(t, settings, g.URL).InstagramAccounts(t.Context(), linked(200))
		if len(accounts) > 0 || len(warnings) != 200 || len(g.asked()) > 2*login.Parallel {
			t.Errorf("%d accounts, %d warnings after %d calls", len(accounts), len(warnings), len(g.asked()))
		}
		for _, w := range warnings {
			if failed, ok := errors.AsType[*meta.Error](w.Err); !ok || !failed.Throttled() || w.Account == "" {
				t.Fatalf("warning %v", w)
			}
		}
	})
	t.Run("when there is no more time, what was read stays, and the rest is not asked for", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int32
		g := serve(t, func(w http.ResponseWriter, c call, _ int) {
			if calls.Add(1) > login.Parallel { // whoever asks has read an answer before
				cancel()
				<-ctx.Done()
			}
			_, _ = fmt.Fprintf(w, `{"id":%q}`, strings.TrimPrefix(c.path, "/v25.0/"))
		})
		accounts, warnings := app(t, settings, g.URL).InstagramAccounts(ctx, linked(200))
		if len(accounts) == 0 || len(accounts)+len(warnings) != 200 || len(g.asked()) > 2*login.Parallel {
			t.Errorf("%d accounts, %d warnings after %d calls", len(accounts), len(warnings), len(g.asked()))
		}
	})
}
