package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func open(t *testing.T, url string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestMigrate_FromNothing(t *testing.T) {
	t.Parallel()
	account := testenv.NATS(t)
	admin, err := jetstream.New(account.Connect(t, testenv.Admin))
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{bus.StreamEvents, bus.StreamPoison} {
		if err := admin.DeleteStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
	}
	// A database that is not there yet, on a server that has the roles.
	server := testenv.DB(t)
	const name = "primezap_migrate_test"
	target, super := replaceDatabase(t, server.URL(testenv.Owner), name), server.URL(testenv.Superuser)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), super)
		if err == nil {
			_, err = conn.Exec(context.Background(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
			_ = conn.Close(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	})
	cfg := migration{
		Database: database{target}, BootstrapURL: super, NATSURL: account.URL(testenv.Admin), Replicas: 1, MaxBytes: 1 << 24,
	}
	for range 2 { // the second time finds nothing to do
		if err := migrate(t.Context(), cfg, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	if err := bus.Check(t.Context(), admin); err != nil {
		t.Error(err)
	}
	stream, err := admin.Stream(t.Context(), bus.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().Config.MaxBytes; got != 1<<24 {
		t.Errorf("the event store is bounded to %d bytes", got)
	}
	if _, err := open(t, target).Queries().EnsurePartitions(t.Context(), time.Now(), time.Now()); err != nil {
		t.Errorf("the schema is not there: %v", err)
	}
}

func replaceDatabase(t *testing.T, url, name string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(url, "/"+cfg.Database)
	if !found {
		t.Fatalf("%s names no database", url)
	}
	return before + "/" + name + after
}

// A consumer that was lost goes on where Postgres says it was.
func TestMigrate_ConsumersFromTheirFloors(t *testing.T) {
	t.Parallel()
	clone, account := testenv.DB(t), testenv.NATS(t)
	admin, err := jetstream.New(account.Connect(t, testenv.Admin))
	if err != nil {
		t.Fatal(err)
	}
	epoch, err := bus.Epoch(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := bus.NewPublisher(account.Connect(t, testenv.API))
	if err != nil {
		t.Fatal(err)
	}
	events := slices.Repeat([]bus.Event{{
		Tenant: uuid.New(), Class: bus.Live, Type: "deal.moved", ID: "e", Day: bus.Day(time.Now()), Body: []byte("{}"),
	}}, 50)
	if err := errors.Join(publisher.Publish(t.Context(), events...)...); err != nil {
		t.Fatal(err)
	}
	if err := open(t, clone.URL(testenv.Worker)).Queries().SaveConsumerFloor(t.Context(), bus.ConsumerLive, epoch, 41); err != nil {
		t.Fatal(err)
	}
	if err := admin.DeleteConsumer(t.Context(), bus.StreamEvents, bus.ConsumerLive); err != nil {
		t.Fatal(err)
	}
	cfg := migration{
		Database: database{clone.URL(testenv.Owner)}, NATSURL: account.URL(testenv.Admin), Replicas: 1, MaxBytes: 1 << 24,
	}
	if err := migrate(t.Context(), cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	consumer, err := admin.Consumer(t.Context(), bus.StreamEvents, bus.ConsumerLive)
	if err != nil {
		t.Fatal(err)
	}
	if got := consumer.CachedInfo().Config.OptStartSeq; got != 42 {
		t.Errorf("the consumer starts at %d, want 42", got)
	}
}

func TestMigration_Settings(t *testing.T) { // not parallel: it reads the environment
	t.Setenv("DATABASE_URL", "postgres://owner@db/primezap")
	t.Setenv("NATS_URL", "nats://admin@nats")
	var got migration
	if err := config.Load(&got); err != nil {
		t.Fatal(err)
	}
	want := migration{Database: database{"postgres://owner@db/primezap"}, NATSURL: "nats://admin@nats", Replicas: 1, MaxBytes: 8 << 30, AckWait: 30 * time.Second}
	if got != want {
		t.Errorf("read %+v, want %+v", got, want)
	}
}

func TestAPIKey(t *testing.T) { // not parallel: it reads the environment
	clone := testenv.DB(t)
	t.Setenv("DATABASE_URL", clone.URL(testenv.Owner))
	api := open(t, clone.URL(testenv.API))
	tenant := uuid.New()
	for _, tc := range []struct{ name, key string }{{name: "made up"}, {name: "given", key: "pz_development_development"}} {
		args := []string{"-tenant", tenant.String(), "-name", tc.name, "-scopes", "platform,events:write"}
		if tc.key != "" {
			args = append(args, "-key", tc.key)
		}
		for range 2 { // the same key again changes nothing
			var out bytes.Buffer
			if err := apiKey(t.Context(), args, &out); err != nil {
				t.Fatal(err)
			}
			key := strings.TrimSuffix(out.String(), "\n")
			if !strings.HasPrefix(key, "pz_") || tc.key != "" && key != tc.key {
				t.Errorf("%s: printed %q", tc.name, out.String())
			}
			hash := auth.HashKey(key)
			row, err := api.Queries().FindAPIKey(t.Context(), hash[:])
			if err != nil || row.TenantID != tenant || !slices.Equal(row.Scopes, []string{"events:write", "platform"}) {
				t.Errorf("%s: found %+v, %v", tc.name, row, err)
			}
		}
	}
}

func TestNewKey_Refusals(t *testing.T) {
	t.Parallel()
	id := uuid.NewString()
	for _, tc := range []struct{ name, tenant, label, scopes, key, want string }{
		{name: "no tenant", label: "x", scopes: "platform", want: "-tenant"},
		{name: "no name", tenant: id, scopes: "platform", want: "-name"},
		{name: "no scopes", tenant: id, label: "x", want: "-scopes"},
		{name: "an unknown scope", tenant: id, label: "x", scopes: "platform,admin", want: `"admin"`},
		{name: "a key without its prefix", tenant: id, label: "x", scopes: "platform", key: "0123456789abcdef0123456789", want: "-key"},
		{name: "a key too short to be a secret", tenant: id, label: "x", scopes: "platform", key: "pz_dev", want: "-key"},
		{name: "a key with a blank", tenant: id, label: "x", scopes: "platform", key: "pz_0123456789abcdef 0123456789", want: "-key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := newKey(tc.tenant, tc.label, tc.scopes, tc.key); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that names %s", err, tc.want)
			}
		})
	}
}
