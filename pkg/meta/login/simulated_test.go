package login_test

import (
	"errors"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

const local = "http://127.0.0.1:8080/oauth/facebook/callback"

// simulated is an app and the platform that it is at.
func simulated(t *testing.T) (*login.App, *metatest.Server) {
	t.Helper()
	server := metatest.New(metatest.Config{RequireProof: true})
	base := server.Start(t)
	platform := meta.Config{AppSecret: metatest.DefaultAppSecret, GraphURL: base}
	client, err := meta.NewClient(platform)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	a, err := login.New(login.Config{AppID: metatest.DefaultAppID, DialogURL: base, Redirects: config.List{local}}, platform, client, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	a.Hurry()
	return a, server
}

// consent is what somebody comes back with.
func consent(t *testing.T, a *login.App, s *metatest.Server, choice metatest.Choice, verifier string) (code string) {
	t.Helper()
	to, err := a.AuthURL(local, "the-state", nil, login.AuthOptions{Verifier: verifier, AuthType: login.Rerequest})
	if err != nil {
		t.Fatal(err)
	}
	back, err := s.Consent(to, choice)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(back)
	if err != nil || u.Query().Get("state") != "the-state" {
		t.Fatalf("came back with %s, %v", back, err)
	}
	return u.Query().Get("code")
}

// TestApp_Simulated goes all the way, as Meta usually answers and as it may.
func TestApp_Simulated(t *testing.T) {
	t.Parallel()
	for name, quirks := range map[string]metatest.Quirks{
		"usually": {},
		"oddly": {
			BareToken: true, NumericIDs: true, TextNumbers: true, NoTargets: true, TextSuccess: true,
			PageSize: 2, EmptyPages: 1, Next: "http://127.0.0.1:1/elsewhere",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			a, server := simulated(t)
			server.SetQuirks(quirks)
			user := server.AddUserWithPages(metatest.User{ID: "778", Name: "Rita"}, metatest.Mix{Pages: 9, Instagram: 5, NoToken: 2})
			code := consent(t, a, server, metatest.Choice{User: user.ID, Decline: []string{"instagram_manage_messages"}}, verifier)
			token, err := a.Exchange(ctx, code, local, verifier)
			if left := time.Until(token.ExpiresAt); err != nil || left < 59*24*time.Hour || left > 61*24*time.Hour {
				t.Fatalf("token for %s, %v", left, err)
			}
			if tries := server.CodeTries(); tries[code] != 1 {
				t.Errorf("the code came %d times", tries[code])
			}
			info, err := a.Debug(ctx, token.AccessToken)
			if err != nil || !info.Valid || info.UserID != user.ID || info.AppID != metatest.DefaultAppID || info.DataAccessExpiresAt.IsZero() || !info.ExpiresAt.Equal(token.ExpiresAt.Truncate(time.Second)) && quirks.BareToken {
				t.Errorf("info %+v, %v", info, err)
			}
			if me, err := a.Me(ctx, token.AccessToken); err != nil || me.ID != user.ID || me.Name != "Rita" {
				t.Errorf("user %+v, %v", me, err)
			}
			granted, missing, err := a.Permissions(ctx, token.AccessToken, login.DefaultScopes())
			if err != nil || !slices.Contains(granted, "instagram_basic") || !slices.Equal(missing, []string{"instagram_manage_messages"}) {
				t.Errorf("granted %q, missing %q, %v", granted, missing, err)
			}
			pages, warnings, err := a.Pages(ctx, token.AccessToken)
			if err != nil || len(pages) != 7 || len(warnings) != 2 || warnings[0].Reason != login.PageWithoutToken {
				t.Fatalf("pages %v, %v, %v", pages, warnings, err)
			}
			accounts, warnings := a.InstagramAccounts(ctx, pages)
			if len(accounts) != 5 || len(warnings) > 0 || accounts[0].Username == "" || accounts[0].PageID != pages[0].ID {
				t.Errorf("accounts %+v, %v", accounts, warnings)
			}
			page := pages[0]
			for range 2 {
				if fields, err := a.Subscribe(ctx, page.ID, page.AccessToken, []string{"message_echoes"}); err != nil || !slices.Equal(fields, []string{"message_echoes", "messages", "messaging_postbacks"}) {
					t.Errorf("subscribed to %q, %v", fields, err)
				}
			}
			if there, _ := server.Subscriptions(page.ID); !slices.Equal(there, []string{"message_echoes", "messages", "messaging_postbacks"}) {
				t.Errorf("subscribed to %q", there)
			}
			for range 2 {
				if err := a.Unsubscribe(ctx, page.ID, page.AccessToken); err != nil {
					t.Error(err)
				}
			}
			if fields, err := a.Subscriptions(ctx, page.ID, page.AccessToken); err != nil || len(fields) > 0 {
				t.Errorf("subscribed to %q, %v", fields, err)
			}
			newer, err := a.Refresh(ctx, token.AccessToken)
			if err != nil || newer.AccessToken == token.AccessToken {
				t.Fatalf("the same token, %v", err)
			}
			for range 2 {
				if err := a.Revoke(ctx, user.ID, newer.AccessToken); err != nil {
					t.Error(err)
				}
			}
			if info, err := a.Debug(ctx, newer.AccessToken); err != nil || info.Valid || info.Code != 190 || info.Subcode != 458 {
				t.Errorf("info %+v, %v", info, err)
			}
		})
	}
}

func TestApp_SimulatedRefusals(t *testing.T) {
	t.Parallel()
	a, server := simulated(t)
	used := consent(t, a, server, metatest.Choice{}, "")
	if _, err := a.Exchange(t.Context(), used, local, ""); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		code, verifier string
		want           error
	}{
		"a code that was used":          {used, "", login.ErrCodeUsed},
		"a code that nobody gave":       {"AQDnobody", "", login.ErrCode},
		"a code of another's challenge": {consent(t, a, server, metatest.Choice{}, verifier), "another-verifier", login.ErrCode},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := a.Exchange(t.Context(), tc.code, local, tc.verifier)
			if failed, ok := errors.AsType[*meta.Error](err); !errors.Is(err, tc.want) || !ok || failed.Code != 100 || failed.FBTraceID == "" {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
}

func TestParseSignedRequest_Simulated(t *testing.T) {
	t.Parallel()
	_, server := simulated(t)
	for _, n := range []metatest.Notice{{User: "777"}, {User: "777", Padded: true, NumericID: true}} {
		if got, err := login.ParseSignedRequest([]string{metatest.DefaultAppSecret}, server.SignedRequest(n)); err != nil || got.UserID != "777" || got.IssuedAt.IsZero() {
			t.Errorf("read %+v, %v", got, err)
		}
	}
}
