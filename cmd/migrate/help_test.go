package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain_Help(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "migrate")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), program, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"migrate api-key ", "migrate keyset ", "migrate vault-keys ", "DATABASE_URL "} {
		if !strings.Contains(string(out), want) {
			t.Errorf("--help does not tell of %q", want)
		}
	}
}
