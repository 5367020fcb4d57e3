package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/vault"
)

// keys is what is generated once and kept in DATA_DIR/keys.json.
type keys struct {
	Tenant           uuid.UUID       `json:"tenantId"`
	APIKey           string          `json:"apiKey"`
	VaultKeyset      json.RawMessage `json:"vaultKeyset"`
	DatabasePassword string          `json:"databasePassword"`
}

// loadKeys reads the file, or writes it first. It is never half-written: losing
// the keyset would lose every secret.
func loadKeys(dir string) (keys, error) {
	path := filepath.Join(dir, "keys.json")
	var k keys
	content, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(content, &k); err != nil {
			return keys{}, fmt.Errorf("%s: %w", path, err)
		}
		return k, nil
	case !errors.Is(err, fs.ErrNotExist):
		return keys{}, fmt.Errorf("read keys: %w", err)
	}
	keyset, err := vault.NewKeyset()
	if err != nil {
		return keys{}, fmt.Errorf("make keyset: %w", err)
	}
	k = keys{Tenant: uuid.New(), APIKey: auth.NewKey(), VaultKeyset: keyset, DatabasePassword: uuid.NewString()}
	if content, err = json.MarshalIndent(k, "", "  "); err != nil {
		return keys{}, fmt.Errorf("write keys: %w", err)
	}
	return k, writeWhole(path, content)
}

// writeWhole puts the file in its place only once it is on disk.
func writeWhole(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".keys")
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write keys: %w", err), os.Remove(file.Name()))
	}
	return nil
}
