// Package grant keeps what people have allowed by logging in to Facebook, for a
// tenant: whose token it is, what it may do, and until when.
//
// A tenant has one grant of a user. The user's token is sealed at rest, and nobody but
// this package opens it. The tokens of pages that came by it are their connections'
// (package connection), which name the grant. States:
//
//	active    the token is taken by Meta, as far as is known
//	reconnect it is not, or the user took it back: somebody has to log in again
package grant

import (
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
)

// Status is whether a grant is worth anything.
type Status string

// The states.
const (
	Active    Status = "active"
	Reconnect Status = "reconnect"
)

// View is a grant as the API shows it.
type View struct {
	ID                  uuid.UUID  `json:"id"`
	UserID              string     `json:"userId"` // Meta's, of our app
	UserName            string     `json:"userName"`
	Status              Status     `json:"status"`
	GrantedScopes       []string   `json:"grantedScopes"`
	MissingScopes       []string   `json:"missingScopes"`
	ExpiresAt           *time.Time `json:"expiresAt"`           // nil: never
	DataAccessExpiresAt *time.Time `json:"dataAccessExpiresAt"` // nil: never
	CreatedAt           time.Time  `json:"createdAt"`
	UpdatedAt           time.Time  `json:"updatedAt"`
}

// Show is a row as it may be seen.
func Show(row db.OauthGrant) View {
	return View{
		ID: row.ID, UserID: row.UserID, UserName: row.UserName, Status: Status(row.Status),
		GrantedScopes: list(row.Scopes), MissingScopes: list(row.MissingScopes),
		ExpiresAt: utc(row.ExpiresAt), DataAccessExpiresAt: utc(row.DataAccessExpiresAt),
		CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(),
	}
}

// list is never null in JSON.
func list(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return new(t.UTC())
}
