package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
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
	MetaAppSecret    string          `json:"metaAppSecret"`   // of the simulated Meta
	MetaVerifyToken  string          `json:"metaVerifyToken"` // likewise
	OAuthStateKey    string          `json:"oauthStateKey"`
}

var errDirInUse = errors.New("in use by another process")

// lockDir makes the directory and keeps other processes out of it until unlock:
// two would generate keys at once, and one's would be lost.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("DATA_DIR: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	// A child that an earlier process was just starting when it was killed holds
	// a copy for moments.
	patience, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := lock.TryLockContext(patience, 20*time.Millisecond); err != nil {
		if patience.Err() != nil && ctx.Err() == nil {
			err = errDirInUse
		}
		return nil, fmt.Errorf("DATA_DIR %s: %w", dir, err)
	}
	return func() { _ = lock.Close() }, nil // the end of the process frees it too
}

// loadKeys reads the file, or makes it first. The caller has locked dir.
func loadKeys(dir string) (keys, error) {
	path := filepath.Join(dir, "keys.json")
	var k keys
	content, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(content, &k); err != nil {
			return keys{}, fmt.Errorf("%s: %w", path, err)
		}
		if k.Tenant == uuid.Nil || k.APIKey == "" || len(k.VaultKeyset) == 0 || k.DatabasePassword == "" {
			return keys{}, fmt.Errorf("%s: a key is missing", path) // never made again: what it sealed would be lost
		}
		if !k.complete() { // older files lack some, with which nothing is sealed
			return k, nil
		}
		return k, k.write(path)
	case !errors.Is(err, fs.ErrNotExist):
		return keys{}, fmt.Errorf("read keys: %w", err)
	}
	keyset, err := vault.NewKeyset()
	if err != nil {
		return keys{}, fmt.Errorf("make keyset: %w", err)
	}
	k = keys{Tenant: uuid.New(), APIKey: auth.NewKey(), VaultKeyset: keyset, DatabasePassword: rand.Text()}
	k.complete()
	return k, k.write(path)
}

// complete makes what the simulated Meta signs with and asks by, and what logins are
// signed with, where they are missing.
func (k *keys) complete() (changed bool) {
	if k.MetaAppSecret == "" || k.MetaVerifyToken == "" {
		var secret [16]byte
		_, _ = rand.Read(secret[:])                     // never fails
		k.MetaAppSecret = hex.EncodeToString(secret[:]) // as Meta's look
		k.MetaVerifyToken = rand.Text()
		changed = true
	}
	if k.OAuthStateKey == "" {
		k.OAuthStateKey = rand.Text() + rand.Text() // 256 bits
		changed = true
	}
	return changed
}

func (k *keys) write(path string) error {
	content, err := json.MarshalIndent(k, "", "  ")
	if err == nil {
		err = writeWhole(path, content)
	}
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	return nil
}

// writeWhole puts a file of secrets in its place once it is on disk: it is never
// half-written, as losing the keyset would lose every secret.
func writeWhole(path string, content []byte) error {
	part := path + ".part" // one that is there was left by a killed process
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close()) // the name too
}
