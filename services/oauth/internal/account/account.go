// Package account makes of pages and Instagram accounts, as Meta tells of them, what
// they are connected as.
package account

import (
	"cmp"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/meta/login"
)

// OfPage is a page with its token, by the grant that it came by, nil for none.
func OfPage(p login.Page, grant *uuid.UUID) connection.Account {
	return connection.Account{
		Channel: messaging.Facebook, ExternalID: p.ID, Name: p.Name, AccountName: Given(p.Name), Token: p.AccessToken, GrantID: grant,
	}
}

// OfInstagram is an Instagram account, used with the token of its page.
func OfInstagram(a login.InstagramAccount, token string, grant *uuid.UUID) connection.Account {
	name := cmp.Or(a.Username, a.Name)
	return connection.Account{
		Channel: messaging.Instagram, ExternalID: a.ID, PageID: new(a.PageID), Name: name, AccountName: Given(name), Token: token, GrantID: grant,
	}
}

// Given is a text that Meta may leave out: nil where it did.
func Given(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
