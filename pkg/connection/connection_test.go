package connection_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
)

var farFuture = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) { testenv.Main(m) }

// fixture is a database of its own, and what services work with.
type fixture struct {
	*testing.T
	api, worker *store.Store
	super       *store.Store
	vault       *vault.Vault
	jobs        *jobs.Inserter
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	database := testenv.DB(t)
	f := &fixture{T: t}
	for role, into := range map[testenv.Role]**store.Store{testenv.API: &f.api, testenv.Worker: &f.worker, testenv.Superuser: &f.super} {
		s, err := store.Open(t.Context(), database.URL(role), 8)
		f.check(err)
		t.Cleanup(s.Close)
		*into = s
	}
	keyset, err := vault.NewKeyset()
	f.check(err)
	f.vault, err = vault.Open(keyset)
	f.check(err)
	f.jobs, err = jobs.NewInserter()
	f.check(err)
	return f
}

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// connector connects at most so many connections of a tenant.
func (f *fixture) connector(most int) *connection.Connector {
	limiter := ratelimit.New(f.api, ratelimit.Config{PerMinute: 60, PerHour: 1000, PerDay: 10_000})
	return &connection.Connector{Vault: f.vault, Limiter: limiter, Jobs: f.jobs, Max: most}
}

func tenant() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func whatsApp(token string) connection.Account {
	return connection.Account{Channel: messaging.WhatsApp, ExternalID: "800001", Name: "Sales", Token: token}
}

func instagram(id, page string) connection.Account {
	a := connection.Account{Channel: messaging.Instagram, ExternalID: id, Name: "Shop", Token: "EAAP-" + id}
	if page != "" {
		a.PageID = &page
	}
	return a
}

func (f *fixture) create(of uuid.UUID, a connection.Account) (row db.Connection, err error) {
	err = f.api.InTenant(f.Context(), of, func(q *db.Queries) (err error) {
		row, err = connection.Create(f.Context(), q, f.vault, of, a)
		return err
	})
	return row, err
}

func (f *fixture) claim(of uuid.UUID, a connection.Account) (row db.Connection, err error) {
	err = f.api.InTenantTx(f.Context(), of, func(tx pgx.Tx, q *db.Queries) (err error) {
		row, err = f.connector(0).Claim(f.Context(), tx, q, of, "user:1", a)
		return err
	})
	return row, err
}

func (f *fixture) mustCreate(of uuid.UUID, a connection.Account) db.Connection {
	f.Helper()
	row, err := f.create(of, a)
	f.check(err)
	return row
}

// use is ForUse in a transaction of its own, as a worker.
func (f *fixture) use(of, id uuid.UUID) (u connection.Usable, err error) {
	err = f.worker.InTx(f.Context(), func(q *db.Queries) (err error) {
		u, err = connection.ForUse(f.Context(), q, f.vault, of, id)
		return err
	})
	return u, err
}

func (f *fixture) row(id uuid.UUID) db.Connection {
	f.Helper()
	rows, err := f.super.Pool().Query(f.Context(), "SELECT * FROM connections WHERE id = $1", id)
	f.check(err)
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[db.Connection])
	f.check(err)
	return row
}

// live are the ids of an account's live connections.
func (f *fixture) live(a connection.Account) (ids []uuid.UUID) {
	f.Helper()
	rows, err := f.super.Pool().Query(f.Context(),
		"SELECT id FROM connections WHERE channel = $1 AND external_id = $2 AND deleted_at IS NULL", a.Channel, a.ExternalID)
	f.check(err)
	ids, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	f.check(err)
	return ids
}

// audited are the actions that a tenant's audit log has, oldest first.
func (f *fixture) audited(of uuid.UUID) (rows []db.AuditLog) {
	f.Helper()
	f.check(f.api.InTenant(f.Context(), of, func(q *db.Queries) (err error) {
		rows, err = q.ListAudit(f.Context(), db.ListAuditParams{TenantID: of, ToTime: farFuture, RowLimit: 100})
		return err
	}))
	for i, j := 0, len(rows)-1; i < j; i, j = i+1, j-1 {
		rows[i], rows[j] = rows[j], rows[i]
	}
	return rows
}

