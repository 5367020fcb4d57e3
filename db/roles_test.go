package db_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/testenv"
)

func TestRoles_NoneIsAboveRowSecurity(t *testing.T) {
	t.Parallel()
	super := connect(t, testenv.DB(t).URL(testenv.Superuser))
	type role struct {
		Name                                                            string
		Super, BypassRLS, CreateRole, CreateDB, Replication, Login, All bool
	}
	roles := list(t, super, pgx.RowToStructByPos[role], `
		SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolcanlogin,
		  pg_has_role(oid, 'pg_read_all_data', 'member') OR pg_has_role(oid, 'pg_write_all_data', 'member')
		FROM pg_roles WHERE starts_with(rolname, 'primezap_')`)
	if len(roles) != 4 {
		t.Errorf("%d roles: %v, want 4", len(roles), roles)
	}
	for _, r := range roles {
		if want := (role{Name: r.Name, Login: r.Name != roleDefiner}); r != want {
			t.Errorf("role %+v, want %+v", r, want)
		}
	}
	// Who is a member has its rights, and its policies.
	members := list(t, super, pgx.RowTo[string], `
		SELECT format('%s in %s', m.rolname, g.rolname) FROM pg_auth_members a
		JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid WHERE starts_with(m.rolname, 'primezap_')`)
	if want := []string{"primezap_owner in primezap_definer"}; !slices.Equal(members, want) {
		t.Errorf("members: %v, want %v", members, want)
	}
}

// What a service could put into a schema would be found by functions that run
// with others' rights.
func TestRoles_ServicesOwnAndMakeNothing(t *testing.T) {
	t.Parallel()
	super := connect(t, testenv.DB(t).URL(testenv.Superuser))
	for _, role := range []string{db.RoleAPI, db.RoleWorker} {
		if one[bool](t, super, "SELECT has_schema_privilege($1, 'public', 'CREATE')", role) {
			t.Errorf("%s may create in schema public", role)
		}
		if n := one[int](t, super, "SELECT count(*) FROM pg_shdepend WHERE refobjid = to_regrole($1) AND deptype = 'o'", role); n > 0 {
			t.Errorf("%s owns %d objects", role, n)
		}
	}
}

func TestRoles_Timeouts(t *testing.T) {
	t.Parallel()
	d := testenv.DB(t)
	for _, role := range []testenv.Role{testenv.Owner, testenv.API, testenv.Worker} {
		conn := connect(t, d.URL(role))
		bounds := []string{"statement_timeout", "idle_in_transaction_session_timeout"}
		if one[int](t, conn, "SELECT current_setting('server_version_num')::int") >= 170000 {
			bounds = append(bounds, "transaction_timeout")
		}
		for _, name := range bounds {
			if got := one[string](t, conn, "SELECT current_setting($1)", name); got == "0" {
				t.Errorf("%s has no %s", role, name)
			}
		}
	}
}

