package login

import (
	"fmt"
	"strings"
)

// Reason is why something is left out.
type Reason string

// The reasons.
const (
	// PageUnreadable: a page that Meta lists in a form that cannot be read.
	PageUnreadable Reason = "page_unreadable"
	// PageWithoutToken: the user may not act for the page, so that nothing can be done there.
	PageWithoutToken Reason = "page_without_token"
	// PagesCut: there are more pages than are read.
	PagesCut Reason = "pages_cut"
	// InstagramUnreadable: a page's Instagram account cannot be read.
	InstagramUnreadable Reason = "instagram_unreadable"
)

// Warning is what could not be read without the rest being the worse for it.
type Warning struct {
	Reason  Reason
	Page    string // id; empty where it is of none
	Account string // id of the Instagram account, if it is of one
	Err     error  // Meta's, if there is one
}

// String is safe to log.
func (w Warning) String() string {
	parts := []string{string(w.Reason)}
	for _, id := range []string{w.Page, w.Account} {
		if id != "" {
			parts = append(parts, id)
		}
	}
	text := strings.Join(parts, " ")
	if w.Err != nil {
		text = fmt.Sprintf("%s: %v", text, w.Err)
	}
	return text
}
