package login

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/primezap/primezap/pkg/meta"
)

// User is somebody who logged in.
type User struct {
	ID         string // of this app
	Name       string
	Email      string // empty unless it was asked for and allowed
	PictureURL string
}

// Me is whose token it is.
func (a *App) Me(ctx context.Context, token string) (User, error) {
	res, err := a.read(ctx, token, meta.Path{"me"}, url.Values{"fields": {"id,name,email,picture"}})
	if err != nil {
		return User{}, fmt.Errorf("read user: %w", err)
	}
	var answer struct {
		ID      meta.ID   `json:"id"`
		Name    meta.Text `json:"name"`
		Email   meta.Text `json:"email"`
		Picture struct {
			Data struct {
				URL link `json:"url"`
			} `json:"data"`
		} `json:"picture"`
	}
	if err := res.Decode(&answer); err != nil {
		return User{}, fmt.Errorf("read user: %w", err)
	}
	if !idPattern.MatchString(string(answer.ID)) {
		return User{}, fmt.Errorf("read user: %w: there is no id in the answer", meta.ErrOutcomeUnknown)
	}
	return User{string(answer.ID), string(answer.Name), string(answer.Email), string(answer.Picture.Data.URL)}, nil
}

// Permissions are what the user of a token has granted, sorted, and what of asked they
// have not: declined, taken back or let lapse.
func (a *App) Permissions(ctx context.Context, token string, asked []string) (granted, missing []string, err error) {
	res, err := a.read(ctx, token, meta.Path{"me", "permissions"}, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("read permissions: %w", err)
	}
	var answer struct {
		Data []struct {
			Permission meta.Text `json:"permission"`
			Status     meta.Text `json:"status"`
		} `json:"data"`
	}
	if err := res.Decode(&answer); err != nil {
		return nil, nil, fmt.Errorf("read permissions: %w", err)
	}
	for _, one := range answer.Data {
		if one.Status == "granted" && one.Permission != "" {
			granted = append(granted, string(one.Permission))
		}
	}
	slices.Sort(granted)
	for _, scope := range asked {
		if !slices.Contains(granted, scope) {
			missing = append(missing, scope)
		}
	}
	return slices.Compact(granted), missing, nil
}

// appRemoved is the subcode of a token whose user has taken back all.
const appRemoved = 458

// Revoke takes back all that a user has allowed: their tokens and those of their pages
// are dead then. A user who has done so already is no error.
func (a *App) Revoke(ctx context.Context, user, token string) error {
	res, err := a.again(ctx, func() (*meta.Response, error) {
		return a.graph.Delete(ctx, token, meta.Path{user, "permissions"}, nil)
	})
	switch {
	case refusedWith(err, appRemoved):
		return nil
	case err != nil:
		return fmt.Errorf("revoke permissions: %w", err)
	case !res.Success():
		return fmt.Errorf("revoke permissions: %w: the answer is no success", meta.ErrOutcomeUnknown)
	}
	return nil
}
