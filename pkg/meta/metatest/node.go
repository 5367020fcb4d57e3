package metatest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// holder is who has a token: a page, a user, the system user of phone numbers, or the
// app itself.
type holder struct {
	kind string // number, page, user, app
	id   string // of the page, user or app; made up for a system user
	user string // who allowed what it may do; empty: nobody had to
}

const (
	holderNumber = "number"
	holderPage   = "page"
	holderUser   = "user"
	holderApp    = "app"
)

// systemUserID is of the system user that has the tokens of phone numbers.
const systemUserID = "122000000000001"

// holder finds whose token it is.
func (w World) holder(token string) (holder, bool) {
	if _, ok := find(w.Numbers, func(n Number) bool { return n.Token == token }); ok {
		return holder{kind: holderNumber, id: systemUserID + "|" + token}, true
	}
	if p, ok := find(w.Pages, func(p Page) bool { return p.Token == token }); ok {
		return holder{kind: holderPage, id: p.ID}, true
	}
	u, ok := find(w.Users, func(u User) bool { return u.Token == token })
	return holder{kind: holderUser, id: u.ID, user: u.ID}, ok
}

// may reports whether an object can be used with the token of a call. The caller holds
// mu.
func (s *Server) may(c *call) bool {
	h, object := c.holder, c.object
	if a, ok := s.world.account(object); ok && h.kind != holderNumber {
		object = a.Page
	}
	switch h.kind {
	case holderApp:
		return object == h.id || c.kind == callPermissions && s.grantOf(object) != nil
	case holderNumber:
		_, token, _ := strings.Cut(h.id, "|")
		n, ok := s.world.number(object)
		return ok && n.Token == token
	case holderPage:
		return object == h.id
	}
	return object == h.id || s.reaches(h.id, object)
}

// node is what GET of an object answers. The caller holds mu.
func (s *Server) node(c *call) (any, *GraphError) {
	name, all, usual := s.object(c)
	if name == "IGUser" {
		if failed := s.demand(c, 10, "instagram_basic", "pages_read_engagement"); failed != nil {
			return nil, failed
		}
	}
	if all == nil {
		return nil, noObject(c.method, c.object)
	}
	fields := splitFields(c.params.Get("fields"))
	if len(fields) == 0 {
		fields = usual
	}
	return pick(name, all, fields)
}

// object is all of an object, the name of its kind and the fields that are answered
// unless others are asked for.
func (s *Server) object(c *call) (name string, all M, usual []string) {
	if c.holder.kind == holderNumber && c.number.ID == "" {
		return "User", M{"id": systemUserID, "name": "PrimeZap System User"}, []string{"id", "name"}
	}
	if n, ok := s.world.number(c.object); ok {
		return "WhatsAppBusinessPhoneNumber", M{
			"id": n.ID, "verified_name": n.Name, "code_verification_status": "VERIFIED", "display_phone_number": displayed(n.Phone),
			"quality_rating": cmp.Or(n.Quality, "UNKNOWN"), "platform_type": "CLOUD_API", "throughput": M{"level": "STANDARD"},
			"name_status": "APPROVED", "status": "CONNECTED", "account_mode": "LIVE", "is_official_business_account": false,
			"messaging_limit_tier": "TIER_1K",
		}, []string{"id", "verified_name", "code_verification_status", "display_phone_number", "quality_rating", "platform_type", "throughput"}
	}
	if p, ok := s.world.page(c.object); ok {
		return "Page", s.pageFields(c, p), []string{"name", "id"}
	}
	if a, ok := s.world.account(c.object); ok {
		return "IGUser", a.fields(), []string{"id"}
	}
	if u, ok := s.world.user(c.object); ok {
		all := M{
			"id": u.ID, "name": u.Name,
			"picture": M{"data": M{"url": "https://example.com/simulated/" + u.ID + ".jpg", "height": 50, "width": 50, "is_silhouette": false}},
		}
		if u.Email != "" && s.has(c.holder, emailScope) {
			all["email"] = u.Email
		}
		return "User", all, []string{"id", "name"}
	}
	if c.object == s.cfg.AppID {
		return "Application", M{"id": s.cfg.AppID, "name": appName, "link": "https://example.com/simulated/"}, []string{"id", "name", "link"}
	}
	return "", nil, nil
}

// pageFields is all of a page that a token may read. The caller holds mu.
func (s *Server) pageFields(c *call, p Page) M {
	u, _ := s.world.user(c.holder.user)
	all := M{"id": p.ID, "name": p.Name, "category": p.Category, "tasks": u.tasks(p.ID)}
	if token := s.pageToken(c, p); token != "" {
		all["access_token"] = token
	}
	if a, ok := s.world.linked(p.ID); ok && s.has(c.holder, "instagram_basic") {
		all["instagram_business_account"] = a.fields()
	}
	return all
}

// fields is all of an Instagram account.
func (a Account) fields() M {
	all := M{"id": a.ID, "username": a.Username}
	if !a.Sparse {
		all["name"], all["followers_count"], all["media_count"] = a.Name, a.Followers, 12
		all["profile_picture_url"] = "https://example.com/simulated/" + a.ID + ".jpg"
	}
	return all
}

// pick answers the fields that are asked for, and the id.
func pick(name string, all M, fields []string) (any, *GraphError) {
	picked := M{"id": all["id"]}
	for _, field := range fields {
		field, inner, nested := strings.Cut(strings.TrimSuffix(field, "}"), "{")
		value, ok := all[field]
		switch {
		case !ok && optional(name, field):
			continue
		case !ok:
			return nil, badParameter("Tried accessing nonexisting field (%s) on node type (%s)", field, name)
		}
		if object, ok := value.(M); ok && name == "Page" {
			part, failed := pick("IGUser", object, splitFields(inner))
			if failed != nil {
				return nil, failed
			}
			value = part
		} else if nested && !ok {
			return nil, badParameter("Syntax error \"Field %s has no fields\"", field)
		}
		picked[field] = value
	}
	return picked, nil
}

// optional reports whether a field that is not there may be: one of an object that
// has none, or that the token may not read.
func optional(name, field string) bool {
	fields := map[string][]string{
		"Page": {"instagram_business_account", "access_token"}, "User": {"email"}, "IGUser": {"name", "followers_count", "media_count", "profile_picture_url"},
	}
	return slices.Contains(fields[name], field)
}

// splitFields splits a list of fields at the commas outside of braces.
func splitFields(list string) (fields []string) {
	depth, from := 0, 0
	for i, r := range list {
		switch {
		case r == '{':
			depth++
		case r == '}':
			depth--
		case r == ',' && depth == 0:
			fields = append(fields, strings.TrimSpace(list[from:i]))
			from = i + 1
		}
	}
	fields = append(fields, strings.TrimSpace(list[from:]))
	return slices.DeleteFunc(fields, func(f string) bool { return f == "" })
}

// displayed is a Brazilian number as Meta shows it, any other one with its plus sign.
func displayed(phone string) string {
	if rest, ok := strings.CutPrefix(phone, "+55"); ok && len(rest) > 6 {
		return fmt.Sprintf("+55 %s %s-%s", rest[:2], rest[2:len(rest)-4], rest[len(rest)-4:])
	}
	return phone
}
