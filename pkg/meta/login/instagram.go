package login

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/primezap/primezap/pkg/meta"
)

// InstagramAccount is one that is linked with a page, and used with its token.
type InstagramAccount struct {
	ID                string
	Username          string
	Name              string
	ProfilePictureURL string
	FollowersCount    *int // nil: not said
	PageID            string
}

// parallel is how many accounts are read at a time.
const parallel = 8

// InstagramAccounts are the accounts that are linked with pages, in their order. Those
// that cannot be read are among the warnings; so is the rest when Meta throttles or ctx
// ends: it is not asked for.
func (a *App) InstagramAccounts(ctx context.Context, pages []Page) ([]InstagramAccount, []Warning) {
	type outcome struct {
		account InstagramAccount
		err     error
	}
	var linked []Page
	for _, page := range pages {
		if page.InstagramID != "" {
			linked = append(linked, page)
		}
	}
	outcomes := make([]outcome, len(linked))
	var throttled atomic.Pointer[meta.Error]
	var next atomic.Int64
	var readers sync.WaitGroup
	for range min(parallel, len(linked)) {
		readers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(linked); i = int(next.Add(1)) - 1 {
				o := &outcomes[i]
				if failed := throttled.Load(); failed != nil {
					o.err = failed
					continue
				}
				if o.err = ctx.Err(); o.err != nil {
					continue
				}
				o.account, o.err = a.instagramAccount(ctx, linked[i])
				if failed, ok := errors.AsType[*meta.Error](o.err); ok && failed.Throttled() {
					throttled.Store(failed)
				}
			}
		})
	}
	readers.Wait()
	var accounts []InstagramAccount
	var warnings []Warning
	for i, o := range outcomes {
		if o.err != nil {
			warnings = append(warnings, Warning{Reason: InstagramUnreadable, Page: linked[i].ID, Account: linked[i].InstagramID, Err: o.err})
			continue
		}
		accounts = append(accounts, o.account)
	}
	return accounts, warnings
}

func (a *App) instagramAccount(ctx context.Context, page Page) (InstagramAccount, error) {
	res, err := a.read(ctx, page.AccessToken, meta.Path{page.InstagramID}, url.Values{"fields": {"id,username,name,profile_picture_url,followers_count"}})
	if err != nil {
		return InstagramAccount{}, err
	}
	var answer struct {
		ID        meta.ID   `json:"id"`
		Username  meta.Text `json:"username"`
		Name      meta.Text `json:"name"`
		Picture   link      `json:"profile_picture_url"`
		Followers *seconds  `json:"followers_count"`
	}
	if err := res.Decode(&answer); err != nil {
		return InstagramAccount{}, err
	}
	if string(answer.ID) != page.InstagramID {
		return InstagramAccount{}, meta.ErrOtherAccount
	}
	account := InstagramAccount{
		ID: page.InstagramID, PageID: page.ID,
		Username: string(answer.Username), Name: string(answer.Name), ProfilePictureURL: string(answer.Picture),
	}
	if answer.Followers != nil {
		count := int(*answer.Followers)
		account.FollowersCount = &count
	}
	return account, nil
}

// link is a URL that can be shown; empty where it is none.
type link string

// UnmarshalJSON reads any JSON.
func (l *link) UnmarshalJSON(raw []byte) error {
	*l = ""
	var text string
	if json.Unmarshal(raw, &text) != nil || !opaque(text) {
		return nil //nolint:nilerr // no picture is no fault
	}
	if u, err := url.Parse(text); err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
		*l = link(text)
	}
	return nil
}
