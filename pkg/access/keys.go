// Package access tells who may call, as Postgres knows it: which API keys there are,
// and which tenants are no more. What it found is taken for true for a second.
package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/recent"
	"github.com/primezap/primezap/pkg/store"
)

const maxKeys = 10_000

// Keys finds API keys. It spares the database the look-up of a key that was found a
// moment ago: a CRM sends all of its requests with one. A key that was not found is
// looked up each time.
type Keys struct {
	lookup auth.Lookup
	known  *recent.Cache[[sha256.Size]byte, auth.Principal]
}

// NewKeys looks keys up in s, as the api's role.
func NewKeys(s *store.Store, now func() time.Time) *Keys { return remember(stored{s}, now) }

func remember(lookup auth.Lookup, now func() time.Time) *Keys {
	return &Keys{lookup: lookup, known: recent.New[[sha256.Size]byte, auth.Principal](maxKeys, now)}
}

// LookupKey implements auth.Lookup.
func (k *Keys) LookupKey(ctx context.Context, hash []byte) (auth.Principal, error) {
	return k.known.Get([sha256.Size]byte(hash), func() (auth.Principal, error) { return k.lookup.LookupKey(ctx, hash) })
}

// Forget has every key looked up again: one was revoked.
func (k *Keys) Forget() { k.known.Forget() }

// stored finds API keys in Postgres, before the tenant is known.
type stored struct{ store *store.Store }

// LookupKey implements auth.Lookup.
func (s stored) LookupKey(ctx context.Context, hash []byte) (auth.Principal, error) {
	row, err := s.store.Queries().FindAPIKey(ctx, hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return auth.Principal{}, auth.ErrUnknownKey
	}
	if err != nil {
		return auth.Principal{}, err
	}
	return auth.Principal{Tenant: row.TenantID, KeyID: row.ID, Actor: "key:" + row.ID.String(), Scopes: row.Scopes}, nil
}