func TestRoles_WorkerPlansWithoutScans(t *testing.T) {
	t.Parallel()
	worker := connect(t, testenv.DB(t).URL(testenv.Worker))
	for name, want := range map[string]string{
		"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "enable_nestloop": "on", "enable_indexscan": "on",
	} {
		if got := one[string](t, worker, "SELECT current_setting($1)", name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestWorker_HasNoAPIKeys(t *testing.T) {
	t.Parallel()
	worker := connect(t, testenv.DB(t).URL(testenv.Worker))
	for _, sql := range []string{
		"SELECT FROM api_keys", "DELETE FROM api_keys", "UPDATE api_keys SET scopes = '{platform}'",
		"INSERT INTO api_keys (id) VALUES (gen_random_uuid())", "TRUNCATE api_keys",
		"SELECT * FROM find_api_key('\\x00')", "SET ROLE primezap_api", "SET ROLE primezap_definer", "SET ROLE primezap_owner",
	} {
		if _, err := worker.Exec(t.Context(), sql); !denied(err) {
			t.Errorf("%s: %v, want permission denied", sql, err)
		}
	}
}

// definers are the functions that run with their owner's rights, and who else
// may call them. A trigger's needs nobody.
var definers = map[string]struct {
	owner   string
	callers []string
}{
	"bump_generation()":                   {owner: roleDefiner},
	"shut_lane()":                         {owner: roleDefiner},
	"start_streak()":                      {owner: roleDefiner},
	"find_api_key(bytea)":                 {owner: roleDefiner, callers: []string{db.RoleAPI}},
	"delete_tenant(uuid)":                 {owner: roleDefiner, callers: []string{db.RoleAPI}},
	"find_connections(text[],text[])":     {owner: roleDefiner, callers: []string{db.RoleAPI}},
	"release_connections(text,text,text)": {owner: roleDefiner, callers: []string{db.RoleAPI}},
	"granted_elsewhere(text)":             {owner: roleDefiner, callers: []string{db.RoleAPI}},
	"tenant_deleted(uuid)":                {owner: roleDefiner, callers: []string{db.RoleAPI}},
	"shut_webhooks(uuid,integer)":         {owner: roleDefiner, callers: []string{db.RoleWorker}},
	"remove_api_keys(uuid)":               {owner: roleDefiner, callers: []string{db.RoleWorker}},
	"ensure_partitions(date,date)":        {owner: db.RoleOwner, callers: []string{db.RoleWorker}},
	"drop_partition(date)":                {owner: db.RoleOwner, callers: []string{db.RoleWorker}},
}

// definerFaults compares the functions that run with others' rights to definers.
func definerFaults(t testing.TB, super *pgx.Conn) []string {
	t.Helper()
	type function struct {
		Name       string
		Owner      string
		SearchPath *string
		Callers    []string // besides the owner
	}
	found := list(t, super, pgx.RowToStructByPos[function], `
		SELECT p.oid::regprocedure::text, pg_get_userbyid(p.proowner),
		  (SELECT split_part(c, '=', 2) FROM unnest(p.proconfig) AS c WHERE starts_with(c, 'search_path=')),
		  ARRAY(SELECT CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee)::text END
		    FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a WHERE a.grantee <> p.proowner ORDER BY 1)
		FROM pg_proc p WHERE p.prosecdef AND p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)`)
	var faults []string
	missing := maps.Clone(definers)
	for _, f := range found {
		want, expected := definers[f.Name]
		delete(missing, f.Name)
		switch {
		case !expected:
			faults = append(faults, f.Name+": nobody expects it to run with others' rights")
		case f.Owner != want.owner:
			faults = append(faults, fmt.Sprintf("%s: runs as %s, want %s", f.Name, f.Owner, want.owner))
		case !slices.Equal(f.Callers, want.callers):
			faults = append(faults, fmt.Sprintf("%s: may be called by %v, want %v", f.Name, f.Callers, want.callers))
		}
		if f.SearchPath == nil {
			faults = append(faults, f.Name+": its caller says where it looks for names")
		} else if !strings.HasPrefix(*f.SearchPath, "pg_catalog, ") || !strings.HasSuffix(*f.SearchPath, ", pg_temp") {
			// pg_temp comes first where it is not named.
			faults = append(faults, fmt.Sprintf("%s: looks for names in %s, want pg_catalog first and pg_temp last", f.Name, *f.SearchPath))
		}
	}
	for name := range missing {
		faults = append(faults, name+": does not run with others' rights")
	}
	return faults
}

func TestDefiners(t *testing.T) {
	t.Parallel()
	for _, fault := range definerFaults(t, connect(t, testenv.DB(t).URL(testenv.Superuser))) {
		t.Error(fault)
	}
}

func TestDefiners_BreaksAreFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, sql, found string }{
		{name: "a function that nobody knows", found: "peek(): nobody expects it",
			sql: "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS 'SELECT count(*) FROM public.webhooks'"},
		{name: "the owner's rights instead of the definer's", found: "find_api_key(bytea): runs as primezap_owner",
			sql: "ALTER FUNCTION find_api_key(bytea) OWNER TO primezap_owner"},
		{name: "a function that everybody may call", found: "find_api_key(bytea): may be called by",
			sql: "GRANT EXECUTE ON FUNCTION find_api_key(bytea) TO public"},
		{name: "a caller too many", found: "drop_partition(date): may be called by",
			sql: "GRANT EXECUTE ON FUNCTION drop_partition(date) TO primezap_api"},
		{name: "a caller's search path", found: "shut_lane(): its caller says",
			sql: "ALTER FUNCTION shut_lane() RESET search_path"},
		{name: "the schema before the catalogue", found: "shut_lane(): looks for names in public",
			sql: "ALTER FUNCTION shut_lane() SET search_path = public, pg_catalog, pg_temp"},
		{name: "a caller's temporary types before all", found: "ensure_partitions(date,date): looks for names in pg_catalog, public, want",
			sql: "ALTER FUNCTION ensure_partitions(date, date) SET search_path = pg_catalog, public"},
		{name: "a function with its caller's rights", found: "bump_generation(): does not run",
			sql: "ALTER FUNCTION bump_generation() SECURITY INVOKER"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := testenv.DB(t)
			run(t, connect(t, d.URL(testenv.Owner)), tc.sql)
			faults := definerFaults(t, connect(t, d.URL(testenv.Superuser)))
			if !strings.Contains(strings.Join(faults, "\n"), tc.found) {
				t.Errorf("faults %q, want %q among them", faults, tc.found)
			}
		})
	}
}

