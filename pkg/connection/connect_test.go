package connection_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

// page is a page as a login brings it.
func page(id, token string) connection.Account {
	return connection.Account{Channel: messaging.Facebook, ExternalID: id, Name: "Page " + id, Token: token}
}

// connect is Connect in a transaction of its own.
func (f *fixture) connect(most int, of uuid.UUID, accounts ...connection.Account) (outcomes []connection.Outcome, err error) {
	err = f.api.InTenant(f.Context(), of, func(q *db.Queries) (err error) {
		outcomes, err = f.connector(most).Connect(f.Context(), q, of, "user:1", accounts)
		return err
	})
	return outcomes, err
}

// mustConnect connects accounts that nothing speaks against.
func (f *fixture) mustConnect(of uuid.UUID, accounts ...connection.Account) (rows []db.Connection) {
	f.Helper()
	outcomes, err := f.connect(0, of, accounts...)
	f.check(err)
	for _, o := range outcomes {
		f.check(o.Err)
		rows = append(rows, o.Connection)
	}
	return rows
}

// raised is an event in the outbox.
type raised struct {
	Order, Type string
	Tenant      uuid.UUID
	Data        struct {
		Connection struct{ ID, Name, Status string }
		Reason     string
		ExpiresAt  *time.Time
	}
}

// String is what tests compare.
func (r raised) String() string {
	return strings.TrimSpace(strings.TrimPrefix(r.Type, "connection.") + " " + r.Data.Connection.Status + " " + r.Data.Reason)
}

// raised are the events of a tenant in their order, each as the catalogue has it.
func (f *fixture) raised(of uuid.UUID) (events []raised) {
	f.Helper()
	rows, err := f.super.Pool().Query(f.Context(), "SELECT tenant_id, event_type, conversation, body FROM outbox WHERE tenant_id = $1 ORDER BY id", of)
	f.check(err)
	var r raised
	var body []byte
	_, err = pgx.ForEachRow(rows, []any{&r.Tenant, &r.Type, &r.Order, &body}, func() error {
		var envelope struct{ Data json.RawMessage }
		if err := json.Unmarshal(body, &envelope); err != nil {
			return err
		}
		if faults := event.Validate(event.Type(r.Type), body); faults != nil {
			return fmt.Errorf("%s: %v", body, faults)
		}
		r.Data.Reason, r.Data.ExpiresAt = "", nil
		if err := json.Unmarshal(envelope.Data, &r.Data); err != nil {
			return err
		}
		if r.Order != r.Data.Connection.ID {
			return fmt.Errorf("%s in the order of %s", body, r.Order)
		}
		events = append(events, r)
		return nil
	})
	f.check(err)
	return events
}

// expectRaised compares a tenant's events, and forgets them.
func (f *fixture) expectRaised(of uuid.UUID, want ...string) {
	f.Helper()
	var got []string
	for _, r := range f.raised(of) {
		got = append(got, r.String())
	}
	if !slices.Equal(got, want) {
		f.Errorf("raised %q, want %q", got, want)
	}
	_, err := f.super.Pool().Exec(f.Context(), "DELETE FROM outbox WHERE tenant_id = $1", of)
	f.check(err)
}

func (f *fixture) count(sql string, args ...any) (n int) {
	f.Helper()
	f.check(f.super.Pool().QueryRow(f.Context(), sql, args...).Scan(&n))
	return n
}

// grant is a row of a grant, without a token.
func (f *fixture) grant(of uuid.UUID) uuid.UUID {
	f.Helper()
	id := uuid.Must(uuid.NewV7())
	_, err := f.super.Pool().Exec(f.Context(), "INSERT INTO oauth_grants (id, tenant_id, user_id, user_name, scopes, missing_scopes) VALUES ($1, $2, $3, 'n', '{}', '{}')", id, of, id.String())
	f.check(err)
	return id
}

