package pages_test

import (
	"errors"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/meta/metatest"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/services/oauth/internal/pages"
)

// A proof that Meta checks would refuse such a token as well, if it asks for one.
func TestService_ProveOtherApp(t *testing.T) {
	t.Parallel()
	platform := meta.Config{GraphURL: metatest.New(metatest.Config{}).Start(t), AppSecret: metatest.DefaultAppSecret, Timeout: 10 * time.Second}
	client, err := meta.NewClient(platform)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	app, err := login.New(login.Config{AppID: metatest.DefaultAppID}, platform, client, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	own, err := pages.Prove(&pages.Service{AppID: metatest.DefaultAppID, App: app}, t.Context(), metatest.DefaultPageID, metatest.DefaultPageToken)
	if err != nil || own.ID != metatest.DefaultPageID || own.InstagramID != metatest.DefaultAccountID || own.AccessToken != metatest.DefaultPageToken {
		t.Errorf("%v, %v", own, err)
	}
	_, err = pages.Prove(&pages.Service{AppID: "10002", App: app}, t.Context(), metatest.DefaultPageID, metatest.DefaultPageToken)
	p, ok := errors.AsType[*problem.Problem](err)
	if !ok || len(p.Errors) != 1 || p.Errors[0].Pointer != "/pageAccessToken" {
		t.Errorf("another app's: %v", err)
	}
}
