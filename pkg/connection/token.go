package connection

import (
	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/vault"
)

// Seal makes of an access token what the column credentials holds.
func Seal(v *vault.Vault, tenant, id uuid.UUID, token string) ([]byte, error) {
	return v.Seal([]byte(token), binding(tenant, id))
}

// Holds says whether credentials open and are token.
func Holds(v *vault.Vault, tenant, id uuid.UUID, credentials []byte, token string) bool {
	stored, err := open(v, tenant, id, credentials)
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
