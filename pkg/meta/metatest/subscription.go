package metatest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// pageWebhooks are the fields of a page that an app can subscribe to.
var pageWebhooks = []string{
	"feed", "group_feed", "inbox_labels", "leadgen", "mention", "message_context", "message_deliveries", "message_echoes", "message_edits", "message_reactions",
	"message_reads", "messages", "messaging_account_linking", "messaging_customer_information", "messaging_feedback", "messaging_handovers", "messaging_optins",
	"messaging_optouts", "messaging_policy_enforcement", "messaging_postbacks", "messaging_referral", "messaging_referrals", "messaging_seen", "name", "picture",
	"ratings", "response_feedback", "standby", "story_mention",
}

// subscribedApps serves /{page}/subscribed_apps. The caller holds mu.
func (s *Server) subscribedApps(c *call) (any, *GraphError) {
	p, ok := s.world.page(c.object)
	switch {
	case !ok:
		return nil, noObject(c.method, c.object)
	case c.holder.kind != holderPage:
		return nil, forbidden(210, "A page access token is required to request this resource.")
	}
	if failed := s.demand(c, 200, "pages_manage_metadata"); failed != nil {
		return nil, failed
	}
	if c.method == http.MethodGet {
		data := []M{}
		if fields, ok := s.subscribed[p.ID]; ok {
			data = append(data, M{
				"category": "Business", "link": "https://example.com/simulated/", "name": appName, "id": s.cfg.AppID, "subscribed_fields": fields,
			})
		}
		return M{"data": data}, nil
	}
	if failed := s.demandTask(c, p.ID, "MODERATE"); failed != nil {
		return nil, failed
	}
	if c.method == http.MethodDelete {
		delete(s.subscribed, p.ID)
		return s.success(), nil
	}
	fields := c.list("subscribed_fields")
	if len(fields) == 0 {
		return nil, badParameter("The parameter subscribed_fields is required.")
	}
	for i, field := range fields {
		if !slices.Contains(pageWebhooks, field) {
			return nil, badParameter("Param subscribed_fields[%d] must be one of {%s} - got %q.", i, strings.Join(pageWebhooks, ", "), field)
		}
		if strings.HasPrefix(field, "messag") {
			if failed := s.demand(c, 200, "pages_messaging"); failed != nil {
				return nil, failed
			}
		}
	}
	slices.Sort(fields)
	s.subscribed[p.ID] = slices.Compact(fields)
	return s.success(), nil
}

// Subscriptions are the fields that the app is subscribed to for a page; none are
// there, and ok is false, where it is not subscribed.
func (s *Server) Subscriptions(page string) (fields []string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fields, ok = s.subscribed[page]
	return slices.Clone(fields), ok
}

// UnsubscribeAll takes the app off all pages, and returns which those were.
func (s *Server) UnsubscribeAll() (pages []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pages = slices.Sorted(maps.Keys(s.subscribed))
	clear(s.subscribed)
	return pages
}

// Unsubscribe takes the app off a page, as Meta does when its callback has failed for
// an hour. It reports whether it was on it.
func (s *Server) Unsubscribe(page string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.subscribed[page]
	delete(s.subscribed, page)
	return ok
}
