package login

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/primezap/primezap/pkg/meta"
)

// ErrField means that something is no field of a webhook.
var ErrField = errors.New("not a field of a webhook")

var fieldPattern = regexp.MustCompile(`^[a-z][a-z_]{0,63}$`)

// LeastFields are those without which no message is told of.
func LeastFields() []string { return []string{"messages", "messaging_postbacks"} }

// Subscriptions are the fields of a page that the app is told of, sorted; none where it
// is not subscribed. The token is the page's.
func (a *App) Subscriptions(ctx context.Context, page, token string) ([]string, error) {
	res, err := a.read(ctx, token, meta.Path{page, "subscribed_apps"}, url.Values{"limit": {"100"}})
	if err != nil {
		return nil, fmt.Errorf("read subscriptions of page: %w", err)
	}
	var answer struct {
		Data []struct {
			ID     meta.ID     `json:"id"`
			Fields []meta.Text `json:"subscribed_fields"`
		} `json:"data"`
	}
	if err := res.Decode(&answer); err != nil {
		return nil, fmt.Errorf("read subscriptions of page: %w", err)
	}
	var fields []string
	for _, app := range answer.Data {
		if string(app.ID) != a.cfg.AppID {
			continue // other apps' are not ours to keep
		}
		for _, field := range app.Fields {
			fields = append(fields, string(field))
		}
	}
	slices.Sort(fields)
	return slices.Compact(fields), nil
}

// Subscribe has the app told of fields of a page, of LeastFields, and of what it is told
// of already: Meta takes what is sent for the whole. It returns all of them, sorted, and
// may be called again. Of two at a time for one page, the fields of one may get lost.
func (a *App) Subscribe(ctx context.Context, page, token string, fields []string) ([]string, error) {
	for i, field := range fields {
		if !fieldPattern.MatchString(field) {
			return nil, fmt.Errorf("field %d of %d: %w", i+1, len(fields), ErrField)
		}
	}
	already, err := a.Subscriptions(ctx, page, token)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	all := slices.Concat(LeastFields(), fields, already)
	slices.Sort(all)
	all = slices.Compact(all)
	res, err := a.again(ctx, func() (*meta.Response, error) {
		return a.graph.Post(ctx, token, meta.Path{page, "subscribed_apps"}, url.Values{"subscribed_fields": {strings.Join(all, ",")}}, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	if !res.Success() {
		return nil, fmt.Errorf("subscribe: %w: the answer is no success", meta.ErrOutcomeUnknown)
	}
	return all, nil
}

// Unsubscribe takes the app off a page. One that it is not on is no error.
func (a *App) Unsubscribe(ctx context.Context, page, token string) error {
	res, err := a.again(ctx, func() (*meta.Response, error) {
		return a.graph.Delete(ctx, token, meta.Path{page, "subscribed_apps"}, nil)
	})
	if err == nil && res.Success() {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%w: the answer is no success", meta.ErrOutcomeUnknown)
	}
	if failed, ok := errors.AsType[*meta.Error](err); !ok || failed.Class == meta.Permanent {
		// It might be off the page already: nothing says how Meta answers then.
		if fields, readErr := a.Subscriptions(ctx, page, token); readErr == nil && len(fields) == 0 {
			return nil
		}
	}
	return fmt.Errorf("unsubscribe: %w", err)
}

// refusedWith says whether an error is Meta's about the token, for a reason.
func refusedWith(err error, subcode int) bool {
	failed, ok := errors.AsType[*meta.Error](err)
	return ok && failed.Class == meta.Auth && failed.Subcode == subcode
}
