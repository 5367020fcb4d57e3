package access

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/recent"
)

// ring is the keys that exist, and how often it was asked.
type ring struct {
	keys  map[string]auth.Principal
	asked int
	found func() // called with a key in hand, unless nil
}

func (r *ring) LookupKey(_ context.Context, hash []byte) (auth.Principal, error) {
	r.asked++
	if p, ok := r.keys[string(hash)]; ok {
		if r.found != nil {
			r.found()
		}
		return p, nil
	}
	return auth.Principal{}, auth.ErrUnknownKey
}

func TestKeys_LookupKey(t *testing.T) {
	t.Parallel()
	hash, other := auth.HashKey("pz_a"), auth.HashKey("pz_b")
	want := auth.Principal{Tenant: uuid.New()}
	keys := &ring{keys: map[string]auth.Principal{string(hash[:]): want}}
	now := time.Now()
	r := remember(keys, func() time.Time { return now })

	for range 3 {
		if p, err := r.LookupKey(t.Context(), hash[:]); err != nil || p.Tenant != want.Tenant {
			t.Fatalf("found %v, %v", p, err)
		}
	}
	if keys.asked != 1 {
		t.Errorf("looked up %d times within a second, want once", keys.asked)
	}
	delete(keys.keys, string(hash[:]))
	now = now.Add(recent.For)
	if _, err := r.LookupKey(t.Context(), hash[:]); !errors.Is(err, auth.ErrUnknownKey) {
		t.Errorf("a revoked key after a second: %v, want ErrUnknownKey", err)
	}
	keys.asked = 0
	for range 2 {
		if _, err := r.LookupKey(t.Context(), other[:]); !errors.Is(err, auth.ErrUnknownKey) {
			t.Errorf("another key: %v, want ErrUnknownKey", err)
		}
	}
	if keys.asked != 2 {
		t.Errorf("an unknown key was looked up %d times, want each time", keys.asked)
	}
}

func TestKeys_forget(t *testing.T) {
	t.Parallel()
	hash := auth.HashKey("pz_a")
	keys := &ring{keys: map[string]auth.Principal{string(hash[:]): {Tenant: uuid.New()}}}
	r := remember(keys, time.Now)
	revoke := func() {
		delete(keys.keys, string(hash[:]))
		r.Forget()
	}
	look := func() error {
		_, err := r.LookupKey(t.Context(), hash[:])
		return err
	}
	if err := look(); err != nil {
		t.Fatal(err)
	}
	kept := keys.keys[string(hash[:])]
	revoke()
	if err := look(); !errors.Is(err, auth.ErrUnknownKey) {
		t.Errorf("a key that was revoked: %v, want ErrUnknownKey", err)
	}
	keys.keys[string(hash[:])], keys.found = kept, revoke
	if err := look(); err != nil {
		t.Errorf("a key that is revoked as it is looked up: %v, want it found", err)
	}
	if err := look(); !errors.Is(err, auth.ErrUnknownKey) {
		t.Errorf("a key that was revoked as it was looked up: %v, want ErrUnknownKey", err)
	}
}
