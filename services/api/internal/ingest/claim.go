package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

// Prefixes of keys in idempotency_keys.
const (
	prefixKey = "key:"
	prefixID  = "id:"
)

// claims are the rows of idempotency_keys that a request holds and that are not
// marked accepted yet.
type claims struct {
	store  *store.Store
	tenant uuid.UUID // whose request it is
	key    string    // "" without an Idempotency-Key, and once it is accepted
	ids    map[uuid.UUID]map[string]*item
}

// claim writes down, or reads, the ids and days of the items before anything is
// published. Items that were accepted before are marked so; one that reuses an
// id for something else is refused. The error is a problem if the key itself was
// used for another body.
func (s *Service) claim(ctx context.Context, tenant uuid.UUID, key *string, body []byte, items []item) (*claims, error) {
	c := &claims{store: s.Store, tenant: tenant}
	if key != nil && slices.ContainsFunc(items, func(it item) bool { return it.refused == nil }) {
		if err := c.claimKey(ctx, *key, body, items); err != nil {
			return nil, err
		}
	}
	c.gatherIDs(items)
	for _, owner := range slices.SortedFunc(maps.Keys(c.ids), compareIDs) {
		if err := c.claimIDs(ctx, owner, c.ids[owner]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// claimKey gives the items the ids and the day that the key's first request gave
// them. The client's own ids are the same in both.
func (c *claims) claimKey(ctx context.Context, key string, body []byte, items []item) error {
	ids := make([]string, len(items))
	for i := range items {
		ids[i] = items[i].event.ID
	}
	hash := requestHash(body, items)
	var row db.ClaimIdempotencyKeyRow
	err := c.store.InTenant(ctx, c.tenant, func(q *db.Queries) (err error) {
		row, err = q.ClaimIdempotencyKey(ctx, db.ClaimIdempotencyKeyParams{
			TenantID: c.tenant, Key: prefixKey + key, EventIds: ids, Day: items[0].event.Day, BodyHash: hash,
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("claim idempotency key: %w", err)
	}
	if !bytes.Equal(row.BodyHash, hash) || len(row.EventIds) != len(items) {
		return problem.Invalid(problem.FieldError{
			Detail: "Idempotency-Key was used with another body before, or with one of which other events were valid",
		}).WithType(problem.TypeIdempotencyKeyReused)
	}
	for i := range items {
		items[i].event.ID, items[i].event.Day = row.EventIds[i], bus.Day(row.Day)
		items[i].accepted = row.Accepted && items[i].refused == nil
	}
	if !row.Accepted {
		c.key = prefixKey + key
	}
	return nil
}

// requestHash tells requests apart: by their bytes, and by which events were
// refused before there was a claim. The row says of all at once that they are
// accepted: an event that was refused then and would be valid now, with
// strict=false or another scope, must not pass for one of them.
func requestHash(body []byte, items []item) []byte {
	hash := sha256.New()
	hash.Write(body)
	for i := range items {
		if items[i].refused != nil {
			fmt.Fprintf(hash, "\x00%d", i)
		}
	}
	return hash.Sum(nil)
}

// gatherIDs collects the ids that the client gave, each once for a tenant.
func (c *claims) gatherIDs(items []item) {
	for i := range items {
		it := &items[i]
		if it.id == "" || it.refused != nil {
			continue
		}
		owner := c.ids[it.event.Tenant]
		if owner == nil {
			owner = make(map[string]*item)
			if c.ids == nil {
				c.ids = make(map[uuid.UUID]map[string]*item)
			}
			c.ids[it.event.Tenant] = owner
		}
		first := owner[it.id]
		switch {
		case first == nil:
			owner[it.id] = it
		case bytes.Equal(first.raw, it.raw):
			it.twin = first
		default:
			it.refused = reused(it)
		}
	}
}

// claimIDs gives the items of one tenant the day that their ids were first taken
// on.
func (c *claims) claimIDs(ctx context.Context, tenant uuid.UUID, items map[string]*item) error {
	params := db.ClaimEventIDsParams{TenantID: tenant}
	for id, it := range items {
		params.Ids = append(params.Ids, id)
		params.BodyHashes = append(params.BodyHashes, hashOf(it.raw))
		params.Day = it.event.Day
	}
	var rows []db.ClaimEventIDsRow
	err := c.store.InTenant(ctx, tenant, func(q *db.Queries) (err error) {
		rows, err = q.ClaimEventIDs(ctx, params)
		return err
	})
	if err != nil {
		return fmt.Errorf("claim event ids: %w", err)
	}
	for _, row := range rows {
		it := items[row.ID]
		switch {
		case !bytes.Equal(row.BodyHash, hashOf(it.raw)):
			it.refused, it.accepted = reused(it), false
			delete(items, row.ID)
		case row.Accepted:
			it.accepted = true
			delete(items, row.ID)
		default:
			// Also if its request's key says that all is accepted: it may have been refused
			// then, for an id that was free again since.
			it.event.Day, it.accepted = bus.Day(row.Day), false
		}
	}
	return nil
}

// complete marks the rows of what was accepted, and the key's if nothing is left
// to be tried again.
func (c *claims) complete(ctx context.Context, items []item) error {
	keys := make(map[uuid.UUID][]string)
	for tenant, ids := range c.ids {
		for id, it := range ids {
			if it.accepted {
				keys[tenant] = append(keys[tenant], prefixID+id)
			}
		}
	}
	if c.key != "" && !slices.ContainsFunc(items, func(it item) bool { return it.later() }) {
		keys[c.tenant] = append(keys[c.tenant], c.key)
	}
	for _, tenant := range slices.SortedFunc(maps.Keys(keys), compareIDs) {
		err := c.store.InTenant(ctx, tenant, func(q *db.Queries) error {
			return q.CompleteIdempotencyKeys(ctx, tenant, keys[tenant])
		})
		if err != nil {
			return fmt.Errorf("complete idempotency keys: %w", err)
		}
	}
	return nil
}

func reused(it *item) *problem.Problem {
	return problem.Invalid(problem.FieldError{Pointer: it.at + "/id", Detail: "was given to another event before"}).
		WithType(problem.TypeEventIDReused)
}

func compareIDs(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }
