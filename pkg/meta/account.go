package meta

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/primezap/primezap/pkg/messaging"
)

// Account is what a connection is about: a number, a page or an Instagram account.
type Account struct {
	ID   string
	Name string // the number, the page's name, the user name; empty where Meta has none
}

// ErrOtherAccount means that the token is another account's.
var ErrOtherAccount = errors.New("the token is another account's")

// Account asks Meta for the account with an id, with the token that is said to be
// its own. The errors are those of [Client.Post], and [ErrOtherAccount]; none of a
// read leaves anything behind at Meta.
func (c *Client) Account(ctx context.Context, channel messaging.Channel, id, token string) (Account, error) {
	path := Path{id}
	var fields string
	switch channel {
	case messaging.WhatsApp:
		fields = "id,display_phone_number,verified_name"
	case messaging.Facebook:
		path, fields = Path{"me"}, "id,name" // a page's token says whose it is
	case messaging.Instagram:
		fields = "id,username,name"
	default:
		return Account{}, fmt.Errorf("meta: read account: there is no channel %q", channel)
	}
	res, err := c.Get(ctx, token, path, url.Values{"fields": {fields}})
	if err != nil {
		return Account{}, fmt.Errorf("read account: %w", err)
	}
	var answer struct {
		ID       ID `json:"id"`
		Number   ID `json:"display_phone_number"`
		Verified ID `json:"verified_name"`
		Username ID `json:"username"`
		Name     ID `json:"name"`
	}
	if err := res.Decode(&answer); err != nil {
		return Account{}, fmt.Errorf("read account: %w", err)
	}
	if string(answer.ID) != id {
		return Account{}, fmt.Errorf("read account: %w", ErrOtherAccount)
	}
	account := Account{ID: id}
	for _, name := range []ID{answer.Number, answer.Verified, answer.Username, answer.Name} {
		if name != "" {
			account.Name = bounded(string(name))
			break
		}
	}
	return account, nil
}

// LinkedAccount is the Instagram account that a page is linked with, by the page's
// token: empty where there is none. The errors are those of [Client.Account].
func (c *Client) LinkedAccount(ctx context.Context, page, token string) (string, error) {
	res, err := c.Get(ctx, token, Path{page}, url.Values{"fields": {"id,instagram_business_account"}})
	if err != nil {
		return "", fmt.Errorf("read page: %w", err)
	}
	var answer struct {
		ID      ID `json:"id"`
		Account struct {
			ID ID `json:"id"`
		} `json:"instagram_business_account"`
	}
	if err := res.Decode(&answer); err != nil {
		return "", fmt.Errorf("read page: %w", err)
	}
	if string(answer.ID) != page {
		return "", fmt.Errorf("read page: %w", ErrOtherAccount)
	}
	return string(answer.Account.ID), nil
}
