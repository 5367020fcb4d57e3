package inbound_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/meta/inbound"
)

var update = flag.Bool("update", false, "write what is read to the golden files")

// TestParse_Golden reads every body in testdata and compares with the file beside it.
// Values are invented; shapes are Meta's.
func TestParse_Golden(t *testing.T) {
	t.Parallel()
	for _, file := range fixtures(t) {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".json"), func(t *testing.T) {
			t.Parallel()
			body := readFile(t, file)
			updates, err := inbound.Parse(body)
			if err != nil {
				t.Fatal(err)
			}
			got := shown(t, updates)
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := readFile(t, golden); !bytes.Equal(got, want) {
				t.Errorf("%s gives\n%s\nwant\n%s", file, got, want)
			}
			checkStorable(t, updates)
		})
	}
}

// TestParse_GoldenFilesAreOfBodies keeps golden files from outliving their bodies.
func TestParse_GoldenFilesAreOfBodies(t *testing.T) {
	t.Parallel()
	golden, err := filepath.Glob("testdata/*/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	if bodies := fixtures(t); len(golden) != len(bodies) {
		t.Errorf("%d golden files of %d bodies", len(golden), len(bodies))
	}
}

func fixtures(tb testing.TB) []string {
	tb.Helper()
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no bodies in testdata: %v", err)
	}
	return files
}

func readFile(tb testing.TB, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// shown is updates as golden files have them, without Raw.
func shown(tb testing.TB, updates []inbound.Update) []byte {
	tb.Helper()
	type view struct {
		Is       string
		Channel  string
		Accounts []string `json:",omitempty"`
		Field    string
		At       time.Time `json:",omitzero"`
		Standby  bool      `json:",omitempty"`
		Payload  any
	}
	all := make([]view, 0, len(updates))
	for _, u := range updates {
		all = append(all, view{
			Is: strings.TrimPrefix(fmt.Sprintf("%T", u.Payload), "inbound."), Channel: string(u.Channel),
			Accounts: u.Accounts, Field: u.Field, At: u.At, Standby: u.Standby, Payload: u.Payload,
		})
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(all); err != nil {
		tb.Fatal(err)
	}
	return text.Bytes()
}