func TestCreate_SealsTheTokenForItsRow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := tenant(), tenant()
	row := f.mustCreate(a, whatsApp("EAAG-first"))
	if strings.Contains(string(f.row(row.ID).Credentials), "EAAG") {
		t.Error("the token is stored as it is")
	}
	u, err := f.use(a, row.ID)
	f.check(err)
	if u.Token != "EAAG-first" || u.Channel != messaging.WhatsApp || u.ExternalID != "800001" || u.ID != row.ID || u.Tenant != a {
		t.Errorf("usable: %s, token %q", u, u.Token)
	}
	for _, shown := range []string{fmt.Sprintf("%v", u), fmt.Sprintf("%+v", u), fmt.Sprintf("%#v", u), fmt.Sprint(&u)} {
		if strings.Contains(shown, "EAAG") {
			t.Errorf("shown as %s", shown)
		}
	}
	if _, err := f.use(b, row.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant's: %v, want ErrNotFound", err)
	}
	// A ciphertext that is moved to another row opens nowhere.
	other := f.mustCreate(a, instagram("17841", ""))
	_, err = f.super.Pool().Exec(t.Context(), "UPDATE connections SET credentials = $1 WHERE id = $2", row.Credentials, other.ID)
	f.check(err)
	if _, err := f.use(a, other.ID); !errors.Is(err, vault.ErrSealed) {
		t.Errorf("with another row's ciphertext: %v, want ErrSealed", err)
	}
}

func TestCreate_AnAccountHasOneLiveConnection(t *testing.T) {
	t.Parallel()
	page, other := "9001", "9002"
	for _, tc := range []struct {
		name          string
		first, second connection.Account
		taken         bool
	}{
		{name: "the same account", first: whatsApp("a"), second: whatsApp("b"), taken: true},
		{name: "the same id on another channel is another account", first: whatsApp("a"),
			second: connection.Account{Channel: messaging.Facebook, ExternalID: "800001", Name: "n", Token: "b"}},
		{name: "two accounts without a page", first: instagram("1", ""), second: instagram("2", "")},
		{name: "two accounts with a page each", first: instagram("1", page), second: instagram("2", other)},
		{name: "a page that another account is linked with", first: instagram("1", page), second: instagram("2", page), taken: true},
		{name: "another account's page as account", first: instagram("1", page), second: instagram(page, ""), taken: true},
		{name: "another account as page", first: instagram("1", ""), second: instagram("2", "1"), taken: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			a, b := tenant(), tenant()
			first := f.mustCreate(a, tc.first)
			for _, by := range []uuid.UUID{b, a} {
				if _, err := f.create(by, tc.second); errors.Is(err, connection.ErrTaken) != tc.taken || err != nil && !tc.taken {
					t.Fatalf("second: %v, want it taken: %t", err, tc.taken)
				}
				if !tc.taken {
					return
				}
			}
			f.delete(first)
			if _, err := f.create(b, tc.second); err != nil {
				t.Errorf("after the first was deleted: %v", err)
			}
		})
	}
}

func (f *fixture) delete(row db.Connection) {
	f.Helper()
	f.check(f.api.InTenant(f.Context(), row.TenantID, func(q *db.Queries) error { return connection.Delete(f.Context(), q, "user:1", row) }))
}

func TestCreate_TwoAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const racers = 6
	errs := make([]error, racers)
	var racing sync.WaitGroup
	for i := range racers {
		racing.Go(func() { _, errs[i] = f.create(tenant(), whatsApp(fmt.Sprint("token ", i))) })
	}
	racing.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, connection.ErrTaken):
			t.Errorf("lost with %v, want ErrTaken", err)
		}
	}
	if live := f.live(whatsApp("")); won != 1 || len(live) != 1 {
		t.Errorf("%d won, %d are live, want one", won, len(live))
	}
}

