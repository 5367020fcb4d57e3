package oauth_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/meta/metatest"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/oauth"
)

// The pages of the simulated Meta's manager besides the one of both users.
const (
	filialID     = "100000000000002"
	advertisedID = "100000000000003" // whose token they do not get
)

// manager logs in with all pages that they have.
var manager = metatest.Choice{User: metatest.DefaultManagerID}

// loggedIn is what an exchange answers, as far as it matters here.
type loggedIn struct {
	AccessToken string
	GrantID     string
	Pages       []struct{ ID, AccessToken string }
}

func (in loggedIn) token(page string) string {
	for _, one := range in.Pages {
		if one.ID == page {
			return one.AccessToken
		}
	}
	return ""
}

// loggedIn logs in.
func (f *fixture) loggedIn(choice metatest.Choice) loggedIn {
	f.Helper()
	return into[loggedIn](f.logIn(choice).is(http.StatusOK))
}

// listed is what list_connections answers.
type listed struct {
	Connections []struct {
		Connection struct {
			ID, Channel, ExternalID, Status string
			PageID                          *string
		}
		GrantID          *string
		SubscribedFields []string
	}
	Grants []struct {
		ID, Status    string
		MissingScopes []string
	}
	NextCursor *string
}

func (f *fixture) list(members map[string]any) listed {
	f.Helper()
	return into[listed](f.action("list_connections", members).is(http.StatusOK))
}

// live is the tenant's connection of an account; empty where there is none.
func (f *fixture) live(account string) (id, status, grant string, fields []string) {
	f.Helper()
	for _, one := range f.list(nil).Connections {
		if one.Connection.ExternalID == account {
			if one.GrantID != nil {
				grant = *one.GrantID
			}
			return one.Connection.ID, one.Connection.Status, grant, one.SubscribedFields
		}
	}
	return "", "", "", nil
}

// holds says whether the tenant's connection of an account has a token.
func (f *fixture) holds(account, token string) bool {
	f.Helper()
	id, _, _, _ := f.live(account)
	var row db.Connection
	f.check(f.api.InTenant(f.Context(), f.tenant, func(q *db.Queries) (err error) {
		row, err = q.GetConnection(f.Context(), uuid.MustParse(id), f.tenant)
		return err
	}))
	return connection.Holds(f.vault, row, token)
}

// told is what Meta tells of a page.
func (f *fixture) told(page string) []string {
	fields, _ := f.graph.Subscriptions(page)
	return fields
}

func (f *fixture) inject(fault metatest.Fault) {
	f.Helper()
	_, err := f.graph.Inject(fault)
	f.check(err)
}

// quiet fails the test if a token stands where none may.
func (f *fixture) quiet() {
	f.Helper()
	for _, where := range []string{
		"audit_log a WHERE a::text LIKE '%EAA%'", "outbox o WHERE encode(o.body, 'escape') LIKE '%EAA%'",
		"connections c WHERE c::text LIKE '%EAA%'", "oauth_grants g WHERE g::text LIKE '%EAA%'",
	} {
		if n := f.count(where); n > 0 {
			f.Errorf("%d rows of %s", n, where)
		}
	}
	if strings.Contains(f.logs.String(), "EAA") {
		f.Error("a token was logged")
	}
}

type subscribed struct {
	Success          bool
	SubscribedFields []string
	ConnectionID     string
}

func (f *fixture) subscribe(page, token string, fields ...string) answer {
	f.Helper()
	members := map[string]any{"pageId": page}
	if token != "" {
		members["pageAccessToken"] = token
	}
	if len(fields) > 0 {
		members["fields"] = fields
	}
	return f.action("subscribe_webhook", members)
}

func TestSubscribe_Own(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.loggedIn(metatest.Choice{})
	id, _, granted, _ := f.live(metatest.DefaultPageID)
	for _, quirk := range []bool{false, true} { // success as a text, as Meta has it at times
		f.graph.SetQuirks(metatest.Quirks{TextSuccess: quirk})
		got := into[subscribed](f.subscribe(metatest.DefaultPageID, "").is(http.StatusOK))
		if !got.Success || got.ConnectionID != id || !slices.Equal(got.SubscribedFields, login.LeastFields()) {
			t.Errorf("%+v", got)
		}
	}
	want := []string{"message_echoes", "message_reads", "messages", "messaging_postbacks"}
	f.subscribe(metatest.DefaultPageID, "", "message_reads").is(http.StatusOK)
	got := into[subscribed](f.subscribe(metatest.DefaultPageID, "", "message_echoes", "messages").is(http.StatusOK))
	_, _, stillGranted, page := f.live(metatest.DefaultPageID)
	_, _, _, account := f.live(metatest.DefaultAccountID)
	for _, fields := range [][]string{got.SubscribedFields, f.told(metatest.DefaultPageID), page, account} {
		if !slices.Equal(fields, want) {
			t.Errorf("%q, want %q", fields, want)
		}
	}
	if granted == "" || stillGranted != granted {
		t.Errorf("grant %q, before %q", stillGranted, granted)
	}
	f.subscribe(metatest.DefaultPageID, "", "no_such_field").refuses(http.StatusUnprocessableEntity, problem.TypeMetaRefused)
	if !slices.Equal(f.told(metatest.DefaultPageID), want) {
		t.Errorf("Meta tells %q", f.told(metatest.DefaultPageID))
	}
	f.quiet()
}