func TestConnector_Connect_AFreeAccount(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	grant := f.grant(of)
	loja, shop := page("9001", "EAAP-9001"), instagram("17841", "9001")
	loja.Name, loja.GrantID, shop.GrantID = " Loja\n"+strings.Repeat("ã", 300), &grant, &grant
	shop.Name = "\t"
	rows := f.mustConnect(of, loja, shop)
	for i, a := range []connection.Account{loja, shop} {
		u, err := f.use(of, rows[i].ID)
		f.check(err)
		if row := f.row(rows[i].ID); u.Token != a.Token || row.GrantID == nil || *row.GrantID != grant || row.Status != "active" {
			t.Errorf("connected as %+v, token %q", row, u.Token)
		}
		if n := f.count("SELECT count(*) FROM integration_rate_limits WHERE connection_id = $1", rows[i].ID); n != 3 {
			t.Errorf("%d windows of rate limits, want all at once", n)
		}
	}
	if name := []rune(rows[0].Name); len(name) != 200 || !strings.HasPrefix(rows[0].Name, "Loja ã") || rows[1].Name != "17841" {
		t.Errorf("named %q and %q", rows[0].Name, rows[1].Name)
	}
	f.expectRaised(of, "connected active", "connected active")
	for _, row := range f.audited(of) {
		if row.Action != "connection.created" || row.Actor != "user:1" {
			t.Errorf("audited %s by %s", row.Action, row.Actor)
		}
	}
}

func TestConnector_Connect_TheTenantsOwn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustCreate(of, page("9001", "EAAP-old"))
	u, err := f.use(of, row.ID)
	f.check(err)
	f.refused(u, "no", true)
	f.expectRaised(of, "reconnect_required reconnect token_refused")

	grant := f.grant(of)
	fresh := page("9001", "EAAP-new")
	fresh.Name, fresh.GrantID = "another name", &grant
	got := f.mustConnect(of, fresh)[0]
	if got.ID != row.ID || got.Name != "Page 9001" || got.Status != "active" || got.LastError != nil || *got.GrantID != grant {
		t.Errorf("renewed: %+v", got)
	}
	f.expectRaised(of, "connected active")

	// The same again leaves no trace.
	audits := len(f.audited(of))
	if again := f.mustConnect(of, fresh)[0]; !again.UpdatedAt.Equal(got.UpdatedAt) {
		t.Error("what it had already was written")
	}
	f.expectRaised(of)
	if n := len(f.audited(of)); n != audits {
		t.Errorf("%d rows of audit, want %d", n, audits)
	}

	// Unless Meta refused it, and takes it now.
	u, err = f.use(of, row.ID)
	f.check(err)
	f.refused(u, "no", true)
	f.expectRaised(of, "reconnect_required reconnect token_refused")
	if got := f.mustConnect(of, fresh)[0]; got.Status != "active" || *got.GrantID != grant {
		t.Errorf("renewed by the same token: %+v", got)
	}
	f.expectRaised(of, "connected active")

	// No token makes a connection active that is paused.
	f.set(row.ID, connection.Paused)
	fresh.Token = "EAAP-newer"
	if got := f.mustConnect(of, fresh)[0]; got.Status != "paused" {
		t.Errorf("a paused one is %s", got.Status)
	}
	f.expectRaised(of, "connected paused")

	// A token that somebody gives came by no grant.
	if got := f.renew(row, "EAAP-given"); got.GrantID != nil {
		t.Error("a token that was given is the grant's")
	}
}

func TestConnector_Connect_AnothersStays(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := tenant(), tenant()
	theirs := f.mustConnect(a, page("9001", "EAAP-a"), instagram("17841", "9002"))
	f.expectRaised(a, "connected active", "connected active")
	before := [2]db.Connection{f.row(theirs[0].ID), f.row(theirs[1].ID)}
	outcomes, err := f.connect(0, b, page("9001", "EAAP-b"), page("9003", "EAAP-b"), instagram("17842", "9002"))
	f.check(err)
	for i, taken := range []bool{true, false, true} {
		if errors.Is(outcomes[i].Err, connection.ErrTaken) != taken || (outcomes[i].Connection.ID == uuid.Nil) != taken {
			t.Errorf("account %d: %v, want it taken: %t", i, outcomes[i].Err, taken)
		}
	}
	for i, row := range theirs {
		if now := f.row(row.ID); !now.UpdatedAt.Equal(before[i].UpdatedAt) || now.DeletedAt != nil {
			t.Errorf("the other tenant's is changed: %+v", now)
		}
	}
	f.expectRaised(a)
	f.expectRaised(b, "connected active")
}

