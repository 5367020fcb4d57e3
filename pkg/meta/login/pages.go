package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/primezap/primezap/pkg/meta"
)

// What is read of somebody's pages, at most.
const (
	maxPages    = 1000 // those that are left out count
	maxRequests = 50   // some of them for lists that are empty
	perRequest  = 100  // Meta gives no more
	maxTasks    = 50
)

// Page is one that a user may act for.
type Page struct {
	ID          string
	Name        string
	Category    string
	AccessToken string // without end while the user's token was one that lives long
	Tasks       []string
	InstagramID string // of the account that is linked with it; empty: none
}

// String is for errors and logs: without the token.
func (p Page) String() string { return "page " + p.ID }

// GoString is String.
func (p Page) GoString() string { return p.String() }

// Pages are the pages of a token's user. One without a token is among the warnings alone.
func (a *App) Pages(ctx context.Context, token string) ([]Page, []Warning, error) {
	var pages []Page
	var warnings []Warning
	params := url.Values{
		"fields": {"id,name,category,access_token,tasks,instagram_business_account"},
		"limit":  {strconv.Itoa(perRequest)},
	}
	known, cursors := make(map[string]bool), make(map[string]bool)
	listed := 0
	for range maxRequests {
		res, err := a.read(ctx, token, meta.Path{"me", "accounts"}, params)
		if err != nil {
			return nil, nil, fmt.Errorf("read pages: %w", err)
		}
		var answer struct {
			Data   []json.RawMessage `json:"data"`
			Paging struct {
				Cursors struct {
					After meta.ID `json:"after"`
				} `json:"cursors"`
				Next json.RawMessage `json:"next"` // holds the token, and leads who knows where: it is not followed
			} `json:"paging"`
		}
		if err := res.Decode(&answer); err != nil {
			return nil, nil, fmt.Errorf("read pages: %w", err)
		}
		for _, raw := range answer.Data {
			if listed++; listed > maxPages {
				return pages, append(warnings, Warning{Reason: PagesCut}), nil
			}
			page, warning := readPage(raw)
			switch {
			case known[page.ID]: // the list changed while it was read
			case warning != nil:
				warnings = append(warnings, *warning)
			default:
				pages = append(pages, page)
			}
			known[page.ID] = page.ID != ""
		}
		after := string(answer.Paging.Cursors.After)
		if next := string(answer.Paging.Next); next == "" || next == "null" || next == `""` {
			return pages, warnings, nil
		}
		if after == "" || cursors[after] {
			break // it would go on for ever
		}
		cursors[after] = true
		params.Set("after", after)
	}
	return pages, append(warnings, Warning{Reason: PagesCut}), nil
}

// errUnreadable is the error of a warning about what has another form than expected.
var errUnreadable = errors.New("not in a form that can be read")

func readPage(raw json.RawMessage) (Page, *Warning) {
	var answer struct {
		ID          meta.ID         `json:"id"`
		Name        meta.Text       `json:"name"`
		Category    meta.Text       `json:"category"`
		AccessToken json.RawMessage `json:"access_token"`
		Tasks       json.RawMessage `json:"tasks"`
		Instagram   struct {
			ID meta.ID `json:"id"`
		} `json:"instagram_business_account"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil || !idPattern.MatchString(string(answer.ID)) {
		return Page{}, &Warning{Reason: PageUnreadable, Err: errUnreadable}
	}
	page := Page{ID: string(answer.ID), Name: string(answer.Name), Category: string(answer.Category)}
	if id := string(answer.Instagram.ID); idPattern.MatchString(id) {
		page.InstagramID = id
	}
	if json.Unmarshal(answer.AccessToken, &page.AccessToken) != nil || !opaque(page.AccessToken) {
		return page, &Warning{Reason: PageWithoutToken, Page: page.ID}
	}
	var tasks []meta.Text
	if json.Unmarshal(answer.Tasks, &tasks) == nil {
		for _, task := range tasks[:min(len(tasks), maxTasks)] {
			page.Tasks = append(page.Tasks, string(task))
		}
	}
	return page, nil
}
