package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// variant is a way to build our programs.
type variant struct {
	name  string
	flags []string
	build func() (dir string, err error)
}

// checked programs stop at the first data race and have failpoints; they are
// several times slower. fast ones are what is shipped.
var (
	checked = newVariant("checked", "-race", "-tags=failpoint")
	fast    = newVariant("fast")
)

func newVariant(name string, flags ...string) *variant {
	v := &variant{name: name, flags: flags}
	v.build = sync.OnceValues(v.make)
	return v
}

// program is the path of a program, built by the first test that asks.
func (v *variant) program(t testing.TB, name string) string {
	t.Helper()
	dir, err := v.build()
	if err != nil {
		t.Fatalf("build the programs: %v", err)
	}
	return filepath.Join(dir, name)
}

// make builds into bin/, which git ignores, so that a second run need not link
// again. A program that is replaced is moved into its place as a whole: who
// runs the old one goes on with it.
func (v *variant) make() (string, error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin", "e2e", v.name)
	temp := filepath.Join(root, "bin", "e2e", "tmp") // on the same file system, or it would be copied
	for _, d := range []string{dir, temp} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	args := append([]string{"build"}, v.flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", dir+string(filepath.Separator),
		"./services/api/cmd/api", "./services/worker/cmd/worker", "./services/oauth/cmd/oauth")...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOTMPDIR="+temp)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return dir, nil
}