func TestSubscribe_Input(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.action("subscribe_webhook", map[string]any{"pageId": "me", "fields": []string{"messages", "No"}, "pageAccessToken": strings.Repeat("a", 4097)}).
		refuses(http.StatusUnprocessableEntity, "about:blank", "/pageId", "/fields/1", "/pageAccessToken")
	f.action("subscribe_webhook", map[string]any{"pageId": "1", "fields": slices.Repeat([]string{"messages"}, 51)}).
		refuses(http.StatusUnprocessableEntity, "about:blank", "/fields")
	f.subscribe("1", "not a token").refuses(http.StatusConflict, problem.TypeReconnectRequired)
}

func TestSubscribe_Token(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	in := f.loggedIn(manager)
	old := in.token(metatest.DefaultPageID)
	f.graph.RevokeToken(old, 460)
	for range 2 { // the second time nobody asks Meta
		f.subscribe(metatest.DefaultPageID, "").refuses(http.StatusConflict, problem.TypeReconnectRequired)
		if _, status, _, _ := f.live(metatest.DefaultPageID); status != "reconnect" {
			t.Errorf("status %s", status)
		}
	}
	if n := f.count("outbox WHERE event_type = 'connection.reconnect_required'"); n != 1 {
		t.Errorf("told %d times", n)
	}
	// A token that Meta refuses changes nothing, nor does one that cannot subscribe.
	f.subscribe(metatest.DefaultPageID, old).refuses(http.StatusConflict, problem.TypeReconnectRequired)
	f.inject(metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(200), Call: "subscribed_apps", Next: 1})
	f.subscribe(metatest.DefaultPageID, metatest.DefaultPageToken).refuses(http.StatusForbidden, problem.TypeOAuthPermissionMissing)
	if _, status, _, _ := f.live(metatest.DefaultPageID); status != "reconnect" || !f.holds(metatest.DefaultPageID, old) {
		t.Errorf("status %s", status)
	}
	f.subscribe(metatest.DefaultPageID, metatest.DefaultPageToken).is(http.StatusOK)
	if _, status, granted, _ := f.live(metatest.DefaultPageID); status != "active" || granted != "" || !f.holds(metatest.DefaultPageID, metatest.DefaultPageToken) {
		t.Errorf("status %s, by the grant %q", status, granted)
	}
	f.quiet()
}

func TestSubscribe_Claim(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	in := f.loggedIn(manager)
	other := f.neighbour()
	moved := func() bool {
		id, _, _, _ := f.live(metatest.DefaultPageID)
		return id == "" && f.count("audit_log WHERE action = 'connection.moved_away'") > 0
	}
	t.Run("another page's token, a user's, another app's and an unknown one move nothing", func(t *testing.T) {
		refused := func(token string, status int, kind string, pointers ...string) {
			t.Helper()
			other.subscribe(metatest.DefaultPageID, token).refuses(status, kind, pointers...)
			if moved() || f.told(metatest.DefaultPageID) != nil || len(other.list(nil).Connections) > 0 {
				t.Fatal("the page moved")
			}
		}
		refused(in.token(filialID), http.StatusUnprocessableEntity, "about:blank", "/pageAccessToken")
		refused(in.AccessToken, http.StatusUnprocessableEntity, "about:blank", "/pageAccessToken")
		refused(metatest.DefaultNumberToken, http.StatusUnprocessableEntity, "about:blank", "/pageAccessToken")
		refused("EAAunknown", http.StatusConflict, problem.TypeReconnectRequired)
	})
	t.Run("without a token, and nobody logged in, there is no such page", func(t *testing.T) {
		other.subscribe(metatest.DefaultPageID, "").is(http.StatusNotFound)
	})
	t.Run("the page's token moves it with its Instagram account", func(t *testing.T) {
		got := into[subscribed](other.subscribe(metatest.DefaultPageID, metatest.DefaultPageToken, "message_reads").is(http.StatusOK))
		page, status, _, fields := other.live(metatest.DefaultPageID)
		account, _, _, told := other.live(metatest.DefaultAccountID)
		want := []string{"message_reads", "messages", "messaging_postbacks"}
		if !moved() || got.ConnectionID != page || status != "active" || account == "" ||
			!slices.Equal(fields, want) || !slices.Equal(told, want) || !slices.Equal(f.told(metatest.DefaultPageID), want) {
			t.Errorf("%+v, %s, %q, %q", got, status, fields, told)
		}
		if id, _, _, _ := f.live(metatest.DefaultAccountID); id != "" {
			t.Error("the Instagram account stayed")
		}
		if n := f.count("audit_log WHERE tenant_id = $1 AND action = 'connection.moved_here'", other.tenant); n != 2 {
			t.Errorf("%d audit rows of the new tenant", n)
		}
		if n := f.count("river_job WHERE kind = 'connection_moved'"); n != 2 {
			t.Errorf("%d jobs that tell the other tenant", n)
		}
	})
	t.Run("without a token it is moved by a login, whose grant it names", func(t *testing.T) {
		f.subscribe(metatest.DefaultPageID, "").is(http.StatusOK)
		if _, status, granted, _ := f.live(metatest.DefaultPageID); status != "active" || granted != in.GrantID {
			t.Errorf("status %s, by the grant %q", status, granted)
		}
	})
	t.Run("who may not act for a page is told so", func(t *testing.T) {
		f.subscribe(advertisedID, "").refuses(http.StatusForbidden, problem.TypeOAuthPermissionMissing)
		f.subscribe("99", "").is(http.StatusNotFound)
	})
	f.quiet()
}