// Its account is linked with another page by now, which somebody else says is theirs.
func TestConnector_Connect_OnesOwnKeepsThePageItHas(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := tenant(), tenant()
	f.mustCreate(b, instagram("17842", "9002"))
	own := f.mustCreate(a, instagram("17841", "9001"))
	linked := instagram("17841", "9002")
	linked.Token = "EAAP-new"
	got := f.mustConnect(a, linked)[0]
	if got.ID != own.ID || *got.PageID != "9001" {
		t.Errorf("renewed: %+v", got)
	}
}

func TestConnector_Connect_APageThatMovedToAnotherAccount(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	old := f.mustCreate(of, instagram("17841", "9001"))
	posing := f.mustCreate(of, instagram("9002", ""))
	rows := f.mustConnect(of, instagram("17842", "9001"), instagram("17843", "9002"))
	if row := f.row(old.ID); row.PageID != nil || row.DeletedAt != nil {
		t.Errorf("the account that was linked before: %+v, want it without the page", row)
	}
	if f.row(posing.ID).DeletedAt == nil || *rows[0].PageID != "9001" || *rows[1].PageID != "9002" {
		t.Errorf("connected: %+v", rows)
	}
	f.expectRaised(of, "connected active", "disconnected disconnected disconnected", "connected active")
}

func TestConnector_Connect_WithinTheQuota(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	f.mustConnect(of, page("1", "old"))
	outcomes, err := f.connect(2, of, page("2", "a"), page("3", "b"), page("1", "new"), page("4", "c"))
	f.check(err)
	for i, full := range []bool{false, true, false, true} {
		o := outcomes[i]
		if errors.Is(o.Err, connection.ErrLimit) != full || (o.Connection.ID == uuid.Nil) != full {
			t.Errorf("account %d: %v, want it beyond the limit: %t", i, o.Err, full)
		}
		if p, ok := errors.AsType[*problem.Problem](o.Err); full && (!ok || p.Type != problem.TypeConnectionLimit) {
			t.Errorf("the problem: %v", o.Err)
		}
	}
	if n := f.count("SELECT count(*) FROM connections WHERE tenant_id = $1", of); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	// A claim has no more room, and takes nothing away.
	theirs := f.mustCreate(tenant(), page("5", "theirs"))
	err = f.api.InTenantTx(t.Context(), of, func(tx pgx.Tx, q *db.Queries) error {
		_, err := f.connector(2).Claim(t.Context(), tx, q, of, "user:1", page("5", "mine"))
		return err
	})
	if !errors.Is(err, connection.ErrLimit) || f.row(theirs.ID).DeletedAt != nil {
		t.Errorf("claimed: %v, want ErrLimit", err)
	}
}

func TestConnector_Connect_ByNoGrantThatIsGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	refused := f.grant(of)
	_, err := f.super.Pool().Exec(t.Context(), "UPDATE oauth_grants SET status = 'reconnect' WHERE id = $1", refused)
	f.check(err)
	for name, grant := range map[string]uuid.UUID{"refused": refused, "gone": uuid.New(), "another tenant's": f.grant(tenant())} {
		a := page("9001", "EAAP")
		a.GrantID = &grant
		if _, err := f.connect(0, of, a); !errors.Is(err, connection.ErrGrant) {
			t.Errorf("%s: %v, want ErrGrant", name, err)
		}
	}
}