// A row that was inserted without the account's lock, as by an older version, is met
// by the index.
func TestCreate_MeetsTheIndexWithoutAnError(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tx, err := f.super.Pool().Begin(t.Context())
	f.check(err)
	_, err = tx.Exec(t.Context(), "INSERT INTO connections (id, tenant_id, channel, name, external_id, credentials) "+
		"VALUES (gen_random_uuid(), gen_random_uuid(), 'whatsapp', 'n', '800001', '')")
	f.check(err)
	created := make(chan error, 1) // sent once
	go func() {
		_, err := f.create(tenant(), whatsApp("a"))
		created <- err
	}()
	f.awaitBlocked()
	f.check(tx.Commit(t.Context()))
	if err := <-created; !errors.Is(err, connection.ErrTaken) {
		t.Errorf("met by the index: %v, want ErrTaken", err)
	}
}

// awaitBlocked returns once a session waits for another one's transaction.
func (f *fixture) awaitBlocked() {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 30*time.Second)
	defer cancel()
	for {
		var blocked bool
		f.check(f.super.Pool().QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0)").Scan(&blocked))
		if blocked {
			return
		}
	}
}

func TestForUse_OnlyAnActiveOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustCreate(of, whatsApp("EAAG"))
	for _, tc := range []struct {
		name   string
		change func()
		want   error
	}{
		{name: "active", change: func() {}},
		{name: "paused", change: func() { f.set(row.ID, connection.Paused) }, want: connection.ErrPaused},
		{name: "waiting for a token", change: func() { f.set(row.ID, connection.Reconnect) }, want: connection.ErrReconnect},
		{name: "active again", change: func() { f.set(row.ID, connection.Active) }},
		{name: "deleted", change: func() { f.delete(row) }, want: store.ErrNotFound},
	} {
		tc.change()
		if _, err := f.use(of, row.ID); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	if gone := f.row(row.ID); gone.Credentials != nil || gone.DeletedAt == nil {
		t.Error("the deleted one keeps its token")
	}
}

func (f *fixture) set(id uuid.UUID, status connection.Status) {
	f.Helper()
	_, err := f.super.Pool().Exec(f.Context(), "UPDATE connections SET status = $1 WHERE id = $2", string(status), id)
	f.check(err)
}

// Whoever was told that a connection is deleted knows that nothing more is decided
// to go through it: deleting waits for the transactions that use it.
func TestForUse_HoldsOffDeletion(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustCreate(of, whatsApp("EAAG"))
	deleted := make(chan struct{})
	f.check(f.worker.InTx(t.Context(), func(q *db.Queries) error {
		if _, err := connection.ForUse(t.Context(), q, f.vault, of, row.ID); err != nil {
			return err
		}
		// A second send reads it meanwhile.
		if _, err := f.use(of, row.ID); err != nil {
			return err
		}
		go func() {
			defer close(deleted)
			f.delete(row)
		}()
		f.awaitBlocked()
		select {
		case <-deleted:
			t.Error("it was deleted under a send")
		default:
		}
		return nil
	}))
	<-deleted
	if _, err := f.use(of, row.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("used after it was deleted: %v", err)
	}
}

func (f *fixture) refused(u connection.Usable, message string, token bool) {
	f.Helper()
	f.check(f.worker.InTx(f.Context(), func(q *db.Queries) error { return connection.Refused(f.Context(), q, u, message, token) }))
}

func (f *fixture) succeeded(u connection.Usable) {
	f.Helper()
	f.check(f.worker.InTx(f.Context(), func(q *db.Queries) error { return connection.Succeeded(f.Context(), q, u) }))
}

func (f *fixture) renew(row db.Connection, token string) db.Connection {
	f.Helper()
	f.check(f.api.InTenant(f.Context(), row.TenantID, func(q *db.Queries) (err error) {
		if row, err = q.LockConnection(f.Context(), row.ID, row.TenantID); err != nil {
			return err
		}
		if err = connection.SetToken(f.vault, &row, token); err != nil {
			return err
		}
		row, err = connection.Update(f.Context(), q, row)
		return err
	}))
	return row
}

