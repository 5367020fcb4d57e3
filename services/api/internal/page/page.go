// Package page reads page, limit and cursor of a list's request and writes the
// pagination of its answer.
//
// A cursor is the key of the last row that was seen, so a list that grows
// meanwhile neither repeats nor skips rows. Counting stops at Cap, and pages do
// too: further rows are reached by cursor, at a cost that does not grow.
package page

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/services/api/internal/openapi"
)

// Cap is where totals stop counting, and the last row that a page reaches.
const Cap = 10_000

// CountLimit is how many rows a query counts at most: one more says that there
// are more.
const CountLimit = Cap + 1

const (
	defaultLimit = 20
	maxLimit     = 100
)

// Request is which rows are wanted.
type Request struct {
	number int // 0 with a cursor
	limit  int
	after  []byte
}

// Parse reads the parameters as they stand in the query, nil for those that do
// not. keySize is the length of the list's keys.
func Parse(number, limit, cursor *string, keySize int) (Request, []problem.FieldError) {
	return parse(number, limit, cursor, func(key []byte) bool { return len(key) == keySize })
}

func parse(number, limit, cursor *string, valid func(key []byte) bool) (Request, []problem.FieldError) {
	r := Request{number: 1, limit: defaultLimit}
	var faults []problem.FieldError
	if limit != nil {
		n, err := strconv.Atoi(*limit)
		if err != nil || n < 1 || n > maxLimit {
			faults = append(faults, problem.FieldError{Pointer: "/limit", Detail: "must be a number from 1 to 100"})
		} else {
			r.limit = n
		}
	}
	switch {
	case number != nil && cursor != nil:
		faults = append(faults, problem.FieldError{Pointer: "/cursor", Detail: "must not be given together with page"})
	case number != nil:
		n, err := strconv.Atoi(*number)
		switch {
		case err != nil || n < 1:
			faults = append(faults, problem.FieldError{Pointer: "/page", Detail: "must be a number from 1"})
		case n > Cap || (n-1)*r.limit >= Cap:
			faults = append(faults, problem.FieldError{
				Pointer: "/page", Detail: "reaches the first 10000 entries only: go on with nextCursor",
			})
		default:
			r.number = n
		}
	case cursor != nil:
		key, err := base64.RawURLEncoding.DecodeString(*cursor)
		if err != nil || !valid(key) {
			faults = append(faults, problem.FieldError{Pointer: "/cursor", Detail: "must be a nextCursor of this list"})
		}
		r.number, r.after = 0, key
	}
	return r, faults
}

// Limit is how many rows to read: one more than are shown, which says whether
// there is a next page.
func (r Request) Limit() int32 { return int32(r.limit) + 1 } //nolint:gosec // at most 101

// Offset is how many rows to pass over.
func (r Request) Offset() int32 {
	if r.number == 0 {
		return 0
	}
	return int32((r.number - 1) * r.limit) //nolint:gosec // below Cap
}

// Show cuts rows, read with Limit, to those of the page, and describes it. total
// was counted up to CountLimit; key is the key of a row, of the size that Parse
// was told.
func Show[T any](r Request, rows []T, total int64, key func(T) []byte) ([]T, openapi.Pagination) {
	p := openapi.Pagination{Limit: r.limit, Total: int(min(total, Cap))}
	p.TotalPages = (p.Total + r.limit - 1) / r.limit
	if r.number > 0 {
		p.Page = &r.number
	}
	if total > Cap {
		p.TotalIsCapped = new(true)
	}
	if len(rows) > r.limit {
		rows = rows[:r.limit]
		p.NextCursor = new(base64.RawURLEncoding.EncodeToString(key(rows[r.limit-1])))
	}
	return rows, p
}

// IDKeySize is the size of the keys of lists in the order of an id.
const IDKeySize = len(uuid.UUID{})

// IDKey is the key of the row with an id.
func IDKey(id uuid.UUID) []byte { return id[:] }

// AfterID is the id in the cursor, nil without one.
func (r Request) AfterID() *uuid.UUID {
	if r.after == nil {
		return nil
	}
	id := uuid.UUID(r.after)
	return &id
}

// TimeKeySize is the size of the keys of lists in the order of a time, then an id.
const TimeKeySize = 8 + IDKeySize

// TimeKey is the key of the row with a time, to the microsecond as Postgres keeps
// it, and an id.
func TimeKey(at time.Time, id uuid.UUID) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(at.UnixMicro())), id[:]...) //nolint:gosec // read back as it was
}

// AfterTime is the time and id in the cursor, nil without one.
func (r Request) AfterTime() (*time.Time, *uuid.UUID) {
	if r.after == nil {
		return nil, nil
	}
	at := time.UnixMicro(int64(binary.BigEndian.Uint64(r.after))) //nolint:gosec // written just above
	id := uuid.UUID(r.after[8:])
	return &at, &id
}

// ParseText is Parse for a list in the order of a time, then an id that is a text
// for which valid holds.
func ParseText(number, limit, cursor *string, valid func(id string) bool) (Request, []problem.FieldError) {
	return parse(number, limit, cursor, func(key []byte) bool { return len(key) > 8 && valid(string(key[8:])) })
}

// TimeTextKey is TimeKey for an id that is a text.
func TimeTextKey(at time.Time, id string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(at.UnixMicro())), id...) //nolint:gosec // read back as it was
}

// AfterTimeText is the time and id in the cursor, nil without one.
func (r Request) AfterTimeText() (*time.Time, *string) {
	if r.after == nil {
		return nil, nil
	}
	at := time.UnixMicro(int64(binary.BigEndian.Uint64(r.after))) //nolint:gosec // written just above
	return &at, new(string(r.after[8:]))
}