// A domain's check runs as whoever meets the domain.
func TestDefiners_MeetNoTypeOfTheirCallers(t *testing.T) {
	t.Parallel()
	worker := connect(t, testenv.DB(t).URL(testenv.Worker))
	run(t, worker, `CREATE FUNCTION pg_temp.take(anyelement) RETURNS boolean LANGUAGE plpgsql AS $$
		BEGIN
		  IF current_user = 'primezap_owner' THEN EXECUTE 'GRANT SELECT ON public.api_keys TO primezap_worker'; END IF;
		  RETURN true;
		END $$`)
	for _, name := range []string{"date", "text"} {
		run(t, worker, "CREATE DOMAIN pg_temp."+name+" AS pg_catalog."+name+" CHECK (pg_temp.take(value))")
	}
	run(t, worker, "SELECT public.ensure_partitions(pg_catalog.date('2001-02-03'), pg_catalog.date('2001-02-03'))")
	run(t, worker, "SELECT public.drop_partition(pg_catalog.date('2001-02-04'))")
	if _, err := worker.Exec(t.Context(), "SELECT FROM api_keys"); !denied(err) {
		t.Errorf("the worker has made itself rights: %v, want permission denied", err)
	}
}

func TestFindAPIKey_ShowsOnlyWhoseHashIsKnown(t *testing.T) {
	t.Parallel()
	d := testenv.DB(t)
	super, api := connect(t, d.URL(testenv.Superuser)), connect(t, d.URL(testenv.API))
	hash := func(key string) []byte { sum := sha256.Sum256([]byte(key)); return sum[:] }
	for key, tenant := range map[string]string{"pz_a": tenantA, "pz_b": tenantB, "pz_revoked": tenantB} {
		run(t, super, `INSERT INTO api_keys (id, tenant_id, name, hint, hash, scopes, revoked_at)
			VALUES (gen_random_uuid(), $1, $2, '', $3, '{webhooks:read}', CASE $2::text WHEN 'pz_revoked' THEN now() END)`, tenant, key, hash(key))
	}
	find := func(hash []byte) []string {
		return list(t, api, pgx.RowTo[string], "SELECT tenant_id::text FROM find_api_key($1)", hash)
	}
	run(t, api, "SELECT set_config('app.tenant_id', $1, false)", tenantA)
	for _, tc := range []struct {
		name string
		hash []byte
		want []string
	}{
		{name: "its own key", hash: hash("pz_a"), want: []string{tenantA}},
		{name: "another tenant's key, of which it has the hash", hash: hash("pz_b"), want: []string{tenantB}},
		{name: "a revoked key", hash: hash("pz_revoked")},
		{name: "a key that never was", hash: hash("pz_x")},
		{name: "the beginning of a hash", hash: hash("pz_b")[:31]},
		{name: "no hash", hash: []byte{}},
		{name: "null"},
	} {
		if got := find(tc.hash); !slices.Equal(got, tc.want) {
			t.Errorf("%s: found %v, want %v", tc.name, got, tc.want)
		}
	}
	// The table itself shows the tenant's own.
	if got := list(t, api, pgx.RowTo[string], "SELECT name FROM api_keys"); !slices.Equal(got, []string{"pz_a"}) {
		t.Errorf("tenant A lists %v, want its own key alone", got)
	}
	if used := list(t, super, pgx.RowTo[string], "SELECT name FROM api_keys WHERE last_used_at IS NOT NULL ORDER BY name"); !slices.Equal(used, []string{"pz_a", "pz_b"}) {
		t.Errorf("marked as used: %v, want those that were found", used)
	}
}

