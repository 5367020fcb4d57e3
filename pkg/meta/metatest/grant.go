package metatest

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// dataAccess is how long an app may read what it was allowed to, after a user was last
// there.
const dataAccess = 90 * 24 * time.Hour

// Permissions that are not asked for, or are no page's.
const (
	publicProfile = "public_profile" // comes with every login
	emailScope    = "email"
)

// permissions are those that the app may ask for.
var permissions = []string{
	"business_management", emailScope, "instagram_basic", "instagram_content_publish", "instagram_manage_comments", "instagram_manage_insights",
	"instagram_manage_messages", "pages_manage_engagement", "pages_manage_metadata", "pages_manage_posts", "pages_messaging", "pages_read_engagement",
	"pages_read_user_content", "pages_show_list", publicProfile, "whatsapp_business_management", "whatsapp_business_messaging",
}

// grant is what a user allows the app.
type grant struct {
	scopes map[string]bool // those that were asked for: whether they are allowed
	pages  []string        // that were chosen
	given  bool            // by the world, without a login: all, for all pages
	until  time.Time       // data access
}

// grantOf is what a user allows the app, nil if nothing. A user of the world who has
// a token there allows all, unless they said otherwise. The caller holds mu.
func (s *Server) grantOf(user string) *grant {
	if g := s.grants[user]; g != nil {
		return g
	}
	u, ok := s.world.user(user)
	if !ok || u.Token == "" || s.dead[u.Token] != nil {
		return nil
	}
	g := &grant{scopes: make(map[string]bool), given: true, until: s.now().Add(dataAccess)}
	for _, scope := range permissions {
		g.scopes[scope] = true
	}
	s.grants[user] = g
	return g
}

// Permission is one that an app was allowed, or was not.
type Permission struct {
	Name   string `json:"permission"`
	Status string `json:"status"` // granted, declined, expired
}

// statuses are what became of all that was asked for, by name.
func (g *grant) statuses(now time.Time) []Permission {
	var all []Permission
	for _, scope := range slices.Sorted(maps.Keys(g.scopes)) {
		status := "granted"
		switch {
		case !g.scopes[scope]:
			status = "declined"
		case g.lapsed(scope, now):
			status = "expired"
		}
		all = append(all, Permission{scope, status})
	}
	return all
}

// lapsed reports whether the time for a permission is over: pages' have none.
func (g *grant) lapsed(scope string, now time.Time) bool {
	return strings.HasPrefix(scope, "instagram_") && !now.Before(g.until)
}

// granted are the permissions that are in force.
func (g *grant) granted(now time.Time) []string {
	scopes := []string{}
	for _, p := range g.statuses(now) {
		if p.Status == "granted" {
			scopes = append(scopes, p.Name)
		}
	}
	return scopes
}

// has reports whether a permission is in force for a holder. Tokens that the world
// has of numbers and pages are nobody's, and may do all. The caller holds mu.
func (s *Server) has(h holder, scope string) bool {
	if h.user == "" {
		return h.kind == holderNumber || h.kind == holderPage
	}
	g := s.grantOf(h.user)
	return g != nil && g.scopes[scope] && !g.lapsed(scope, s.now())
}

// demand refuses a call, with a code of permissions, for what is not allowed. The
// caller holds mu.
func (s *Server) demand(c *call, code int, scopes ...string) *GraphError {
	for _, scope := range scopes {
		if !s.has(c.holder, scope) {
			return forbidden(code, "Requires the permission "+scope)
		}
	}
	return nil
}

// demandTask refuses a call for what the user who is behind it may not do for a page.
// The caller holds mu.
func (s *Server) demandTask(c *call, page, task string) *GraphError {
	u, ok := s.world.user(c.holder.user)
	if !ok || slices.Contains(u.tasks(page), task) {
		return nil
	}
	return forbidden(200, "The user must have the task "+task+" on the page")
}

// reaches reports whether a user's tokens can be used for a page: whether they have
// it, and chose it. The caller holds mu.
func (s *Server) reaches(user, page string) bool {
	u, ok := s.world.user(user)
	g := s.grantOf(user)
	return ok && g != nil && slices.Contains(u.Pages, page) && (g.given || slices.Contains(g.pages, page))
}

// reached are the pages that a user has and chose, as the world has them. The caller
// holds mu.
func (s *Server) reached(user string) []Page {
	u, _ := s.world.user(user)
	var pages []Page
	for _, id := range u.Pages {
		if p, ok := s.world.page(id); ok && s.reaches(user, id) {
			pages = append(pages, p)
		}
	}
	return pages
}

// permissionsOf serves GET and DELETE /{user}/permissions. The caller holds mu.
func (s *Server) permissionsOf(c *call) (any, *GraphError) {
	user := c.object
	g := s.grantOf(user)
	if g == nil {
		return nil, noObject(c.method, user)
	}
	if c.method == "GET" {
		return M{"data": g.statuses(s.now())}, nil
	}
	name := c.item
	if name == "" {
		name = c.param("permission")
	}
	switch asked, known := g.scopes[name], slices.Contains(permissions, name); {
	case name == "":
		s.deauthorise(user)
		s.noticeLater(Notice{User: user})
	case !known:
		return nil, badParameter("Param permission must be the name of a permission")
	case asked:
		g.scopes[name] = false
	}
	return s.success(), nil
}

// Grant is what a user allows the app, as it can be looked at.
type Grant struct {
	User            string       `json:"user"`
	Permissions     []Permission `json:"permissions"`
	Pages           []string     `json:"pageIds"`
	DataAccessUntil time.Time    `json:"dataAccessUntil"`
	Tokens          int          `json:"tokens"` // that can be used now
}

// Grants are what users allow the app, by their ids.
func (s *Server) Grants() []Grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Grant{}
	for _, user := range slices.Sorted(maps.Keys(s.grants)) {
		g := s.grants[user]
		one := Grant{User: user, Permissions: g.statuses(s.now()), DataAccessUntil: g.until, Pages: []string{}}
		for _, p := range s.reached(user) {
			one.Pages = append(one.Pages, p.ID)
		}
		for text, t := range s.tokens.all {
			if _, failed := s.whose(text); t.user == user && failed == nil {
				one.Tokens++
			}
		}
		all = append(all, one)
	}
	return all
}

// ExpireDataAccess ends what an app may read of a user, as 90 days without them do,
// and reports whether there was anything. A new login with auth_type=reauthorize
// begins it anew.
func (s *Server) ExpireDataAccess(user string) bool { return s.EndDataAccess(user, s.now()) }

// EndDataAccess is [Server.ExpireDataAccess] at a time that may be to come.
func (s *Server) EndDataAccess(user string, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grantOf(user)
	if g != nil {
		g.until = at
	}
	return g != nil
}