func TestRefused_ATokenMakesItWaitForAnother(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustCreate(of, whatsApp("EAAG"))
	u, err := f.use(of, row.ID)
	f.check(err)
	f.refused(u, "Error validating access token\x00\xff"+strings.Repeat("ã", 1000), true)
	f.refused(u, "again", true)
	if _, err := f.use(of, row.ID); !errors.Is(err, connection.ErrReconnect) {
		t.Errorf("used: %v, want ErrReconnect", err)
	}
	got := f.row(row.ID)
	if got.LastError == nil || *got.LastError != "again" || got.LastErrorAt == nil || !got.TokenRefused {
		t.Errorf("the row: %+v", got)
	}
	audit := f.audited(of)
	if len(audit) != 1 || audit[0].Action != "connection.token_refused" || audit[0].Actor != "system" {
		t.Fatalf("audited: %+v, want it told once", audit)
	}
	var after connection.View
	f.check(json.Unmarshal(audit[0].After, &after))
	if after.Status != connection.Reconnect || len(after.LastError.Message) > 1000 || !strings.HasPrefix(after.LastError.Message, "Error validating access token\uFFFDã") {
		t.Errorf("audited as %+v", after)
	}

	// What the old token meets says nothing of the new one.
	f.renew(row, "EAAG-new")
	f.refused(u, "too late", true)
	f.succeeded(u)
	fresh, err := f.use(of, row.ID)
	f.check(err)
	if got := f.row(row.ID); got.LastError != nil || got.TokenRefused || fresh.Token != "EAAG-new" {
		t.Errorf("with another token: %+v", got)
	}
}

func TestRefused_APausedOneStaysPaused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustCreate(of, whatsApp("EAAG"))
	u, err := f.use(of, row.ID)
	f.check(err)
	f.set(row.ID, connection.Paused)
	f.refused(u, "no", true)
	if got := f.row(row.ID); got.Status != "paused" || !got.TokenRefused {
		t.Errorf("the row: %+v", got)
	}
	if got := f.renew(row, "EAAG-new"); got.Status != "paused" || got.TokenRefused {
		t.Errorf("with another token: %+v", got)
	}
	f.delete(row)
	f.refused(u, "no", true)
	if got := f.row(row.ID); got.LastError != nil {
		t.Error("a deleted one has an error")
	}
}

func TestSucceeded_ForgetsWhatWasRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustCreate(of, whatsApp("EAAG"))
	u, err := f.use(of, row.ID)
	f.check(err)
	f.refused(u, "recipient unknown", false)
	if got := f.row(row.ID); got.Status != "active" || got.LastError == nil {
		t.Errorf("after a refusal that is not the token's: %+v", got)
	}
	if u, err = f.use(of, row.ID); err != nil {
		t.Fatal(err)
	}
	f.succeeded(u)
	got := f.row(row.ID)
	if got.LastError != nil || got.LastErrorAt != nil {
		t.Errorf("after a success: %+v", got)
	}
	// A success without anything to forget writes nothing.
	if u, err = f.use(of, row.ID); err != nil {
		t.Fatal(err)
	}
	f.succeeded(u)
	if again := f.row(row.ID); !again.UpdatedAt.Equal(got.UpdatedAt) {
		t.Error("a success was written for nothing")
	}
	if n := len(f.audited(of)); n != 0 {
		t.Errorf("%d rows of audit, want none", n)
	}
}

