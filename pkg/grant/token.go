package grant

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
)

// ErrReconnect says that the user has to log in again: there is no token that Meta takes.
var ErrReconnect = errors.New("the grant waits for another login: Meta takes its token no more")

// Grant is one that Meta may be asked with. It holds the user's token, which is in none
// of its texts.
type Grant struct {
	Row   db.OauthGrant
	token string
}

// Token is the user's.
func (g Grant) Token() string { return g.token }

// String is for errors and logs: without the token.
func (g Grant) String() string { return "grant " + g.Row.ID.String() }

// GoString is String.
func (g Grant) GoString() string { return g.String() }

// Open opens the token of a row. The error is ErrReconnect where there is none.
func Open(v *vault.Vault, row db.OauthGrant) (Grant, error) {
	if Status(row.Status) != Active || row.Credentials == nil {
		return Grant{}, ErrReconnect
	}
	token, err := open(v, row.TenantID, row.ID, row.Credentials)
	if err != nil {
		return Grant{}, fmt.Errorf("token of grant %s: %w", row.ID, err)
	}
	return Grant{Row: row, token: token}, nil
}

// seal makes of a user's token what the column credentials holds.
func seal(v *vault.Vault, tenant, id uuid.UUID, token string) ([]byte, error) {
	return v.Seal([]byte(token), binding(tenant, id))
}

func open(v *vault.Vault, tenant, id uuid.UUID, credentials []byte) (string, error) {
	token, err := v.Unseal(credentials, binding(tenant, id))
	return string(token), err
}

// binding is part of the stored format: to change it is to lose every token.
func binding(tenant, id uuid.UUID) vault.Binding {
	return vault.Binding{Tenant: tenant, Table: "oauth_grants", Row: id.String(), Purpose: "access_token"}
}

// Reseal seals credentials again, under the vault's newest key.
func Reseal(v *vault.Vault, tenant, id uuid.UUID, credentials []byte) ([]byte, error) {
	token, err := open(v, tenant, id, credentials)
	if err != nil {
		return nil, err
	}
	return seal(v, tenant, id, token)
}
