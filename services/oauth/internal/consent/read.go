package consent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
	"github.com/primezap/primezap/services/oauth/internal/refusal"
)

// found is what somebody has allowed.
type found struct {
	token            login.Token
	info             login.Info
	user             login.User
	granted, missing []string
	pages            []login.Page
	accounts         []login.InstagramAccount
	warnings         []openapi.OAuthWarning
}

// listing is the permission without which nobody has pages.
const listing = "pages_show_list"

// read makes a token of the code, and reads what it is good for.
func (s *Service) read(ctx context.Context, in openapi.ExchangeCodeAction, state login.State) (*found, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Times.Reading)
	defer cancel()
	token, err := s.App.Exchange(ctx, in.Code, in.RedirectURI, state.Verifier)
	if err != nil {
		return nil, err
	}
	f := &found{token: token}
	var left []login.Warning
	reads, reading := errgroup.WithContext(ctx)
	reads.Go(func() (err error) {
		f.user, err = s.App.Me(reading, token.AccessToken)
		return err
	})
	reads.Go(func() (err error) {
		f.granted, f.missing, err = s.App.Permissions(reading, token.AccessToken, state.Scopes)
		return err
	})
	reads.Go(func() (err error) {
		f.info, err = s.App.Debug(reading, token.AccessToken)
		return err
	})
	reads.Go(func() (err error) {
		f.pages, left, err = s.App.Pages(reading, token.AccessToken)
		return err
	})
	if err := reads.Wait(); err != nil {
		return nil, err
	}
	if err := f.verify(s.Login.AppID); err != nil {
		return nil, err
	}
	f.leave(left)
	f.withoutMessaging()

	looking, stop := context.WithTimeout(ctx, s.Times.Instagram)
	defer stop()
	f.accounts, left = s.App.InstagramAccounts(looking, f.pages)
	f.leave(left)
	return f, nil
}

var (
	errOtherApp  = errors.New("the token is another app's")
	errOtherUser = errors.New("the token is another user's")
)

// verify makes sure that the token is what it was asked for, and that it shows pages.
func (f *found) verify(app string) error {
	switch {
	case !f.info.Valid:
		return refusal.Dead(f.info, "Meta does not take the token that it gave")
	case f.info.AppID != app:
		return refusal.Unusable("Meta gave a token of another app").WithCause(errOtherApp)
	case f.info.UserID != f.user.ID:
		return refusal.Unusable("Meta gave a token of another user").WithCause(errOtherUser)
	case !slices.Contains(f.granted, listing):
		missing := f.missing
		if !slices.Contains(missing, listing) {
			missing = append(slices.Clone(missing), listing)
		}
		return refusal.Permission("without "+listing+" no page can be seen, and it was not granted: begin the login anew, with authType rerequest", missing...)
	}
	return nil
}

func (f *found) leave(warnings []login.Warning) {
	for _, w := range warnings {
		f.warnings = append(f.warnings, refusal.Left(w))
	}
}

// withoutMessaging warns of pages for which the user may not write, as far as Meta says
// what they may.
func (f *found) withoutMessaging() {
	for _, page := range f.pages {
		if len(page.Tasks) > 0 && !slices.Contains(page.Tasks, "MESSAGING") {
			f.warnings = append(f.warnings, refusal.Warning(refusal.PageWithoutMessaging,
				fmt.Sprintf("the user may not write for page %s", page.ID), page.ID, "", nil))
		}
	}
}
