package consent

import (
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/services/oauth/internal/account"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
)

// show is the answer: what was found, and what it is connected as.
func (f *found) show(s *stored) openapi.ExchangedCode {
	answer := openapi.ExchangedCode{
		AccessToken:         f.token.AccessToken,
		ExpiresAt:           moment(f.token.ExpiresAt),
		DataAccessExpiresAt: moment(f.info.DataAccessExpiresAt),
		User:                openapi.FacebookUser{ID: f.user.ID, Name: f.user.Name, Email: account.Given(f.user.Email), PictureURL: account.Given(f.user.PictureURL)},
		Pages:               make([]openapi.FacebookPage, len(f.pages)),
		InstagramAccounts:   make([]openapi.InstagramAccount, len(f.accounts)),
		GrantedScopes:       list(f.granted),
		MissingScopes:       list(f.missing),
		Warnings:            append(list(f.warnings), s.warnings...),
		GrantID:             s.grant,
	}
	for i, page := range f.pages {
		answer.Pages[i] = openapi.FacebookPage{
			ID: page.ID, Name: page.Name, Category: page.Category, AccessToken: page.AccessToken, Tasks: list(page.Tasks),
			InstagramBusinessAccountID: account.Given(page.InstagramID), ConnectionID: s.connections[i],
		}
	}
	for i, linked := range f.accounts {
		answer.InstagramAccounts[i] = openapi.InstagramAccount{
			ID: linked.ID, Username: linked.Username, Name: linked.Name, ProfilePictureURL: account.Given(linked.ProfilePictureURL),
			FollowersCount: linked.FollowersCount, PageID: linked.PageID, ConnectionID: s.connections[len(f.pages)+i],
		}
	}
	return answer
}

// connectable are the pages, then the accounts, as they are to be connected.
func (f *found) connectable(grant uuid.UUID) []connection.Account {
	all := make([]connection.Account, 0, len(f.pages)+len(f.accounts))
	tokens := make(map[string]string, len(f.pages))
	for _, page := range f.pages {
		tokens[page.ID] = page.AccessToken
		all = append(all, account.OfPage(page, &grant))
	}
	for _, linked := range f.accounts {
		all = append(all, account.OfInstagram(linked, tokens[linked.PageID], &grant))
	}
	return all
}

func moment(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return new(at.UTC())
}

// list is never null in JSON.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}