// Two people who see the same pages in different orders log in at once, for tenants of
// their own and for the same.
func TestConnector_Connect_LoginsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tenants := []uuid.UUID{tenant(), tenant()}
	var accounts []connection.Account
	for n := range 20 {
		id := fmt.Sprint(9000 + n)
		accounts = append(accounts, page(id, "EAAP"), instagram("1"+id, id))
	}
	var racing sync.WaitGroup
	for i := range 6 {
		racing.Go(func() {
			seen := slices.Clone(accounts)
			if i%2 == 1 {
				slices.Reverse(seen)
			}
			for j := range seen {
				seen[j].Token += fmt.Sprint(i)
			}
			outcomes, err := f.connect(0, tenants[i/3], seen...)
			if err != nil {
				t.Errorf("login %d: %v", i, err)
			}
			taken := 0
			for _, o := range outcomes {
				if errors.Is(o.Err, connection.ErrTaken) {
					taken++
				}
			}
			if taken != 0 && taken != len(seen) {
				t.Errorf("login %d found %d of %d accounts taken", i, taken, len(seen))
			}
		})
	}
	racing.Wait()
	if n := f.count("SELECT count(*) FROM connections WHERE deleted_at IS NULL"); n != len(accounts) {
		t.Errorf("%d live connections of %d accounts", n, len(accounts))
	}
	if n := f.count("SELECT count(DISTINCT tenant_id) FROM connections"); n != 1 {
		t.Errorf("the accounts went to %d tenants", n)
	}
	if n := f.count("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"); n != 0 {
		t.Errorf("%d deadlocks", n)
	}
}

// A login that finds a connection which is being deleted makes another one.
func TestConnector_Connect_AgainstADeletion(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustConnect(of, page("9001", "EAAP-old"))[0]
	connecting := make(chan error, 1) // sent once
	f.check(f.api.InTenant(t.Context(), of, func(q *db.Queries) error {
		locked, err := q.LockConnection(t.Context(), row.ID, of)
		if err != nil {
			return err
		}
		go func() {
			outcomes, err := f.connect(0, of, page("9001", "EAAP-new"))
			if err == nil {
				err = outcomes[0].Err
			}
			connecting <- err
		}()
		f.awaitBlocked()
		return connection.Delete(t.Context(), q, "user:2", locked)
	}))
	f.check(<-connecting)
	live := f.live(page("9001", ""))
	if len(live) != 1 || live[0] == row.ID {
		t.Fatalf("live: %v, want another one", live)
	}
	if u, err := f.use(of, live[0]); err != nil || u.Token != "EAAP-new" {
		t.Errorf("used: %v, token %q", err, u.Token)
	}
	f.expectRaised(of, "connected active", "disconnected disconnected disconnected", "connected active")
}

func TestConnector_Claim_TellsBothSides(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := tenant(), tenant()
	old := f.mustConnect(a, page("9001", "EAAP-a"))[0]
	f.expectRaised(a, "connected active")
	grant := f.grant(b)
	mine := page("9001", "EAAP-b")
	mine.GrantID = &grant
	moved, err := f.claim(b, mine)
	f.check(err)
	if *moved.GrantID != grant || f.count("SELECT count(*) FROM integration_rate_limits WHERE connection_id = $1", moved.ID) != 3 {
		t.Errorf("claimed: %+v", moved)
	}
	f.expectRaised(b, "connected active")
	f.expectRaised(a) // until a worker does
	if n := f.count("SELECT count(*) FROM river_job WHERE kind = 'connection_moved' AND args = jsonb_build_object('id', $1::text)", old.ID); n != 1 {
		t.Errorf("%d jobs tell the other side", n)
	}
	f.check(f.worker.InTx(t.Context(), func(q *db.Queries) error { return connection.RaiseMoved(t.Context(), q, old.ID) }))
	events := f.raised(a)
	if len(events) != 1 || events[0].Data.Connection.ID != old.ID.String() || events[0].Data.Connection.Name != old.Name {
		t.Errorf("told: %+v", events)
	}
	f.expectRaised(a, "disconnected disconnected moved")
	// Of one that lives, or is no more, there is nothing to tell.
	for _, id := range []uuid.UUID{moved.ID, uuid.New()} {
		f.check(f.worker.InTx(t.Context(), func(q *db.Queries) error { return connection.RaiseMoved(t.Context(), q, id) }))
	}
	f.expectRaised(b)
}

