package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// fetched is the version that is downloaded where nothing else is found.
const (
	fetched      = embeddedpostgres.V18
	fetchedMajor = 18
)

// fetchDir is where an installation is kept once it is downloaded.
func fetchDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "primezap", "postgres-"+string(fetched)), nil
}

// fetchBinaries downloads an installation into fetchDir. The library offers no
// download alone, so it makes and starts a throwaway cluster; from then on its
// programs are run by us like any others.
func fetchBinaries(ctx context.Context, who identity, major int) (binaries, error) {
	if major != 0 && major != fetchedMajor {
		return binaries{}, fmt.Errorf("the data was made by version %d, which was not found: install it, or move the data away: %w", major, ErrUnavailable)
	}
	if who.switches {
		return binaries{}, fmt.Errorf("no binaries of version %d or later on PATH or where packages put them, no Docker engine answers, "+
			"and a download cannot be set up as root: install PostgreSQL, start Docker, or run as another user: %w", minMajor, ErrUnavailable)
	}
	dir, err := fetchDir()
	if err != nil {
		return binaries{}, fmt.Errorf("place for a download: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return binaries{}, fmt.Errorf("place for a download: %w", err)
	}
	// Under another name until it is whole: a kill or a second download in
	// between must not leave half of it.
	part, err := os.MkdirTemp(filepath.Dir(dir), "download-")
	if err != nil {
		return binaries{}, fmt.Errorf("place for a download: %w", err)
	}
	done := make(chan error, 1)
	go func() { // the library cannot be interrupted: a cancelled start leaves it behind
		defer func() { _ = os.RemoveAll(part) }()
		done <- fetch(part, dir)
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return binaries{}, errors.Join(fmt.Errorf("download PostgreSQL %s: %w", fetched, err), ErrUnavailable)
	}
	return binaries{dir: filepath.Join(dir, "bin"), major: fetchedMajor}, nil
}

func fetch(part, dir string) error {
	free, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	installation := filepath.Join(part, "installation")
	throwaway := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(fetched).
		Port(uint32(port)).
		Locale("C").
		CachePath(filepath.Join(part, "archive")).
		RuntimePath(filepath.Join(part, "runtime")).
		BinariesPath(installation).
		Logger(nil))
	if err := throwaway.Start(); err != nil {
		return err
	}
	if err := throwaway.Stop(); err != nil {
		return err
	}
	if err := os.Rename(installation, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
