package db_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/testenv"
)

// Tables that hold no tenant's rows. Any other one needs a tenant_id.
var nobodys = []string{"consumer_floors", "event_store", "goose_db_version", "oauth_withdrawals"}

const riversPrefix = "river_"

const roleDefiner = "primezap_definer"

// crossing lists where a role's policies show it all tenants' rows. A table that
// is not here is closed to it, whatever setting it makes.
var crossing = map[string][]string{
	db.RoleAPI: nil,
	db.RoleWorker: {
		"tenants", "webhooks", "events", "event_bodies", "idempotency_keys", "outbox", "webhook_logs",
		"webhook_stats_hourly", "webhook_durations_hourly", "webhook_stats_daily", "webhook_queue", "webhook_lanes", "webhook_health",
		"erasures", "tenant_deletions", "audit_log", "replays",
		"connections", "integration_rate_limits", "contacts", "contact_identities", "contact_tags", "conversations", "messages", "channel_updates",
		"oauth_grants", "oauth_states",
	},
	roleDefiner: {"tenants", "api_keys", "webhook_lanes", "webhook_health", "connections", "audit_log", "oauth_grants"},
	// It hands functions over to the definer, so it is a member of it: no more.
	db.RoleOwner: {"tenants", "api_keys", "webhook_lanes", "webhook_health", "connections", "audit_log", "oauth_grants"},
}

// The tenants of every probe.
const (
	tenantA = "0198c0de-0000-7000-8000-00000000000a"
	tenantB = "0198c0de-0000-7000-8000-00000000000b"
)

// table is a tenant table, or a partition of one, as the catalogue has it.
type table struct {
	Name     string
	Parent   string // of a partition
	Key      string // the column that names the tenant
	Security bool   // row level security is on,
	Forced   bool   // and holds for the owner too
	Policies int
	Grantees []string // besides the owner
}

func (tt *table) partition() bool { return tt.Parent != "" }

func tenantTables(t testing.TB, super *pgx.Conn) []table {
	t.Helper()
	return list(t, super, pgx.RowToStructByPos[table], `
		SELECT c.relname, coalesce(p.relname, ''), CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END,
		  c.relrowsecurity, c.relforcerowsecurity,
		  (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid),
		  ARRAY(SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee)::text END
		    FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner)
		FROM pg_class c
		LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
		LEFT JOIN pg_class p ON p.oid = i.inhparent
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
		  AND (c.relname = 'tenants' OR EXISTS (SELECT FROM pg_attribute a
		    WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))
		ORDER BY 1`)
}

// catalogueFaults is what the catalogue alone shows to be wrong.
func catalogueFaults(t testing.TB, super *pgx.Conn) []string {
	t.Helper()
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, tt := range tenantTables(t, super) {
		if !tt.Security {
			fault("%s: row level security is off", tt.Name)
		}
		if !tt.Forced {
			fault("%s: row level security is not forced on the owner", tt.Name)
		}
		switch {
		case !tt.partition() && tt.Policies == 0:
			fault("%s: no policy", tt.Name)
		case tt.partition() && tt.Policies > 0:
			fault("%s: a policy of its own: rows are reached through %s", tt.Name, tt.Parent)
		case tt.partition() && len(tt.Grantees) > 0:
			fault("%s: grants to %v: rows are reached through %s", tt.Name, tt.Grantees, tt.Parent)
		case slices.Contains(tt.Grantees, "public"):
			fault("%s: grants to everybody", tt.Name)
		}
	}
	// Whatever else could show a tenant's rows.
	for _, name := range list(t, super, pgx.RowTo[string], `
		SELECT c.relname FROM pg_class c
		WHERE c.relnamespace = 'public'::regnamespace AND (c.relkind IN ('v', 'm', 'f')
		  OR c.relkind IN ('r', 'p') AND c.relname <> 'tenants' AND c.relname <> ALL ($1) AND NOT starts_with(c.relname, $2)
		    AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))`,
		nobodys, riversPrefix) {
		fault("%s: no tenant_id, so no row level security", name)
	}
	// TRUNCATE heeds no policy; a foreign key or a trigger tells of rows unseen.
	return append(faults, list(t, super, pgx.RowTo[string], `
		SELECT format('%s: %s to %s', c.relname, p, r) FROM pg_class c,
		  unnest(ARRAY['TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p, unnest($1::text[]) AS r
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND has_table_privilege(r, c.oid, p)`,
		[]string{db.RoleAPI, db.RoleWorker, roleDefiner})...)
}