func TestDelete_TellsOfIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustCreate(of, page("9001", "EAAP"))
	f.delete(row)
	f.expectRaised(of, "disconnected disconnected disconnected")
	if audit := f.audited(of); len(audit) != 1 || audit[0].Action != "connection.deleted" || audit[0].Actor != "user:1" {
		t.Errorf("audited: %+v", audit)
	}
}

func TestRefused_TellsOfItOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustCreate(of, page("9001", "EAAP"))
	u, err := f.use(of, row.ID)
	f.check(err)
	f.refused(u, "not the token's", false)
	f.expectRaised(of)
	f.refused(u, "the token's", true)
	f.refused(u, "the token's", true)
	f.expectRaised(of, "reconnect_required reconnect token_refused")
}

func TestRaiseExpiring(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustCreate(of, page("9001", "EAAP"))
	expires := time.Date(2027, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	f.check(f.worker.InTx(t.Context(), func(q *db.Queries) error {
		return connection.RaiseExpiring(t.Context(), q, []db.Connection{row}, row.UpdatedAt, connection.DataAccess, expires)
	}))
	if events := f.raised(of); len(events) != 1 || events[0].Data.ExpiresAt == nil || !events[0].Data.ExpiresAt.Equal(expires) {
		t.Errorf("told: %+v", events)
	}
	f.expectRaised(of, "expiring active data_access")
}

func TestOpen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustCreate(of, page("9001", "EAAP"))
	f.set(row.ID, connection.Paused)
	if u, err := connection.Open(f.vault, f.row(row.ID)); err != nil || u.Token != "EAAP" {
		t.Errorf("of a paused one: %v, token %q", err, u.Token)
	}
	f.set(row.ID, connection.Active)
	u, err := f.use(of, row.ID)
	f.check(err)
	f.refused(u, "no", true)
	if _, err := connection.Open(f.vault, f.row(row.ID)); !errors.Is(err, connection.ErrReconnect) {
		t.Errorf("of one whose token is refused: %v, want ErrReconnect", err)
	}
}

func (f *fixture) subscribed(of uuid.UUID, page string, fields ...string) (all []string, err error) {
	err = f.api.InTenant(f.Context(), of, func(q *db.Queries) (err error) {
		all, err = connection.Subscribed(f.Context(), q, of, page, fields)
		return err
	})
	return all, err
}

func TestSubscribed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := tenant(), tenant()
	rows := f.mustConnect(a, page("9001", "EAAP"), instagram("17841", "9001"), page("9002", "EAAP"))
	all, err := f.subscribed(a, "9001", "messages", "messaging_postbacks", "messages")
	f.check(err)
	if want := []string{"messages", "messaging_postbacks"}; !slices.Equal(all, want) {
		t.Errorf("kept %q, want %q", all, want)
	}
	all, err = f.subscribed(a, "9001", "feed")
	f.check(err)
	want := []string{"feed", "messages", "messaging_postbacks"}
	if !slices.Equal(all, want) {
		t.Errorf("kept %q, want the union %q", all, want)
	}
	for _, row := range rows[:2] {
		if got := f.row(row.ID); !slices.Equal(got.SubscribedFields, want) || got.SubscriptionCheckAt == nil {
			t.Errorf("%s keeps %q", got.Channel, got.SubscribedFields)
		}
	}
	if f.row(rows[2].ID).SubscribedFields != nil {
		t.Error("another page is subscribed, too")
	}
	if _, err := f.subscribed(b, "9001", "feed"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant: %v, want ErrNotFound", err)
	}
	f.check(f.worker.InTx(t.Context(), func(q *db.Queries) error { return connection.Unsubscribed(t.Context(), q, a, "9001") }))
	for _, row := range rows[:2] {
		if got := f.row(row.ID); got.SubscribedFields != nil || got.SubscriptionCheckAt != nil {
			t.Errorf("%s still keeps %q", got.Channel, got.SubscribedFields)
		}
	}
	err = f.worker.InTx(t.Context(), func(q *db.Queries) error { return connection.Unsubscribed(t.Context(), q, b, "9001") })
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant: %v, want ErrNotFound", err)
	}
}

