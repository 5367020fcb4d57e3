package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/meta/metatest"
	"github.com/primezap/primezap/pkg/testenv"
)

// TestOAuth_Crash kills the oauth service in the middle of an exchange: nothing is
// half-stored, the login's state is used up, and who logs in again is connected.
func TestOAuth_Crash(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]func(t *testing.T, sys *system, graph *metatest.Server) (held func() error, release func()){
		"once Meta has given the token":   holdAccounts,
		"when all but the commit is done": holdCommit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			graph := metatest.New(metatest.Config{AppSecret: appSecret})
			sys := start(t, setup{APIs: 1, OAuths: 1, OAuthEnv: loginEnv(graph.Start(t))})
			tenant, service := sys.Tenant(), sys.OAuths[0]
			user, page := newManager(graph)
			begun, err := tenant.Via(service).Consent(t.Context(), graph, metatest.Choice{User: user})
			if err != nil {
				t.Fatal(err)
			}

			held, release := hold(t, sys, graph)
			answered := make(chan error, 1)
			go func() {
				answered <- tenant.Via(service).Act(context.WithoutCancel(t.Context()), begun, http.StatusOK, nil)
			}()
			eventually(t, 30*time.Second, func() error {
				select {
				case err := <-answered:
					t.Fatalf("answered before the service was killed: %v", err)
				default:
				}
				return held()
			})
			service.Kill()
			if err := <-answered; err == nil {
				t.Fatal("answered, although the service was killed")
			}
			release()
			eventually(t, 30*time.Second, func() error { return sys.nobodyWorks() })
			for _, table := range []string{"oauth_grants", "connections", "outbox", "audit_log"} {
				if n := sys.Count("SELECT count(*) FROM " + table); n != 0 {
					t.Errorf("%d rows of %s are left of the exchange", n, table)
				}
			}
			if n := sys.Count("SELECT count(*) FROM oauth_states"); n != 1 {
				t.Errorf("%d states are noted as used, want one", n)
			}

			service.Start()
			sys.awaitReadiness(service)
			if err := tenant.Via(service).Act(t.Context(), begun, http.StatusConflict, nil); err != nil {
				t.Errorf("the state a second time: %v", err)
			}
			for range 2 { // the second time nothing is new
				again, err := tenant.Via(service).Consent(t.Context(), graph, metatest.Choice{User: user})
				if err != nil {
					t.Fatal(err)
				}
				var made exchanged
				if err := tenant.Via(service).Act(t.Context(), again, http.StatusOK, &made); err != nil {
					t.Fatal(err)
				}
				if len(made.Pages) != 1 || made.Pages[0].ID != page || made.Pages[0].ConnectionID == nil {
					t.Errorf("a new login connects %+v", made.Pages)
				}
			}
			for query, want := range map[string]int{
				"SELECT count(*) FROM oauth_grants WHERE status = 'active' AND credentials IS NOT NULL":                         1,
				"SELECT count(*) FROM connections WHERE status = 'active' AND credentials IS NOT NULL AND grant_id IS NOT NULL": 2, // the page and its account
			} {
				if n := sys.Count(query); n != want {
					t.Errorf("%s: %d, want %d", query, n, want)
				}
			}
			for code, tries := range graph.CodeTries() {
				if tries != 1 {
					t.Errorf("the code %s was sent %d times", code, tries)
				}
			}
		})
	}
}

// holdAccounts has Meta keep silent when it is asked for the user's pages, which comes
// after the token.
func holdAccounts(t *testing.T, _ *system, graph *metatest.Server) (held func() error, release func()) {
	t.Helper()
	if _, err := graph.Inject(metatest.Fault{Kind: metatest.FaultLatency, Call: "accounts", Delay: metatest.Ms(10 * time.Minute), Next: 1}); err != nil {
		t.Fatal(err)
	}
	return func() error {
		if len(graph.Faults()) > 0 {
			return errors.New("the pages are not asked for")
		}
		return nil
	}, graph.ClearFaults
}

// holdCommit keeps the table of events, which are written last.
func holdCommit(t *testing.T, sys *system, _ *metatest.Server) (held func() error, release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), sys.setup.Database.URL(testenv.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	for _, sql := range []string{"BEGIN", "LOCK TABLE outbox IN SHARE MODE"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	const waiting = `SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outbox'::regclass
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	return func() error {
			n, err := sys.count(waiting)
			if err == nil && n == 0 {
				err = errors.New("nobody waits for the table of events")
			}
			return err
		}, func() {
			if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
		}
}

// nobodyWorks says that Postgres still works for the api's role: a killed process's
// session may go on with the statement that it was in.
func (s *system) nobodyWorks() error {
	n, err := s.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'primezap_api'
		AND state <> 'idle' AND pid <> pg_backend_pid()`)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d sessions are at work", n)
	}
	return err
}
