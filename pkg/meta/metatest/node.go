package metatest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// holder is who has a token: a page, a user, or the system user of phone numbers.
type holder struct {
	kind string // number, page, user
	id   string // of the page or user; made up for a system user
}

const (
	holderNumber = "number"
	holderPage   = "page"
	holderUser   = "user"
)

// systemUserID is of the system user that has the tokens of phone numbers.
const systemUserID = "122000000000001"

// holder finds whose token it is.
func (w World) holder(token string) (holder, bool) {
	if _, ok := find(w.Numbers, func(n Number) bool { return n.Token == token }); ok {
		return holder{holderNumber, systemUserID + "|" + token}, true
	}
	if p, ok := find(w.Pages, func(p Page) bool { return p.Token == token }); ok {
		return holder{holderPage, p.ID}, true
	}
	u, ok := find(w.Users, func(u User) bool { return u.Token == token })
	return holder{holderUser, u.ID}, ok
}

// may reports whether an object can be used with a holder's token.
func (w World) may(h holder, object string) bool {
	switch h.kind {
	case holderNumber:
		_, token, _ := strings.Cut(h.id, "|")
		n, ok := w.number(object)
		return ok && n.Token == token
	case holderPage:
		a, ok := w.account(object)
		return object == h.id || ok && a.Page == h.id
	}
	u, _ := find(w.Users, func(u User) bool { return u.ID == h.id })
	if a, ok := w.account(object); ok {
		object = a.Page
	}
	return object == u.ID || slices.Contains(u.Pages, object)
}

// RevokeToken makes calls with a token fail with code 190 from now on. Subcode 0 is
// 463, a token that has expired.
func (s *Server) RevokeToken(token string, subcode int) {
	subcode = cmp.Or(subcode, 463)
	messages := map[int]string{
		458: "Error validating access token: The user has not authorized application " + s.cfg.AppID + ".",
		460: "Error validating access token: The session has been invalidated because the user changed their password or Facebook has changed the session for security reasons.",
		463: "Error validating access token: Session has expired on " + s.now().UTC().Format("Monday, 02-Jan-06 15:04:05 MST") + ".",
		467: "Error validating access token: The session is invalid because the user logged out.",
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead[token] = (&GraphError{Code: 190, Subcode: subcode, Message: messages[subcode]}).complete()
}

// RestoreToken makes a revoked token good again.
func (s *Server) RestoreToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dead, token)
}

// node is what GET of an object answers. The caller holds mu.
func (s *Server) node(c *call) (any, *GraphError) {
	name, all, usual := s.object(c)
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
		all := M{"id": p.ID, "name": p.Name, "category": p.Category, "tasks": []string{"MESSAGING", "MODERATE", "MANAGE"}}
		if c.holder.kind == holderUser || c.holder.id == p.ID {
			all["access_token"] = p.Token
		}
		if a, ok := find(s.world.Accounts, func(a Account) bool { return a.Page == p.ID }); ok {
			all["instagram_business_account"] = M{"id": a.ID, "username": a.Username, "name": a.Name}
		}
		return "Page", all, []string{"name", "id"}
	}
	if a, ok := s.world.account(c.object); ok {
		return "IGUser", M{
			"id": a.ID, "username": a.Username, "name": a.Name, "followers_count": a.Followers, "media_count": 12,
			"profile_picture_url": "https://example.com/simulated/" + a.ID + ".jpg",
		}, []string{"id"}
	}
	if u, ok := find(s.world.Users, func(u User) bool { return u.ID == c.object }); ok {
		return "User", M{
			"id": u.ID, "name": u.Name, "email": u.Email,
			"picture": M{"data": M{"url": "https://example.com/simulated/" + u.ID + ".jpg", "height": 50, "width": 50, "is_silhouette": false}},
		}, []string{"id", "name"}
	}
	return "", nil, nil
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
	return name == "Page" && (field == "instagram_business_account" || field == "access_token") || name == "User" && field == "email"
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
