package metatest_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

// clientOf is the product's own client of a server.
func clientOf(t *testing.T, s simulated, timeout time.Duration) *meta.Client {
	t.Helper()
	c, err := meta.NewClient(meta.Config{AppSecrets: []string{metatest.DefaultAppSecret}, GraphURL: s.url, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestServer_Nodes(t *testing.T) {
	t.Parallel()
	s := start(t, metatest.Config{RequireProof: true})
	t.Run("the product's client finds every account by its token", func(t *testing.T) {
		t.Parallel()
		c := clientOf(t, s, patience)
		for _, tc := range []struct {
			channel         messaging.Channel
			id, token, name string
		}{
			{messaging.WhatsApp, metatest.DefaultNumberID, metatest.DefaultNumberToken, "+55 11 4000-0001"},
			{messaging.Facebook, metatest.DefaultPageID, metatest.DefaultPageToken, "Loja Exemplo"},
			{messaging.Instagram, metatest.DefaultAccountID, metatest.DefaultPageToken, "loja.exemplo"},
		} {
			account, err := c.Account(t.Context(), tc.channel, tc.id, tc.token)
			if err != nil || account.ID != tc.id || account.Name != tc.name {
				t.Errorf("%s: %+v (%v), want %s", tc.channel, account, err, tc.name)
			}
		}
	})
	open := start(t, metatest.Config{})
	get := func(t *testing.T, path, token string) (int, map[string]any) {
		t.Helper()
		return open.call(t, http.MethodGet, path, token, "")
	}
	t.Run("fields are answered as asked for, with the id", func(t *testing.T) {
		t.Parallel()
		status, page := get(t, "/v25.0/"+metatest.DefaultPageID+"?fields=name,access_token,instagram_business_account{id,username}", metatest.DefaultUserToken)
		if status != http.StatusOK || len(page) != 4 || page["access_token"] != metatest.DefaultPageToken ||
			at(page, "instagram_business_account", "username") != "loja.exemplo" || at(page, "instagram_business_account", "name") != nil {
			t.Errorf("answered %d %v", status, page)
		}
		status, answer := get(t, "/v25.0/"+metatest.DefaultNumberID+"?fields=id,shoe_size", metatest.DefaultNumberToken)
		if c, _ := code(answer); status != http.StatusBadRequest || c != 100 || !strings.Contains(at(answer, "error", "message").(string), "shoe_size") {
			t.Errorf("answered %d %v", status, answer)
		}
	})
	t.Run("me is whoever has the token", func(t *testing.T) {
		t.Parallel()
		for token, id := range map[string]string{
			metatest.DefaultPageToken: metatest.DefaultPageID, metatest.DefaultUserToken: metatest.DefaultUserID, metatest.DefaultNumberToken: "122000000000001",
		} {
			if status, me := get(t, "/me", token); status != http.StatusOK || me["id"] != id {
				t.Errorf("%s: answered %d %v", token, status, me)
			}
		}
	})
	t.Run("a version may be there or not, and must be one", func(t *testing.T) {
		t.Parallel()
		for path, want := range map[string]int{"/me": 0, "/v25.0/me": 0, "/v3.2/me": 0, "/v99.0/me": 2500, "/v25/me": 100, "/25.0/me": 100, "/v25.0/me/a/b": 2500, "/v0.1/me": 2500} {
			if _, answer := get(t, path, metatest.DefaultPageToken); answer != nil {
				if got, _ := code(answer); got != want {
					t.Errorf("%s: answered %v, want code %d", path, answer, want)
				}
			}
		}
	})
	t.Run("tokens and objects that are not there are refused as Meta refuses them", func(t *testing.T) {
		t.Parallel()
		for name, tc := range map[string]struct {
			path, token           string
			status, code, subcode int
		}{
			"no token":                       {"/" + metatest.DefaultPageID, "", 403, 200, 0},
			"me without token":               {"/me", "", 400, 2500, 0},
			"an unknown token":               {"/me", "EAAother", 401, 190, 0},
			"an unknown object":              {"/12345", metatest.DefaultUserToken, 400, 100, 33},
			"a number with a page's token":   {"/" + metatest.DefaultNumberID, metatest.DefaultPageToken, 400, 100, 33},
			"a page with a number's token":   {"/" + metatest.DefaultPageID, metatest.DefaultNumberToken, 400, 100, 33},
			"an edge that nobody reads":      {"/" + metatest.DefaultPageID + "/conversations", metatest.DefaultPageToken, 400, 100, 0},
			"a token in the query, which is": {"/me?access_token=" + metatest.DefaultPageToken, "", 200, 0, 0},
		} {
			status, answer := get(t, tc.path, tc.token)
			if c, sub := code(answer); status != tc.status || c != tc.code || sub != tc.subcode {
				t.Errorf("%s: answered %d %v", name, status, answer)
			}
		}
	})
	t.Run("a wrong proof is refused, and none where one is demanded", func(t *testing.T) {
		t.Parallel()
		proof := meta.Proof(metatest.DefaultAppSecret, metatest.DefaultPageToken)
		for query, want := range map[string]string{
			"?appsecret_proof=" + proof: "", "": "API calls from the server require an appsecret_proof argument",
			"?appsecret_proof=" + proof[1:]: "Invalid appsecret_proof provided in the API argument",
		} {
			_, answer := s.call(t, http.MethodGet, "/me"+query, metatest.DefaultPageToken, "")
			c, _ := code(answer)
			if want == "" && c != 0 || want != "" && (c != 100 || at(answer, "error", "message") != want || at(answer, "error", "type") != "GraphMethodException") {
				t.Errorf("%s: answered %v", query, answer)
			}
		}
		if _, answer := open.call(t, http.MethodGet, "/me?appsecret_proof=00", metatest.DefaultPageToken, ""); at(answer, "error") == nil {
			t.Error("a wrong proof is taken where none is demanded")
		}
	})
	t.Run("whom a test adds is there", func(t *testing.T) {
		t.Parallel()
		given := metatest.World{Pages: []metatest.Page{{ID: "3", Name: "Given", Token: "t2"}}}
		s := start(t, metatest.Config{World: &given})
		s.AddNumber(metatest.Number{ID: "1", WABA: "2", Phone: "+16505550100", Name: "Shop", Token: "t1"})
		s.AddPage(metatest.Page{ID: "3", Name: "Old", Token: "t2"})
		s.AddPage(metatest.Page{ID: "3", Name: "New", Token: "t2"})
		s.AddAccount(metatest.Account{ID: "4", Username: "shop", Page: "3"})
		s.AddUser(metatest.User{ID: "5", Name: "Ann", Token: "t3", Pages: []string{"3"}})
		for path, token := range map[string]string{"/1": "t1", "/3": "t2", "/4": "t2", "/5": "t3"} {
			if status, answer := s.call(t, http.MethodGet, path, token, ""); status != http.StatusOK {
				t.Errorf("%s: answered %d %v", path, status, answer)
			}
		}
		if pages := s.World().Pages; len(pages) != 1 || pages[0].Name != "New" || given.Pages[0].Name != "Given" {
			t.Errorf("the pages are %v", pages)
		}
	})
	t.Run("a revoked token is refused until it is restored", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		s.RevokeToken(metatest.DefaultPageToken, 0)
		if status, answer := s.call(t, http.MethodGet, "/me", metatest.DefaultPageToken, ""); status != http.StatusUnauthorized || at(answer, "error", "error_subcode") != 463.0 {
			t.Errorf("answered %d %v", status, answer)
		}
		s.RestoreToken(metatest.DefaultPageToken)
		if status, _ := s.call(t, http.MethodGet, "/me", metatest.DefaultPageToken, ""); status != http.StatusOK {
			t.Errorf("answered %d", status)
		}
	})
}

func TestServer_Form(t *testing.T) {
	t.Parallel()
	s := start(t, metatest.Config{})
	form := url.Values{
		"access_token": {metatest.DefaultPageToken}, "recipient": {`{"id": "5001000000000001"}`}, "message": {`{"text": "oi"}`},
		"appsecret_proof": {meta.Proof(metatest.DefaultAppSecret, metatest.DefaultPageToken)},
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/me/messages", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if sent := s.Sent("5001000000000001"); resp.StatusCode != http.StatusOK || len(sent) != 1 {
		t.Errorf("answered %s, recorded %v", resp.Status, sent)
	}
}

func TestServer_Limits(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	clock := &now // moved between calls, which are one after another
	begin := func(t *testing.T, l metatest.Limits) (s simulated, send func(to string) int) {
		t.Helper()
		own := *clock
		clock := &own
		s = start(t, metatest.Config{Limits: l, Now: func() time.Time { return *clock }})
		return s, func(to string) int {
			if d, err := time.ParseDuration(to); err == nil { // a step of the clock
				*clock = clock.Add(d)
				return 0
			}
			_, answer := s.call(t, http.MethodPost, numberPath, metatest.DefaultNumberToken, textTo(to))
			c, _ := code(answer)
			return c
		}
	}
	const ana, davi = "+5511900000001", "+5511900000002"
	for name, tc := range map[string]struct {
		limits metatest.Limits
		do     []string
		want   []int
	}{
		"sends of a number, in any span of a second": {
			metatest.Limits{NumberPerSecond: 2}, []string{ana, "600ms", davi, "300ms", ana, "100ms", ana, ana, "600ms", ana},
			[]int{0, 0, 0, 0, 130429, 0, 0, 130429, 0, 0},
		},
		"calls for a WhatsApp Business account": {metatest.Limits{WABAPerMinute: 1}, []string{ana, ana, "1m", ana}, []int{0, 80007, 0, 0}},
		"calls of the app":                      {metatest.Limits{AppPerMinute: 1}, []string{ana, ana, "1m", ana}, []int{0, 4, 0, 0}},
		"sends to a person, of which some may be taken ahead": {
			metatest.Limits{PairEvery: metatest.Ms(6 * time.Second), PairBurst: 3}, []string{ana, ana, ana, ana, davi, "6s", ana, ana, "18s", ana, ana, ana, ana},
			[]int{0, 0, 0, 131056, 0, 0, 0, 131056, 0, 0, 0, 0, 131056},
		},
	} {
		t.Run("bound "+name, func(t *testing.T) {
			t.Parallel()
			s, send := begin(t, tc.limits)
			var got []int
			for _, to := range tc.do {
				got = append(got, send(to))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("the codes are %v, want %v", got, tc.want)
			}
			refused := 0
			for _, n := range s.Count(time.Second).Refused {
				refused += n
			}
			if want := len(slices.DeleteFunc(slices.Clone(tc.want), func(c int) bool { return c == 0 })); refused != want {
				t.Errorf("%d calls are counted as refused, want %d", refused, want)
			}
		})
	}
	t.Run("peaks are the most that was accepted in any span", func(t *testing.T) {
		t.Parallel()
		s, send := begin(t, metatest.Limits{})
		for _, to := range []string{ana, "900ms", ana, "100ms", ana, "899ms", ana, "1h", ana} {
			send(to)
		}
		for span, want := range map[time.Duration]int{time.Second: 3, 100 * time.Millisecond: 1, time.Minute: 4} {
			if counts := s.Count(span); counts.Peaks[metatest.DefaultNumberID] != want || counts.Accepted != 5 {
				t.Errorf("within %s: %+v, want %d", span, counts, want)
			}
		}
	})
	t.Run("headers say how much is used", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{Limits: metatest.Limits{AppPerMinute: 10, WABAPerMinute: 4}})
		s.send(t, ana)
		res, err := clientOf(t, s, patience).Get(t.Context(), metatest.DefaultNumberToken, meta.Path{metatest.DefaultNumberID}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if u := res.Usage; u.App == nil || u.App.Calls != 20 || len(u.Business) != 1 || u.Business[0].ID != metatest.DefaultWABA || u.Business[0].Calls != 50 || u.Business[0].Type != "whatsapp" {
			t.Errorf("the usage is %+v", res.Usage)
		}
	})
}