// The other tenant's connections are locked in the order of their ids, whichever of them was
// made first: whoever locks several of them waits, and nobody is undone.
func TestSubscribe_ClaimLocksInOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.loggedIn(manager)
	page, _, _, _ := f.live(metatest.DefaultPageID)
	f.action("disconnect", map[string]any{"connectionId": page}).is(http.StatusOK)
	f.loggedIn(manager) // the page is newer than its Instagram account now
	page, _, _, _ = f.live(metatest.DefaultPageID)
	account, _, _, _ := f.live(metatest.DefaultAccountID)
	if account > page {
		t.Fatal("the account is the newer one")
	}
	other := f.neighbour()
	super := f.open(testenv.Superuser)
	blocked := func() (n int) {
		f.check(super.Pool().QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&n))
		return n
	}
	subscribed := make(chan answer, 1) // sent once
	f.check(f.worker.InTx(t.Context(), func(q *db.Queries) error {
		if _, err := q.LockConnection(t.Context(), uuid.MustParse(account), f.tenant); err != nil {
			return err
		}
		go func() { subscribed <- other.subscribe(metatest.DefaultPageID, metatest.DefaultPageToken) }()
		for deadline := time.Now().Add(20 * time.Second); blocked() == 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the claim waits for nothing")
			}
		}
		_, err := q.LockConnection(t.Context(), uuid.MustParse(page), f.tenant)
		return err
	}))
	(<-subscribed).is(http.StatusOK)
	if n := f.count("(SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()) AS d WHERE deadlocks > 0"); n != 0 {
		t.Error("a deadlock")
	}
}

func TestSubscribe_OtherApp(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	cfg := f.config
	cfg.Login.AppID = "10002"
	f.server = f.serve(cfg)
	a := f.subscribe(metatest.DefaultPageID, metatest.DefaultPageToken)
	if a.status == http.StatusOK || f.told(metatest.DefaultPageID) != nil || len(f.list(nil).Connections) > 0 {
		t.Errorf("status %d", a.status)
	}
}

func TestSubscribe_Limit(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(cfg *oauth.Config) { cfg.MaxConnections = 1 })
	f.subscribe(metatest.DefaultPageID, metatest.DefaultPageToken).refuses(http.StatusForbidden, problem.TypeConnectionLimit)
	if told := f.told(metatest.DefaultPageID); told != nil || len(f.list(nil).Connections) > 0 {
		t.Errorf("Meta tells %q of a page that nobody has", told)
	}
	f.quiet()
}

func TestSubscribe_Failures(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.loggedIn(metatest.Choice{})
	other := f.neighbour()
	for _, tc := range []struct {
		name   string
		fault  metatest.Fault
		status int
		kind   string
	}{
		{"Meta cannot be reached", metatest.Fault{Kind: metatest.FaultReset}, http.StatusBadGateway, problem.TypeMetaUnreachable},
		{"Meta throttles", metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(4)}, http.StatusTooManyRequests, problem.TypeMetaThrottled},
		{"a permission is missing", metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(200)}, http.StatusForbidden, problem.TypeOAuthPermissionMissing},
	} {
		tc.fault.Call, tc.fault.Share = "subscribed_apps", 1
		f.inject(tc.fault)
		f.subscribe(metatest.DefaultPageID, "").refuses(tc.status, tc.kind)
		other.subscribe(metatest.DefaultPageID, metatest.DefaultPageToken).refuses(tc.status, tc.kind)
		if id, status, _, fields := f.live(metatest.DefaultPageID); id == "" || status != "active" || fields != nil {
			t.Errorf("%s: status %s, %q", tc.name, status, fields)
		}
		f.graph.ClearFaults()
	}
	// The answer is lost: Meta is asked again.
	f.inject(metatest.Fault{Kind: metatest.FaultLostAnswer, Call: "subscribed_apps", Next: 1})
	f.subscribe(metatest.DefaultPageID, "").is(http.StatusOK)
	f.quiet()
}

