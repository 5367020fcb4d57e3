package webhook_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/primezap/primezap/pkg/webhook"
)

// docs: from here

// receive returns a handler for webhooks signed with secret.
func receive(secret string, handle func(id string, body []byte) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "unreadable body", http.StatusBadRequest)
			return
		}
		if err := webhook.Verify(r.Header, body, secret, time.Now(), webhook.DefaultTolerance); err != nil {
			http.Error(w, "not verified", http.StatusUnauthorized)
			return
		}
		if err := handle(r.Header.Get(webhook.HeaderID), body); err != nil {
			http.Error(w, "try again", http.StatusInternalServerError) // we will
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// docs: to here

func ExampleVerify() {
	secret := webhook.NewSecret()
	handler := receive(secret, func(_ string, body []byte) error {
		fmt.Printf("%s\n", body)
		return nil
	})

	const body = `{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{}}`
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, sent := range []string{body, body + " "} { // the second is not what was signed
		req := httptest.NewRequest(http.MethodPost, "/webhooks", strings.NewReader(sent))
		signer.Sign(req.Header, "0199ffa0-1c00-7100-8a00-3f2b6d1e9c00", "deal.moved", time.Now(), []byte(body))
		answer := httptest.NewRecorder()
		handler(answer, req)
		fmt.Println(answer.Code)
	}
	// Output:
	// {"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{}}
	// 204
	// 401
}