// column is one that a probe may write.
type column struct {
	Name     string
	Type     string
	Required bool // an insert has to give it
	Unique   bool
}

func columns(t testing.TB, super *pgx.Conn, name string) []column {
	t.Helper()
	return list(t, super, pgx.RowToStructByPos[column], `
		SELECT a.attname, format_type(a.atttypid, NULL), a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
		  EXISTS (SELECT FROM pg_index x WHERE x.indrelid = a.attrelid AND x.indisunique AND a.attnum = ANY (x.indkey::int2[]))
		FROM pg_attribute a
		WHERE a.attrelid = ('public.' || quote_ident($1))::regclass AND a.attnum > 0 AND NOT a.attisdropped
		  AND a.attgenerated = '' AND a.attidentity = ''
		ORDER BY a.attnum`, name)
}

// literals are values for columns that no random value of their type will do for.
var literals = map[string]string{
	"connections.channel":                 "'whatsapp'",
	"contacts.source":                     "'whatsapp'",
	"contact_identities.kind":             "'phone'",
	"integration_rate_limits.window_type": "'per_minute'",
	"messages.direction":                  "'inbound'",
}

// literal is a value for a column of a row that stands beside others.
func literal(t testing.TB, name string, c column) string {
	t.Helper()
	if text, ok := literals[name+"."+c.Name]; ok {
		return text
	}
	text, ok := map[string]string{
		"uuid": "gen_random_uuid()", "text": "md5(random()::text)", "text[]": "'{}'", "integer[]": "'{}'", "smallint[]": "'{}'", "bigint[]": "'{}'",
		"bytea": "decode(md5(random()::text), 'hex')", "json": "'{}'", "jsonb": "'{}'", "boolean": "false",
		"smallint": "1", "integer": "(random() * 1e9)::integer", "bigint": "(random() * 1e15)::bigint",
		"date": "(now() AT TIME ZONE 'UTC')::date", "timestamp with time zone": "now()",
	}[c.Type]
	if !ok {
		t.Fatalf("literal has no value of type %s for %s.%s", c.Type, name, c.Name)
	}
	return text
}

