package webhook_test

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"github.com/primezap/primezap/pkg/webhook"
)

// vectors is testdata/vectors.json, which the tests in interop read too.
type vectors struct {
	Vectors          []vector
	StandardRequests []request
	HexRequests      []request
}

type vector struct {
	Name, Secret, Event, ID, Body, Hex, Standard string
	Previous                                     []string
	Timestamp                                    int64
	NotOurs                                      bool // not a body that PrimeZap would send
}

type request struct {
	Name, Secret, Body string
	Headers            map[string]string
	Now                int64
	Error              string // a key of sentinels; empty: accepted
}

// sentinels are the errors that the file's names stand for.
var sentinels = map[string]error{
	"":          nil,
	"notSigned": webhook.ErrNoSignature,
	"timestamp": webhook.ErrTimestamp,
	"tooOld":    webhook.ErrTooOld,
	"tooNew":    webhook.ErrTooNew,
	"signature": webhook.ErrSignature,
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file vectors
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) < 10 || len(file.StandardRequests) < 10 || len(file.HexRequests) < 5 {
		t.Fatal("testdata/vectors.json lacks vectors")
	}
	return file
}

func (r request) header() http.Header {
	h := http.Header{}
	for name, value := range r.Headers {
		h.Set(name, value)
	}
	return h
}

// want is the error that the request must be refused for.
func (r request) want(t *testing.T) error {
	t.Helper()
	err, known := sentinels[r.Error]
	if !known {
		t.Fatalf("vectors.json names an unknown error %q", r.Error)
	}
	return err
}
