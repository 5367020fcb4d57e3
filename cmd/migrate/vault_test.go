package main

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
)

// TestKeyset_Rotation makes the keysets that replace a key, one after another, and
// looks at what each key is still needed for.
func TestKeyset_Rotation(t *testing.T) { // not parallel: it reads the environment
	clone := testenv.DB(t)
	t.Setenv("DATABASE_URL", clone.URL(testenv.Worker))
	keyset := func(args ...string) (*vault.Vault, string) {
		t.Helper()
		var out bytes.Buffer
		if err := printKeyset(args, &out); err != nil {
			t.Fatal(err)
		}
		t.Setenv("VAULT_KEYSET", out.String())
		v, err := vault.Open(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		return v, strconv.FormatUint(uint64(v.PrimaryKeyID()), 10)
	}
	list := func() string {
		t.Helper()
		var out bytes.Buffer
		if err := vaultKeys(t.Context(), nil, &out); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(out.String()) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		return strings.Join(lines[1:], "\n")
	}
	api := open(t, clone.URL(testenv.API))
	insert := func(v *vault.Vault) {
		t.Helper()
		row := db.InsertWebhookParams{
			ID: uuid.Must(uuid.NewV7()), TenantID: uuid.New(), Name: "n", Url: "https://example.com", Events: []string{"*"},
			HeaderNames: []string{}, RetryDelays: []int32{},
		}
		var err error
		binding := vault.Binding{Tenant: row.TenantID, Table: "webhooks", Row: row.ID.String(), Purpose: "secret"}
		if row.Secret, err = v.Seal([]byte("secret"), binding); err != nil {
			t.Fatal(err)
		}
		err = api.InTenant(t.Context(), row.TenantID, func(q *db.Queries) error {
			_, err := q.InsertWebhook(context.WithoutCancel(t.Context()), row)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	connect := func(v *vault.Vault) {
		t.Helper()
		id, tenant := uuid.Must(uuid.NewV7()), uuid.New()
		sealed, err := v.Seal([]byte("token"), vault.Binding{Tenant: tenant, Table: "connections", Row: id.String(), Purpose: "access_token"})
		if err != nil {
			t.Fatal(err)
		}
		err = api.InTenant(t.Context(), tenant, func(q *db.Queries) error {
			_, err := q.InsertConnection(context.WithoutCancel(t.Context()), db.InsertConnectionParams{
				ID: id, TenantID: tenant, Channel: "whatsapp", Name: "n", ExternalID: id.String(), Credentials: sealed,
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	logIn := func(v *vault.Vault) {
		t.Helper()
		tenant := uuid.New()
		err := api.InTenant(t.Context(), tenant, func(q *db.Queries) error {
			_, err := grant.Save(context.WithoutCancel(t.Context()), q, v, tenant, audit.System, grant.Login{UserID: "777", Permission: grant.Permission{Token: "token"}})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	v, old := keyset("new")
	insert(v)
	insert(v)
	connect(v)
	logIn(v)
	if got, want := list(), old+" seals 2 1 1"; got != want {
		t.Errorf("at first %q, want %q", got, want)
	}
	v, _ = keyset("add")
	added := strconv.FormatUint(uint64(v.Keys()[1].ID), 10)
	insert(v)
	if got, want := list(), old+" seals 3 1 1\n"+added+" opens 0 0 0"; got != want {
		t.Errorf("with a key more %q, want %q", got, want)
	}
	v, primary := keyset("promote")
	insert(v)
	connect(v)
	connect(v)
	if got, want := list(), old+" opens 3 1 1\n"+added+" seals 1 2 0"; got != want || primary != added {
		t.Errorf("with the new key promoted %q, want %q", got, want)
	}
	keyset("remove", old)
	if got, want := list(), added+" seals 1 2 0\n"+old+" is missing 3 1 1"; got != want {
		t.Errorf("without the old key %q, want %q", got, want)
	}
}

func TestKeyset_Refusals(t *testing.T) { // not parallel: it reads the environment
	for _, tc := range []struct {
		name, keyset, want string
		args               []string
	}{
		{name: "nothing to do", want: "say what to print"},
		{name: "what there is not", args: []string{"destroy"}, want: "say what to print"},
		{name: "no keyset", args: []string{"add"}, want: "VAULT_KEYSET"},
		{name: "what is no keyset", args: []string{"promote"}, keyset: "s3cret", want: "VAULT_KEYSET: not a Tink"},
		{name: "no id", args: []string{"remove", "old"}, want: `"old" is no key's id`},
	} {
		t.Setenv("VAULT_KEYSET", tc.keyset)
		var out bytes.Buffer
		err := printKeyset(tc.args, &out)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "s3cret") || out.Len() > 0 {
			t.Errorf("%s: %v, want %s, without the keyset", tc.name, err, tc.want)
		}
	}
}
