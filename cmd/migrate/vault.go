package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
)

// keyset is the setting of what works on keys alone.
type keyset struct {
	Keyset string `env:"VAULT_KEYSET,required" secret:"true" help:"Tink AEAD keyset in JSON that seals secrets at rest"`
}

// vaultKeys tells of each key what it does, and how many webhooks, connections and grants
// have something sealed under it.
func vaultKeys(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown argument %q", args[0])
	}
	var cfg struct {
		URL   string `env:"DATABASE_URL,required" secret:"true" help:"Postgres as the role primezap_worker"`
		Vault keyset
	}
	if err := config.Load(&cfg); err != nil {
		return err
	}
	v, err := vault.Open([]byte(cfg.Vault.Keyset))
	if err != nil {
		return fmt.Errorf("VAULT_KEYSET: %w", err)
	}
	worker, err := store.Open(ctx, cfg.URL, 1)
	if err != nil {
		return err
	}
	defer worker.Close()
	seals, err := worker.Queries().CountSeals(ctx)
	if err != nil {
		return fmt.Errorf("count what is sealed by key: %w", err)
	}
	under := make(map[uint32]db.CountSealsRow)
	var unreadable db.CountSealsRow
	for _, s := range seals {
		if id, err := vault.KeyID(s.Prefix); err == nil {
			under[id] = s
		} else {
			unreadable.Webhooks += s.Webhooks
			unreadable.Connections += s.Connections
			unreadable.Grants += s.Grants
		}
	}
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tDOES\tWEBHOOKS\tCONNECTIONS\tGRANTS")
	for _, k := range v.Keys() {
		does := "opens"
		if k.Primary {
			does = "seals"
		}
		fmt.Fprintf(table, "%d\t%s\t%d\t%d\t%d\n", k.ID, does, under[k.ID].Webhooks, under[k.ID].Connections, under[k.ID].Grants)
		delete(under, k.ID)
	}
	for id, n := range under {
		fmt.Fprintf(table, "%d\tis missing\t%d\t%d\t%d\n", id, n.Webhooks, n.Connections, n.Grants)
	}
	if unreadable.Webhooks+unreadable.Connections+unreadable.Grants > 0 {
		fmt.Fprintf(table, "?\tis none\t%d\t%d\t%d\n", unreadable.Webhooks, unreadable.Connections, unreadable.Grants)
	}
	return table.Flush()
}

var errKeysetUsage = errors.New("say what to print: keyset new, keyset add, keyset promote or keyset remove ID")

// printKeyset prints a new keyset, or VAULT_KEYSET with a change. It changes
// nothing by itself: whoever runs it puts the result where secrets are kept.
func printKeyset(args []string, out io.Writer) error {
	change, err := keysetChange(args)
	if err != nil {
		return err
	}
	var cfg keyset
	if args[0] != "new" {
		if err := config.Load(&cfg); err != nil {
			return err
		}
	}
	keys, err := change([]byte(cfg.Keyset))
	if errors.Is(err, vault.ErrKeyset) {
		return fmt.Errorf("VAULT_KEYSET: %w", err)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", keys)
	return err
}

func keysetChange(args []string) (func([]byte) ([]byte, error), error) {
	switch {
	case len(args) == 1 && args[0] == "new":
		return func([]byte) ([]byte, error) { return vault.NewKeyset() }, nil
	case len(args) == 1 && args[0] == "add":
		return vault.AddKey, nil
	case len(args) == 1 && args[0] == "promote":
		return vault.PromoteKey, nil
	case len(args) == 2 && args[0] == "remove":
		id, err := strconv.ParseUint(args[1], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%q is no key's id", args[1])
		}
		return func(keys []byte) ([]byte, error) { return vault.RemoveKey(keys, uint32(id)) }, nil
	}
	return nil, errKeysetUsage
}