func insertRow(t testing.TB, tt *table, cols []column, tenant string) string {
	t.Helper()
	names, values := []string{tt.Key}, []string{"'" + tenant + "'"}
	for _, c := range cols {
		if c.Required && c.Name != tt.Key {
			names, values = append(names, c.Name), append(values, literal(t, tt.Name, c))
		}
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", tt.Name, strings.Join(names, ", "), strings.Join(values, ", "))
}

// seed gives tenant A a row and tenant B two, and returns who has how many.
func seed(t testing.TB, super *pgx.Conn, tt *table, cols []column) map[string]int {
	t.Helper()
	for _, tenant := range []string{tenantA, tenantB, tenantB} {
		run(t, super, insertRow(t, tt, cols, tenant)+" ON CONFLICT DO NOTHING")
	}
	rows := map[string]int{}
	for _, tenant := range list(t, super, pgx.RowTo[string], "SELECT "+tt.Key+"::text FROM "+tt.Name) {
		rows[tenant]++
	}
	if rows[tenantA] == 0 || rows[tenantB] == 0 {
		t.Fatalf("%s: seeded %v", tt.Name, rows)
	}
	return rows
}

// probe is all that may be tried on one table.
type probe struct {
	table  table
	cols   []column
	rows   map[string]int // of each tenant
	faults []string
}

// probeTable tries SELECT, INSERT, UPDATE and DELETE as every role, on fresh and
// on reused connections, without a tenant's setting, with one and with another's,
// and returns what went otherwise than it must.
func probeTable(t testing.TB, d *testenv.Database, tt table) []string {
	t.Helper()
	super := connect(t, d.URL(testenv.Superuser))
	p := &probe{table: tt, cols: columns(t, super, tt.Name)}
	if tt.partition() {
		// Rows come through the parent, and lie in the partition of today.
		parent := tt
		parent.Name, parent.Parent = tt.Parent, ""
		seed(t, super, &parent, columns(t, super, parent.Name))
	} else {
		p.rows = seed(t, super, &tt, p.cols)
	}
	for _, role := range []string{db.RoleAPI, db.RoleWorker, db.RoleOwner, roleDefiner} {
		granted := p.rightsOf(t, super, role)
		reused := open(t, d, role)
		for _, setting := range []string{"", tenantA, tenantB} {
			fresh := open(t, d, role)
			if left := one[*string](t, fresh, "SELECT current_setting('app.tenant_id', true)"); left != nil {
				t.Fatalf("a fresh connection has the setting %q", *left)
			}
			p.as(t, fresh, role, setting, granted, "fresh")
			_ = fresh.Close(t.Context())
			// As a pool hands it on: the last transaction was another tenant's.
			run(t, reused, "BEGIN")
			run(t, reused, "SELECT set_config('app.tenant_id', $1, true)", tenantA)
			run(t, reused, "COMMIT")
			if left := one[*string](t, reused, "SELECT current_setting('app.tenant_id', true)"); left == nil || *left != "" {
				t.Fatalf("a reused connection has the setting %v, want an empty one", left)
			}
			p.as(t, reused, role, setting, granted, "reused")
		}
		_ = reused.Close(t.Context())
	}
	return p.faults
}

// open connects as role. The definer cannot log in: a superuser becomes it.
func open(t testing.TB, d *testenv.Database, role string) *pgx.Conn {
	t.Helper()
	switch role {
	case db.RoleAPI:
		return connect(t, d.URL(testenv.API))
	case db.RoleWorker:
		return connect(t, d.URL(testenv.Worker))
	case db.RoleOwner:
		return connect(t, d.URL(testenv.Owner))
	}
	conn := connect(t, d.URL(testenv.Superuser))
	run(t, conn, "SET ROLE "+role)
	return conn
}

// rights are what a role is granted on a table, before any policy.
type rights struct {
	sel, ins, del bool
	upd           bool   // some column
	updKey        bool   // also the one that names the tenant
	written       column // to try an update with
}

func (p *probe) rightsOf(t testing.TB, super *pgx.Conn, role string) rights {
	t.Helper()
	may := func(privilege string) []string { // the columns
		return list(t, super, pgx.RowTo[string], `
			SELECT attname FROM pg_attribute WHERE attrelid = ('public.' || quote_ident($1))::regclass AND attnum > 0
			  AND NOT attisdropped AND has_column_privilege($2, attrelid, attnum, $3)`, p.table.Name, role, privilege)
	}
	inserted, updated := may("INSERT"), may("UPDATE")
	r := rights{
		sel: slices.Contains(may("SELECT"), p.table.Key),
		ins: !slices.ContainsFunc(p.cols, func(c column) bool { return c.Required && !slices.Contains(inserted, c.Name) }),
		del: one[bool](t, super, "SELECT has_table_privilege($2, 'public.' || quote_ident($1), 'DELETE')", p.table.Name, role),
		upd: len(updated) > 0, updKey: slices.Contains(updated, p.table.Key),
	}
	at := slices.IndexFunc(p.cols, func(c column) bool {
		return !c.Unique && c.Name != p.table.Key && (!r.upd || slices.Contains(updated, c.Name))
	})
	r.written = p.cols[max(at, 0)]
	return r
}

// as tries everything over conn, role's. A statement has no WHERE: that would
// need the right to read.
func (p *probe) as(t testing.TB, conn *pgx.Conn, role, setting string, granted rights, connection string) {
	t.Helper()
	fault := func(format string, args ...any) {
		p.faults = append(p.faults, fmt.Sprintf("%s (connection %s, setting %q): ", role, connection, setting)+fmt.Sprintf(format, args...))
	}
	all := slices.Contains(crossing[role], p.table.Name)
	visible := func(tenant string) bool {
		return !p.table.partition() && (all || role == db.RoleAPI && setting == tenant)
	}
	want := 0
	for tenant, n := range p.rows {
		if visible(tenant) {
			want += n
		}
	}
	for _, stmt := range []struct {
		granted bool
		sql     string
	}{
		{granted.sel, "SELECT " + p.table.Key + "::text FROM " + p.table.Name},
		{granted.del, "DELETE FROM " + p.table.Name},
		{granted.upd, fmt.Sprintf("UPDATE %s SET %s = %s", p.table.Name, granted.written.Name, literal(t, p.table.Name, granted.written))},
	} {
		met, tenants, err := p.try(t, conn, setting, stmt.sql)
		switch {
		case !stmt.granted && !denied(err):
			fault("%s: %v, want permission denied", stmt.sql, err)
		case stmt.granted && err != nil:
			fault("%s: %v", stmt.sql, err)
		case stmt.granted && met != want:
			fault("%s: met %d rows, want %d", stmt.sql, met, want)
		case slices.ContainsFunc(tenants, func(tenant string) bool { return !visible(tenant) }):
			fault("%s: showed rows of %v", stmt.sql, tenants)
		}
	}
	for _, tenant := range []string{tenantA, tenantB} {
		sql := insertRow(t, &p.table, p.cols, tenant)
		if _, _, err := p.try(t, conn, setting, sql); granted.ins && visible(tenant) {
			if err != nil && !taken(err) {
				fault("%s: %v", sql, err)
			}
		} else if !denied(err) {
			fault("%s: %v, want it denied", sql, err)
		}
		if granted.updKey && want > 0 && !visible(tenant) { // a row may not be given away
			sql := fmt.Sprintf("UPDATE %s SET %s = '%s'", p.table.Name, p.table.Key, tenant)
			if _, _, err := p.try(t, conn, setting, sql); !denied(err) {
				fault("%s: %v, want it denied", sql, err)
			}
		}
	}
}

// try runs sql in a transaction with setting, takes it back, and returns how
// many rows it met, and the tenants that a SELECT showed.
func (p *probe) try(t testing.TB, conn *pgx.Conn, setting, sql string) (met int, tenants []string, err error) {
	t.Helper()
	run(t, conn, "BEGIN")
	defer run(t, conn, "ROLLBACK")
	if setting != "" {
		run(t, conn, "SELECT set_config('app.tenant_id', $1, true)", setting)
	}
	rows, err := conn.Query(t.Context(), sql, pgx.QueryExecModeExec) // once: not worth preparing
	if err != nil {
		return 0, nil, err
	}
	tenants, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return int(rows.CommandTag().RowsAffected()), tenants, err
}

func denied(err error) bool { return sqlState(err) == "42501" }

// taken says that a policy let a row pass, and a unique key did not.
func taken(err error) bool { return sqlState(err) == "23505" }

func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

func TestRowSecurity_Catalogue(t *testing.T) {
	t.Parallel()
	super := connect(t, testenv.DB(t).URL(testenv.Superuser))
	for _, fault := range catalogueFaults(t, super) {
		t.Error(fault)
	}
	// What is expected of tables that are no more would go unnoticed.
	var names []string
	for _, tt := range tenantTables(t, super) {
		names = append(names, tt.Name)
	}
	for role, expected := range crossing {
		for _, name := range expected {
			if !slices.Contains(names, name) {
				t.Errorf("%s is expected to see all of %s, which is no tenant table", role, name)
			}
		}
	}
}

func TestRowSecurity_EveryTableEveryRole(t *testing.T) {
	t.Parallel()
	d := testenv.DB(t)
	tables := tenantTables(t, connect(t, d.URL(testenv.Superuser)))
	if len(tables) < 12 {
		t.Fatalf("the catalogue shows %d tenant tables", len(tables))
	}
	for _, tt := range tables {
		t.Run(tt.Name, func(t *testing.T) { // in turns: they share the rows
			for _, fault := range probeTable(t, d, tt) {
				t.Error(fault)
			}
		})
	}
}

// The tests above are worth what they find. Each case breaks a copy of the
// schema in one way.
func TestRowSecurity_BreaksAreFound(t *testing.T) {
	t.Parallel()
	const policy = "CREATE POLICY again ON webhooks TO primezap_api "
	const insertPolicy = "CREATE POLICY again ON webhooks FOR INSERT TO primezap_api "
	for _, tc := range []struct {
		name  string
		sql   string
		found string // in the faults of the catalogue
		probe string // the table that the probes find at fault
	}{
		{name: "a new table without row level security", found: "notes: row level security is off", probe: "notes",
			sql: "CREATE TABLE notes (tenant_id uuid NOT NULL); GRANT SELECT ON notes TO primezap_api"},
		{name: "a new table that only lacks a policy", found: "notes: no policy",
			sql: "CREATE TABLE notes (tenant_id uuid NOT NULL); ALTER TABLE notes ENABLE ROW LEVEL SECURITY; ALTER TABLE notes FORCE ROW LEVEL SECURITY"},
		{name: "a new table that forgets its tenant", found: "notes: no tenant_id",
			sql: "CREATE TABLE notes (webhook_id uuid)"},
		{name: "a view", found: "all_webhooks: no tenant_id",
			sql: "CREATE VIEW all_webhooks AS SELECT * FROM webhooks"},
		{name: "row level security that is not forced", found: "webhooks: row level security is not forced", probe: "webhooks",
			sql: "ALTER TABLE webhooks NO FORCE ROW LEVEL SECURITY"},
		{name: "row level security that is off", found: "webhooks: row level security is off", probe: "webhooks",
			sql: "ALTER TABLE webhooks DISABLE ROW LEVEL SECURITY"},
		{name: "a policy that is gone", probe: "webhooks",
			sql: "DROP POLICY tenant ON webhooks"},
		{name: "every policy that is gone", found: "event_bodies: no policy", probe: "event_bodies",
			sql: "DROP POLICY worker ON event_bodies; DROP POLICY tenant ON event_bodies"},
		{name: "a policy that lets all rows pass", probe: "webhooks",
			sql: policy + "USING (true)"},
		{name: "a policy that lets a row be written for another tenant", probe: "webhooks",
			sql: insertPolicy + "WITH CHECK (true)"},
		{name: "a policy that lets a row be given away", probe: "webhooks",
			sql: "DROP POLICY tenant ON webhooks; " + policy + "USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid)) WITH CHECK (true)"},
		{name: "a policy that fails on a reused connection", probe: "webhooks",
			sql: "DROP POLICY tenant ON webhooks; " + policy + "USING (tenant_id = (SELECT current_setting('app.tenant_id', true)::uuid))"},
		{name: "a policy that fails on a fresh connection", probe: "webhooks",
			sql: "DROP POLICY tenant ON webhooks; " + policy + "USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id'), '')::uuid))"},
		{name: "a worker that reads API keys", probe: "api_keys",
			sql: "GRANT SELECT ON api_keys TO primezap_worker; CREATE POLICY worker ON api_keys TO primezap_worker USING (true)"},
		{name: "a policy for everybody", probe: "webhook_lanes",
			sql: "CREATE POLICY everybody ON webhook_lanes USING (true)"},
		{name: "a grant on a partition", found: "grants to [primezap_api]",
			sql: "DO $$ BEGIN EXECUTE 'GRANT SELECT ON ' || (SELECT min(inhrelid)::regclass FROM pg_inherits WHERE inhparent = 'events'::regclass) || ' TO primezap_api'; END $$"},
		{name: "a partition that was made by hand", found: "events_2030: row level security is off", probe: "events_2030",
			sql: "CREATE TABLE events_2030 PARTITION OF events FOR VALUES FROM ('2030-01-01') TO ('2031-01-01'); GRANT INSERT ON events_2030 TO primezap_api"},
		{name: "a right to truncate", found: "webhook_logs: TRUNCATE to primezap_worker",
			sql: "GRANT TRUNCATE ON webhook_logs TO primezap_worker"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := testenv.DB(t)
			super := connect(t, d.URL(testenv.Superuser))
			run(t, connect(t, d.URL(testenv.Owner)), tc.sql)
			faults := catalogueFaults(t, super)
			if tc.found != "" && !strings.Contains(strings.Join(faults, "\n"), tc.found) {
				t.Errorf("the catalogue's faults are %q, want %q among them", faults, tc.found)
			}
			if tc.probe == "" {
				return
			}
			tables := tenantTables(t, super)
			at := slices.IndexFunc(tables, func(tt table) bool { return tt.Name == tc.probe })
			if faults := probeTable(t, d, tables[at]); len(faults) == 0 {
				t.Errorf("the probes find nothing wrong with %s", tc.probe)
			}
		})
	}
}