func TestClaim_MovesAnAccount(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := tenant(), tenant()
	old := f.mustCreate(a, whatsApp("EAAG-a"))
	kept := f.mustCreate(a, instagram("17841", "9001"))
	for _, id := range []uuid.UUID{old.ID, kept.ID} {
		_, err := f.super.Pool().Exec(t.Context(), "INSERT INTO integration_rate_limits (connection_id, window_type, tenant_id, max_requests, window_start, window_end) "+
			"VALUES ($1, 'per_minute', $2, 60, now(), now())", id, a)
		f.check(err)
	}
	u, err := f.use(a, old.ID)
	f.check(err)
	f.refused(u, "something", false)
	before := connection.Show(f.row(old.ID))

	moved, err := f.claim(b, whatsApp("EAAG-b"))
	f.check(err)
	gone := f.row(old.ID)
	if gone.DeletedAt == nil || gone.Credentials != nil {
		t.Errorf("the old one: %+v, want it deleted and without a token", gone)
	}
	if live := f.live(whatsApp("")); len(live) != 1 || live[0] != moved.ID {
		t.Errorf("live: %v, want %s", live, moved.ID)
	}
	if _, err := f.use(a, old.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the old tenant uses it: %v, want ErrNotFound", err)
	}
	if u, err := f.use(b, moved.ID); err != nil || u.Token != "EAAG-b" {
		t.Errorf("the new tenant uses it: %v, token %q", err, u.Token)
	}
	var limits []uuid.UUID
	rows, err := f.super.Pool().Query(t.Context(), "SELECT connection_id FROM integration_rate_limits WHERE tenant_id = $1", a)
	f.check(err)
	limits, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	f.check(err)
	if len(limits) != 1 || limits[0] != kept.ID {
		t.Errorf("rate limits of %v are left, want those of %s alone", limits, kept.ID)
	}

	away, here := f.audited(a), f.audited(b)
	if len(away) != 1 || len(here) != 1 {
		t.Fatalf("audited %d and %d times, want once on both sides", len(away), len(here))
	}
	if row := away[0]; row.Action != "connection.moved_away" || row.Actor != "system" || row.SubjectType != "connection" ||
		row.SubjectID != old.ID.String() || row.After != nil || row.ID.Version() != 7 {
		t.Errorf("the old side: %+v", row)
	}
	var shown connection.View
	f.check(json.Unmarshal(away[0].Before, &shown))
	if !reflect.DeepEqual(shown, before) {
		t.Errorf("the old side shows\n%+v, want\n%+v", shown, before)
	}
	for _, secret := range []string{b.String(), moved.ID.String(), "EAAG", "user:1"} {
		if strings.Contains(string(away[0].Before)+away[0].SubjectID+away[0].Actor, secret) {
			t.Errorf("the old side learns %q", secret)
		}
	}
	if row := here[0]; row.Action != "connection.moved_here" || row.Actor != "user:1" || row.SubjectID != moved.ID.String() || row.Before != nil ||
		strings.Contains(string(row.After), a.String()) {
		t.Errorf("the new side: %+v", row)
	}
	if other := f.row(kept.ID); other.DeletedAt != nil || other.Credentials == nil {
		t.Error("another connection of the old tenant went, too")
	}
}

func TestClaim_AnAccountThatNobodyHas(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := tenant()
	f.delete(f.mustCreate(tenant(), whatsApp("old")))
	row, err := f.claim(a, whatsApp("EAAG"))
	f.check(err)
	if audit := f.audited(a); len(audit) != 1 || audit[0].Action != "connection.created" || audit[0].SubjectID != row.ID.String() {
		t.Errorf("audited: %+v", audit)
	}
}

func TestClaim_OnesOwnGetsTheToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustCreate(of, whatsApp("EAAG"))
	u, err := f.use(of, row.ID)
	f.check(err)
	f.refused(u, "no", true)
	a := whatsApp("EAAG-new")
	a.Name, a.AccountName = "as Meta calls it", new("+55 11 4000-0001")
	got, err := f.claim(of, a)
	f.check(err)
	if got.ID != row.ID || got.Name != "Sales" || got.Status != "active" || got.LastError != nil || *got.AccountName != *a.AccountName {
		t.Errorf("renewed: %+v", got)
	}
	if u, err := f.use(of, row.ID); err != nil || u.Token != "EAAG-new" {
		t.Errorf("used: %v, token %q", err, u.Token)
	}
	if audit := f.audited(of); len(audit) != 2 || audit[1].Action != "connection.updated" {
		t.Errorf("audited: %+v", audit)
	}
}

// Between the deletion of a tenant and that of its rows, too.
func TestClaim_ADeletedTenantsAccount(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := tenant(), tenant()
	old := f.mustCreate(a, whatsApp("EAAG-a"))
	_, err := f.api.Queries().DeleteTenant(t.Context(), a)
	f.check(err)
	moved, err := f.claim(b, whatsApp("EAAG-b"))
	f.check(err)
	if live := f.live(whatsApp("")); len(live) != 1 || live[0] != moved.ID || f.row(old.ID).Credentials != nil {
		t.Errorf("live: %v, want %s", live, moved.ID)
	}
}

