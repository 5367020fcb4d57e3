package login

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/primezap/primezap/pkg/meta"
)

// OwnPage is the page whose token it is, without tasks. A token of anything else is
// refused, or has another id in the answer: see [Info.Type] too.
func (a *App) OwnPage(ctx context.Context, token string) (Page, error) {
	res, err := a.read(ctx, token, meta.Path{"me"}, url.Values{"fields": {"id,name,category,instagram_business_account"}})
	if err != nil {
		return Page{}, fmt.Errorf("read page: %w", err)
	}
	var answer json.RawMessage
	if err := res.Decode(&answer); err != nil {
		return Page{}, fmt.Errorf("read page: %w", err)
	}
	page, warning := readPage(answer)
	if page.ID == "" {
		return Page{}, fmt.Errorf("read page: %w: %w", meta.ErrOutcomeUnknown, warning.Err)
	}
	page.AccessToken = token
	return page, nil
}