// Of two at once the second one learns what the first one kept.
func TestSubscribed_AtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustConnect(of, page("9001", "EAAP"))[0]
	fields := []string{"a", "b", "c", "d", "e", "f"}
	answers := make([][]string, len(fields))
	var racing sync.WaitGroup
	for i, field := range fields {
		racing.Go(func() {
			var err error
			if answers[i], err = f.subscribed(of, "9001", field); err != nil {
				t.Error(err)
			}
		})
	}
	racing.Wait()
	if got := f.row(row.ID); !slices.Equal(got.SubscribedFields, fields) {
		t.Errorf("kept %q, want all of %q", got.SubscribedFields, fields)
	}
	if !slices.ContainsFunc(answers, func(a []string) bool { return len(a) == len(fields) }) {
		t.Errorf("nobody learned of all: %q", answers)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	f.mustCreate(of, whatsApp("EAAG"))
	f.mustCreate(tenant(), page("8999", "EAAP"))
	rows := f.mustConnect(of, page("9001", "EAAP"), instagram("17841", "9001"), page("9002", "EAAP"), page("9003", "EAAP"))
	f.delete(rows[2])
	list := func(before *uuid.UUID, most int) (ids []uuid.UUID) {
		f.check(f.api.InTenant(t.Context(), of, func(q *db.Queries) error {
			listed, err := connection.List(t.Context(), q, of, before, most)
			for _, row := range listed {
				ids = append(ids, row.ID)
			}
			return err
		}))
		return ids
	}
	if got, want := list(nil, 2), []uuid.UUID{rows[3].ID, rows[1].ID}; !slices.Equal(got, want) {
		t.Errorf("listed %v, want the newest two %v", got, want)
	}
	if got, want := list(&rows[1].ID, 2), []uuid.UUID{rows[0].ID}; !slices.Equal(got, want) {
		t.Errorf("listed then %v, want %v", got, want)
	}
}

// Whoever refuses a grant finds what is being connected by it.
func TestForgetTokens_OfWhatIsBeingConnected(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	grant := f.grant(of)
	a := page("9001", "EAAP")
	a.GrantID = &grant
	refused := make(chan error, 1) // sent once
	f.check(f.api.InTenant(t.Context(), of, func(q *db.Queries) error {
		if _, err := f.connector(0).Connect(t.Context(), q, of, "user:1", []connection.Account{a}); err != nil {
			return err
		}
		go func() {
			refused <- f.worker.InTx(context.WithoutCancel(t.Context()), func(q *db.Queries) error {
				if _, err := q.LockGrant(t.Context(), grant, of); err != nil {
					return err
				}
				if _, err := q.RefuseGrant(t.Context(), grant, of); err != nil {
					return err
				}
				return connection.ForgetTokens(t.Context(), q, of, grant, connection.Deauthorized)
			})
		}()
		f.awaitBlocked()
		return nil
	}))
	f.check(<-refused)
	if row := f.row(f.live(a)[0]); row.Status != "reconnect" || row.Credentials != nil {
		t.Errorf("connected by a grant that was refused: %+v", row)
	}
}

// Connections are locked in the order of their ids, whatever order a login brings them in:
// whoever else locks several waits, and nobody is undone.
func TestConnector_Connect_LocksInOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	rows := f.mustConnect(of, page("9001", "old"), page("9002", "old"))
	connected := make(chan error, 1) // sent once
	f.check(f.worker.InTx(t.Context(), func(q *db.Queries) error {
		if _, err := q.LockConnection(t.Context(), rows[0].ID, of); err != nil {
			return err
		}
		go func() {
			_, err := f.connect(0, of, page("9002", "new"), page("9001", "new"))
			connected <- err
		}()
		f.awaitBlocked()
		_, err := q.LockConnection(t.Context(), rows[1].ID, of)
		return err
	}))
	f.check(<-connected)
	if n := f.count("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"); n != 0 {
		t.Errorf("%d deadlocks", n)
	}
}