func TestFindConnections_ShowsTheLiveOnesOfTenantsThatLive(t *testing.T) {
	t.Parallel()
	d := testenv.DB(t)
	super, api := connect(t, d.URL(testenv.Superuser)), connect(t, d.URL(testenv.API))
	for account, row := range map[string]struct {
		tenant, page string
		deleted      bool
	}{
		"1": {tenant: tenantA}, "2": {tenant: tenantB, page: "p2"}, "3": {tenant: tenantB, page: "p3", deleted: true},
	} {
		run(t, super, `INSERT INTO connections (id, tenant_id, channel, name, external_id, page_id, deleted_at)
			VALUES (gen_random_uuid(), $1, 'instagram', 'n', $2, nullif($3, ''), CASE WHEN $4::boolean THEN now() END)`, row.tenant, account, row.page, row.deleted)
	}
	find := func() []string {
		return list(t, api, pgx.RowTo[string], `SELECT external_id FROM find_connections(ARRAY['instagram','instagram','instagram','instagram','whatsapp'],
			ARRAY['1','p2','3','p3','2']) ORDER BY 1`)
	}
	if got := find(); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("found %q, want one by its id and one by its page", got)
	}
	for _, tenant := range []string{tenantA, tenantB} {
		run(t, api, "SELECT delete_tenant($1)", tenant)
	}
	if got := find(); len(got) > 0 {
		t.Errorf("found %q of tenants that were deleted", got)
	}
}

// The migrations' owner passes its rights on through these: only to make and to
// drop days.
func TestPartitions_Functions(t *testing.T) {
	t.Parallel()
	d := testenv.DB(t)
	super, worker := connect(t, d.URL(testenv.Superuser)), connect(t, d.URL(testenv.Worker))
	partitions := "SELECT count(*) FROM pg_inherits WHERE inhparent IN ('events'::regclass, 'webhook_logs'::regclass)"
	before := one[int](t, super, partitions)
	const make2 = "SELECT ensure_partitions('2001-02-03', '2001-02-04')"
	if got := one[int](t, worker, make2); got != 4 {
		t.Errorf("made %d partitions, want 2 days of 2 tables", got)
	}
	if got := one[int](t, worker, make2); got != 0 {
		t.Errorf("made %d partitions again, want none", got)
	}
	for _, fault := range catalogueFaults(t, super) {
		t.Errorf("a partition made by the worker: %s", fault)
	}
	// The last instants of a day belong to it, in UTC.
	run(t, worker, `INSERT INTO webhook_logs (webhook_id, created_at, id, tenant_id, delivery_id, event_id, event_type, attempt, kind, counted, success, status, duration_ms)
		VALUES (gen_random_uuid(), '2001-02-03 23:59:59.999999Z', gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'e', 'deal.moved', 1, 0, true, true, 200, 1)`)
	if got := one[string](t, super, "SELECT tableoid::regclass::text FROM webhook_logs"); got != "webhook_logs_20010203" {
		t.Errorf("the row is in %s", got)
	}
	if _, err := worker.Exec(t.Context(), "SELECT ensure_partitions('2001-01-01', '2003-01-01')"); sqlState(err) != "P0001" {
		t.Errorf("two years at once: %v, want it refused", err)
	}
	if _, err := worker.Exec(t.Context(), "SELECT drop_partition((now() - interval '6 days')::date)"); sqlState(err) != "P0001" {
		t.Errorf("drop what is 6 days old: %v, want it refused", err)
	}
	var dropped []string
	for range 5 {
		if name := one[*string](t, worker, "SELECT drop_partition('2001-02-05')"); name != nil {
			dropped = append(dropped, *name)
		}
	}
	if want := []string{"events_20010203", "webhook_logs_20010203", "events_20010204", "webhook_logs_20010204"}; !slices.Equal(dropped, want) {
		t.Errorf("dropped %v, want %v, oldest first", dropped, want)
	}
	if after := one[int](t, super, partitions); after != before {
		t.Errorf("%d partitions at the end, want the %d from before", after, before)
	}
}
