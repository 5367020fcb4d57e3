package api

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/services/api/internal/recent"
)

const maxKeys = 10_000

// remembered spares the database the look-up of a key that was found a moment
// ago: a CRM sends all of its requests with one. A key that was not found is
// looked up each time.
type remembered struct {
	lookup auth.Lookup
	known  *recent.Cache[[sha256.Size]byte, auth.Principal]
}

func remember(lookup auth.Lookup, now func() time.Time) *remembered {
	return &remembered{lookup: lookup, known: recent.New[[sha256.Size]byte, auth.Principal](maxKeys, now)}
}

// LookupKey implements auth.Lookup.
func (r *remembered) LookupKey(ctx context.Context, hash []byte) (auth.Principal, error) {
	return r.known.Get([sha256.Size]byte(hash), func() (auth.Principal, error) { return r.lookup.LookupKey(ctx, hash) })
}

// forget has every key looked up again: one was revoked.
func (r *remembered) forget() { r.known.Forget() }
