package login

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/primezap/primezap/pkg/meta"
)

// Info is what Meta says of a token.
type Info struct {
	Valid               bool
	Code, Subcode       int // why it is not valid, where Meta says so
	AppID               string
	Type                string // USER, PAGE, APP or SYSTEM_USER
	UserID              string // of this app
	ProfileID           string // of the page whose token it is; empty where Meta does not say so
	IssuedAt            time.Time
	ExpiresAt           time.Time // zero: never
	DataAccessExpiresAt time.Time // zero: never
	Scopes              []string
	Granular            []GranularScope
}

// GranularScope is what a permission is for.
type GranularScope struct {
	Scope   string
	Targets []string // ids of pages or accounts; none: all of them
}

// Debug asks what a token is. One that is not valid is no error.
func (a *App) Debug(ctx context.Context, token string) (Info, error) {
	own, err := a.token()
	if err != nil {
		return Info{}, fmt.Errorf("inspect token: %w", err)
	}
	res, err := a.read(ctx, own, meta.Path{"debug_token"}, url.Values{"input_token": {token}})
	if err != nil {
		// What the token is comes with 200: any other answer is about the app's own.
		return Info{}, fmt.Errorf("inspect token: %w", appFault(err, true))
	}
	var answer struct {
		Data *struct {
			AppID      meta.ID     `json:"app_id"`
			Type       meta.Text   `json:"type"`
			Valid      meta.Bool   `json:"is_valid"`
			UserID     meta.ID     `json:"user_id"`
			ProfileID  meta.ID     `json:"profile_id"`
			Issued     seconds     `json:"issued_at"`
			Expires    seconds     `json:"expires_at"`
			DataAccess seconds     `json:"data_access_expires_at"`
			Scopes     []meta.Text `json:"scopes"`
			Granular   []struct {
				Scope   meta.Text `json:"scope"`
				Targets []meta.ID `json:"target_ids"`
			} `json:"granular_scopes"`
			Error struct {
				Code    seconds `json:"code"`
				Subcode seconds `json:"subcode"`
			} `json:"error"`
		} `json:"data"`
	}
	if err := res.Decode(&answer); err != nil {
		return Info{}, fmt.Errorf("inspect token: %w", err)
	}
	data := answer.Data
	if data == nil {
		return Info{}, fmt.Errorf("inspect token: %w: there is no data in the answer", meta.ErrOutcomeUnknown)
	}
	info := Info{
		Valid: bool(data.Valid), Code: int(data.Error.Code), Subcode: int(data.Error.Subcode),
		AppID: string(data.AppID), Type: string(data.Type), UserID: string(data.UserID), ProfileID: string(data.ProfileID),
		IssuedAt: data.Issued.time(), ExpiresAt: data.Expires.time(), DataAccessExpiresAt: data.DataAccess.time(),
	}
	for _, scope := range data.Scopes {
		info.Scopes = append(info.Scopes, string(scope))
	}
	for _, one := range data.Granular {
		scope := GranularScope{Scope: string(one.Scope)}
		for _, target := range one.Targets {
			scope.Targets = append(scope.Targets, string(target))
		}
		info.Granular = append(info.Granular, scope)
	}
	return info, nil
}

// seconds is a number of Meta's, or a text of one; what is none, or negative, is 0.
type seconds int64

// UnmarshalJSON reads any JSON.
func (s *seconds) UnmarshalJSON(raw []byte) error {
	const most = 1 << 33 // some 270 years: a duration and a time still
	n, err := strconv.ParseInt(strings.Trim(string(raw), `"`), 10, 64)
	*s = 0
	if err == nil && n > 0 {
		*s = seconds(min(n, most))
	}
	return nil
}

// time is a moment since 1970; 0 is the zero time.
func (s seconds) time() time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0).UTC()
}
