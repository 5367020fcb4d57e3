package connection

import (
	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
)

// seal makes of an access token what the column credentials holds.
func seal(v *vault.Vault, tenant, id uuid.UUID, token string) ([]byte, error) {
	return v.Seal([]byte(token), binding(tenant, id))
}

// Holds says whether a row's token opens and is this one.
func Holds(v *vault.Vault, row db.Connection, token string) bool {
	stored, err := open(v, row.TenantID, row.ID, row.Credentials)
	return err == nil && stored == token
}

func open(v *vault.Vault, tenant, id uuid.UUID, credentials []byte) (string, error) {
	token, err := v.Unseal(credentials, binding(tenant, id))
	return string(token), err
}

// binding is part of the stored format: to change it is to lose every token.
func binding(tenant, id uuid.UUID) vault.Binding {
	return vault.Binding{Tenant: tenant, Table: "connections", Row: id.String(), Purpose: "access_token"}
}

// Reseal seals credentials again, under the vault's newest key.
func Reseal(v *vault.Vault, tenant, id uuid.UUID, credentials []byte) ([]byte, error) {
	token, err := open(v, tenant, id, credentials)
	if err != nil {
		return nil, err
	}
	return seal(v, tenant, id, token)
}