// A page belongs to one Instagram account: what others said of it was wrong, or is
// no longer so.
func TestClaim_TakesThePageToo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b, c := tenant(), tenant(), tenant()
	linked := f.mustCreate(a, instagram("1", "9001"))
	posing := f.mustCreate(b, instagram("9002", "")) // a page as account
	if _, err := f.claim(c, instagram("2", "9001")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.claim(c, instagram("3", "9002")); err != nil {
		t.Fatal(err)
	}
	if row := f.row(linked.ID); row.DeletedAt != nil || row.PageID != nil || row.Credentials == nil {
		t.Errorf("the account that was linked: %+v, want it without the page", row)
	}
	if row := f.row(posing.ID); row.DeletedAt == nil {
		t.Error("the page that was connected as an account is still there")
	}
	if audit := f.audited(a); len(audit) != 1 || audit[0].Action != "connection.updated" || audit[0].Actor != "system" {
		t.Errorf("audited: %+v", audit)
	}
	for _, page := range []string{"9001", "9002"} {
		found, err := f.api.Queries().FindConnections(t.Context(), []string{"instagram"}, []string{page})
		f.check(err)
		if len(found) != 1 || found[0].TenantID != c {
			t.Errorf("page %s finds %+v, want the claimant's connection alone", page, found)
		}
	}
}

func TestClaim_Racing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := tenant()
	f.mustCreate(first, whatsApp("first"))
	const racers, rounds = 4, 3
	tenants := make([]uuid.UUID, racers)
	for i := range tenants {
		tenants[i] = tenant()
	}
	var racing sync.WaitGroup
	for i := range racers {
		racing.Go(func() {
			for range rounds {
				if _, err := f.claim(tenants[i], whatsApp(tenants[i].String())); err != nil {
					t.Errorf("claim: %v", err)
				}
				if _, err := f.create(tenant(), whatsApp("x")); !errors.Is(err, connection.ErrTaken) {
					t.Errorf("create: %v, want ErrTaken", err)
				}
			}
		})
	}
	racing.Wait()
	live := f.live(whatsApp(""))
	if len(live) != 1 {
		t.Fatalf("%d are live, want one", len(live))
	}
	winner := f.row(live[0])
	if u, err := f.use(winner.TenantID, winner.ID); err != nil || u.Token != winner.TenantID.String() {
		t.Errorf("the winner's: %v, token %q", err, u.Token)
	}
	here, away := 0, 0
	for _, of := range append(tenants, first) {
		for _, row := range f.audited(of) {
			switch row.Action {
			case "connection.moved_here":
				here++
			case "connection.moved_away":
				away++
			}
		}
	}
	if here != away || here == 0 {
		t.Errorf("moved here %d times, away %d times", here, away)
	}
}

// Whatever breaks a claim off, the account has one live connection.
func TestClaim_BrokenOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := tenant(), tenant()
	old := f.mustCreate(a, whatsApp("EAAG-a"))
	err := f.api.InTenantTx(t.Context(), b, func(tx pgx.Tx, q *db.Queries) error {
		if _, err := q.ReleaseConnections(t.Context(), "whatsapp", "800001", nil); err != nil {
			return err
		}
		var pid int
		if err := tx.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
			return err
		}
		var killed bool
		if err := f.super.Pool().QueryRow(t.Context(), "SELECT pg_terminate_backend($1, 5000)", pid).Scan(&killed); err != nil || !killed {
			return fmt.Errorf("end the session: %w", err)
		}
		_, err := f.connector(0).Claim(t.Context(), tx, q, b, "user:1", whatsApp("EAAG-b"))
		return err
	})
	if err == nil {
		t.Fatal("the claim went through")
	}
	if live := f.live(whatsApp("")); len(live) != 1 || live[0] != old.ID {
		t.Errorf("live: %v, want the old one", live)
	}
	if n := len(f.audited(a)) + len(f.audited(b)); n != 0 {
		t.Errorf("%d rows of audit tell of it", n)
	}
	if u, err := f.use(a, old.ID); err != nil || u.Token != "EAAG-a" {
		t.Errorf("the old one: %v, token %q", err, u.Token)
	}
}

func TestRelease_NeedsATenant(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	old := f.mustCreate(tenant(), whatsApp("EAAG"))
	if _, err := f.api.Queries().ReleaseConnections(t.Context(), "whatsapp", "800001", nil); err == nil {
		t.Error("somebody without a tenant released it")
	}
	if f.row(old.ID).DeletedAt != nil {
		t.Error("it is gone")
	}
}