func TestSubscribe_AtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.loggedIn(metatest.Choice{})
	// Slow enough for both to read what there is before either adds to it.
	f.inject(metatest.Fault{Kind: metatest.FaultLatency, Delay: metatest.Ms(100 * time.Millisecond), Call: "subscribed_apps", Share: 1})
	for range 3 {
		var callers sync.WaitGroup
		for _, field := range []string{"message_reads", "message_echoes"} {
			callers.Go(func() { f.subscribe(metatest.DefaultPageID, "", field).is(http.StatusOK) })
		}
		callers.Wait()
		want := []string{"message_echoes", "message_reads", "messages", "messaging_postbacks"}
		if _, _, _, fields := f.live(metatest.DefaultPageID); !slices.Equal(f.told(metatest.DefaultPageID), want) || !slices.Equal(fields, want) {
			t.Fatalf("Meta tells %q, stored is %q", f.told(metatest.DefaultPageID), fields)
		}
		f.action("unsubscribe_webhook", map[string]any{"pageId": metatest.DefaultPageID}).is(http.StatusOK)
	}
}

func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	in := f.loggedIn(metatest.Choice{})
	page := map[string]any{"pageId": metatest.DefaultPageID}
	f.subscribe(metatest.DefaultPageID, "", "message_reads").is(http.StatusOK)
	f.neighbour().action("unsubscribe_webhook", page).is(http.StatusNotFound)
	f.action("unsubscribe_webhook", map[string]any{"pageId": "x"}).refuses(http.StatusUnprocessableEntity, "about:blank", "/pageId")
	f.inject(metatest.Fault{Kind: metatest.FaultReset, Call: "subscribed_apps", Next: 20})
	f.action("unsubscribe_webhook", page).refuses(http.StatusBadGateway, problem.TypeMetaUnreachable)
	if _, _, _, fields := f.live(metatest.DefaultPageID); len(fields) != 3 || len(f.told(metatest.DefaultPageID)) != 3 {
		t.Errorf("stored is %q", fields)
	}
	f.graph.ClearFaults()
	for range 2 {
		f.action("unsubscribe_webhook", page).is(http.StatusOK)
		if _, _, _, fields := f.live(metatest.DefaultPageID); fields != nil || f.told(metatest.DefaultPageID) != nil {
			t.Errorf("stored is %q, Meta tells %q", fields, f.told(metatest.DefaultPageID))
		}
	}
	if n := f.count("connections WHERE subscribed_fields IS NOT NULL"); n > 0 {
		t.Errorf("%d connections are subscribed", n)
	}
	f.graph.RevokeToken(in.token(metatest.DefaultPageID), 460)
	f.action("unsubscribe_webhook", page).refuses(http.StatusConflict, problem.TypeReconnectRequired)
	if _, status, _, _ := f.live(metatest.DefaultPageID); status != "reconnect" {
		t.Errorf("status %s", status)
	}
	f.quiet()
}

func TestListConnections(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	if empty := f.list(nil); empty.Connections == nil || empty.Grants == nil || empty.NextCursor != nil {
		t.Errorf("%+v", empty)
	}
	in := f.loggedIn(manager)
	all := f.list(nil)
	if len(all.Connections) != 3 || len(all.Grants) != 1 || all.Grants[0].ID != in.GrantID || all.NextCursor != nil {
		t.Errorf("%+v", all)
	}
	members := map[string]any{"limit": 1}
	for i, want := range all.Connections {
		got := f.list(members)
		if len(got.Connections) != 1 || got.Connections[0].Connection.ID != want.Connection.ID || (got.NextCursor == nil) != (i == 2) {
			t.Fatalf("page %d: %+v", i, got)
		}
		if got.NextCursor != nil {
			members["cursor"] = *got.NextCursor
		}
	}
	f.action("list_connections", map[string]any{"limit": 101, "cursor": "AAAA"}).refuses(http.StatusUnprocessableEntity, "about:blank", "/limit", "/cursor")
	if theirs := f.neighbour().list(nil); len(theirs.Connections) > 0 || len(theirs.Grants) > 0 {
		t.Errorf("%+v", theirs)
	}
	cfg := f.config
	cfg.Login.AppID = ""
	f.server = f.serve(cfg)
	f.list(nil) // needs no app
}
