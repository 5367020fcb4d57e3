package page_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/services/api/internal/page"
)

func key(n int) []byte { return page.IDKey(uuid.UUID{15: byte(n)}) }

func TestParse_Refusals(t *testing.T) {
	t.Parallel()
	cursor := "AAAAAAAAAAAAAAAAAAAAAA"
	for _, tc := range []struct {
		name                  string
		number, limit, cursor *string
		want                  []string
	}{
		{name: "the defaults"},
		{name: "the bounds themselves", number: new("100"), limit: new("100")},
		{name: "a limit of none", limit: new("0"), want: []string{"/limit"}},
		{name: "a limit beyond 100", limit: new("101"), want: []string{"/limit"}},
		{name: "a limit that is no number", limit: new("ten"), want: []string{"/limit"}},
		{name: "page zero", number: new("0"), want: []string{"/page"}},
		{name: "a page beyond the cap", number: new("101"), limit: new("100"), want: []string{"/page"}},
		{name: "a page whose rows no number counts", number: new("9223372036854775807"), want: []string{"/page"}},
		{name: "every fault at once", number: new("x"), limit: new("x"), want: []string{"/limit", "/page"}},
		{name: "a cursor", cursor: &cursor},
		{name: "a cursor beside a page", number: new("1"), cursor: &cursor, want: []string{"/cursor"}},
		{name: "a cursor of another list", cursor: new("AAAA"), want: []string{"/cursor"}},
		{name: "a cursor that is none", cursor: new("!"), want: []string{"/cursor"}},
		{name: "an empty cursor", cursor: new(""), want: []string{"/cursor"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, faults := page.Parse(tc.number, tc.limit, tc.cursor, page.IDKeySize)
			var got []string
			for _, fault := range faults {
				got = append(got, fault.Pointer)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("faults at %v, want %v", faults, tc.want)
			}
		})
	}
}

func TestShow_Pages(t *testing.T) {
	t.Parallel()
	r, _ := page.Parse(new("2"), new("3"), nil, page.IDKeySize)
	if r.Limit() != 4 || r.Offset() != 3 {
		t.Errorf("limit %d, offset %d; want 4, 3", r.Limit(), r.Offset())
	}
	rows, p := page.Show(r, []int{4, 5, 6, 7}, 8, key)
	if !slices.Equal(rows, []int{4, 5, 6}) {
		t.Errorf("rows %v, want the first three", rows)
	}
	if *p.Page != 2 || p.Limit != 3 || p.Total != 8 || p.TotalPages != 3 || p.TotalIsCapped != nil || p.NextCursor == nil {
		t.Errorf("got %+v", p)
	}
	next, faults := page.Parse(nil, new("3"), p.NextCursor, page.IDKeySize)
	if len(faults) > 0 || *next.AfterID() != (uuid.UUID{15: 6}) || next.Offset() != 0 {
		t.Errorf("the cursor reads as %v after %v, offset %d", faults, next.AfterID(), next.Offset())
	}
	rows, p = page.Show(next, []int{7, 8}, 8, key)
	if len(rows) != 2 || p.Page != nil || p.NextCursor != nil {
		t.Errorf("last page: rows %v, %+v; want both, no page and no cursor", rows, p)
	}
}

func TestShow_TotalIsCapped(t *testing.T) {
	t.Parallel()
	for total, capped := range map[int64]bool{page.Cap: false, page.CountLimit: true} {
		t.Run(strconv.FormatInt(total, 10), func(t *testing.T) {
			t.Parallel()
			r, _ := page.Parse(nil, nil, nil, page.IDKeySize)
			if r.AfterID() != nil {
				t.Error("a first page comes after something")
			}
			_, p := page.Show(r, nil, total, key)
			if p.Total != page.Cap || p.TotalPages != 500 || (p.TotalIsCapped != nil) != capped {
				t.Errorf("got %+v, want 10000 in 500 pages, capped %t", p, capped)
			}
		})
	}
}

func TestTimeKey_KeepsMicroseconds(t *testing.T) {
	t.Parallel()
	at, id := time.Date(2025, 10, 20, 12, 0, 0, 123_456_000, time.UTC), uuid.UUID{1}
	r, _ := page.Parse(nil, new("1"), nil, page.TimeKeySize)
	_, p := page.Show(r, []int{1, 2}, 2, func(int) []byte { return page.TimeKey(at, id) })
	next, faults := page.Parse(nil, nil, p.NextCursor, page.TimeKeySize)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if gotAt, gotID := next.AfterTime(); !gotAt.Equal(at) || *gotID != id {
		t.Errorf("got %s %s, want %s %s", gotAt, gotID, at, id)
	}
}
