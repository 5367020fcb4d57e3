package metatest

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Sizes of pages of lists.
const (
	usualPage = 25
	maxPage   = 100
)

// cursor is a place in the list of a user's pages.
type cursor struct {
	after string // the page
	empty int    // empty pages since
}

func (c cursor) String() string {
	return "QVFI" + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s.%d", c.after, c.empty))
}

func parseCursor(text string) (c cursor, ok bool) {
	inner, _ := strings.CutPrefix(text, "QVFI")
	plain, err := base64.RawURLEncoding.DecodeString(inner)
	page, empty, found := strings.Cut(string(plain), ".")
	n, bad := strconv.Atoi(empty)
	return cursor{page, n}, err == nil && bad == nil && found && n >= 0
}

// accounts serves GET /{user}/accounts: the pages that were chosen, none without
// the permission to list them. The caller holds mu.
func (s *Server) accounts(c *call) (any, *GraphError) {
	if c.holder.kind != holderUser || c.object != c.holder.id {
		return nil, badParameter("Tried accessing nonexisting field (accounts) on node type (Page)")
	}
	size := usualPage
	if limit := c.param("limit"); limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 {
			return nil, badParameter("Param limit must be a number greater than 0")
		}
		size = min(n, maxPage)
	}
	size = min(size, cmp.Or(s.quirks.PageSize, maxPage))
	var pages []Page
	if s.has(c.holder, "pages_show_list") {
		pages = s.reached(c.holder.user)
	}
	var from cursor
	if after := c.param("after"); after != "" {
		var ok bool
		from, ok = parseCursor(after)
		i := slices.IndexFunc(pages, func(p Page) bool { return p.ID == from.after })
		if !ok || i < 0 {
			return nil, badParameter("Invalid cursor")
		}
		pages = pages[i+1:]
	}
	last := cursor{after: from.after, empty: from.empty + 1}
	shown := []Page{}
	if from.after == "" || len(pages) == 0 || from.empty >= s.quirks.EmptyPages {
		shown = pages[:min(size, len(pages))]
		if len(shown) > 0 {
			last = cursor{after: shown[len(shown)-1].ID}
		}
	}
	fields := splitFields(c.param("fields"))
	if len(fields) == 0 {
		fields = []string{"access_token", "category", "name", "id", "tasks"}
	}
	data := []any{}
	for _, p := range shown {
		one, failed := pick("Page", s.pageFields(c, p), fields)
		if failed != nil {
			return nil, failed
		}
		data = append(data, one)
	}
	answer := M{"data": data}
	more := len(shown) < len(pages)
	if len(data) == 0 && !more {
		return answer, nil
	}
	paging := M{"cursors": M{"before": from.String(), "after": last.String()}}
	if more {
		paging["next"] = cmp.Or(s.quirks.Next, c.next(last))
	}
	answer["paging"] = paging
	return answer, nil
}

// next is the URL of a list's next page. The token is in it, as in Meta's.
func (c *call) next(after cursor) string {
	query := url.Values{"access_token": {c.token}, "after": {after.String()}}
	for _, name := range []string{"fields", "limit"} {
		if value := c.param(name); value != "" {
			query.Set(name, value)
		}
	}
	return c.origin + "/" + c.version + "/" + c.object + "/" + c.edge + "?" + query.Encode()
}
