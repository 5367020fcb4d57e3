package egress_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/egress"
)

func TestReservedHeader(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"Content-Type", "content-length", "CONTENT-ENCODING", "User-Agent", "Host", "Connection", "Keep-Alive",
		"Transfer-Encoding", "transfer-encoding", "TE", "Trailer", "Upgrade", "HTTP2-Settings", "Expect",
		"Accept-Encoding", "Proxy-Authorization", "Proxy-Connection", "webhook-id", "Webhook-Signature",
		"webhook-timestamp", "X-Webhook-Event", "x-webhook-signature", "X-Webhook-Anything",
		"Traceparent", "tracestate", "Baggage", "Idempotency-Key", "X-Idempotency-Key",
		"Webhook-" + strings.Repeat("x", 100),
	} {
		if !egress.ReservedHeader(name) {
			t.Errorf("%s can be set", name)
		}
	}
	for _, name := range []string{
		"Authorization", "X-Api-Key", "Cookie", "Accept", "X-Content-Type", "Webhook", "Hosts",
		"X-Forwarded-For", "X-" + strings.Repeat("a", 100),
	} {
		if egress.ReservedHeader(name) {
			t.Errorf("%s cannot be set", name)
		}
	}
}

func TestCheckHeader(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rule, name, value string
		detail            string // "" for one that can be sent
	}{
		{rule: "a common header", name: "Authorization", value: "Bearer abc"},
		{rule: "an empty value", name: "X-Empty"},
		{rule: "the longest name and value", name: strings.Repeat("x", 128), value: strings.Repeat("v", 4096)},
		{rule: "no name", value: "v", detail: "must have a valid HTTP header name"},
		{rule: "a space in the name", name: "X Key", value: "v", detail: "must have a valid HTTP header name"},
		{rule: "a colon in the name", name: "X-Key:", value: "v", detail: "must have a valid HTTP header name"},
		{rule: "a line break in the name", name: "X\r\nHost", value: "v", detail: "must have a valid HTTP header name"},
		{rule: "a pseudo-header", name: ":authority", value: "v", detail: "must have a valid HTTP header name"},
		{rule: "too long a name", name: strings.Repeat("x", 129), value: "v", detail: "must have a name of at most 128 bytes"},
		{rule: "a reserved name", name: "HOST", value: "v", detail: "must not replace a header that PrimeZap sets"},
		{rule: "too long a value", name: "X-Key", value: strings.Repeat("v", 4097), detail: "must have a value of at most 4096 bytes"},
		{rule: "a line break in the value", name: "X-Key", value: "a\r\nHost: b", detail: "must have a value without control characters"},
		{rule: "a NUL in the value", name: "X-Key", value: "a\x00", detail: "must have a value without control characters"},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			t.Parallel()
			err := egress.CheckHeader(tc.name, tc.value)
			if tc.detail == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if refusal, ok := errors.AsType[*egress.Refusal](err); !ok || refusal.Detail != tc.detail {
				t.Errorf("got %v, want a refusal %q", err, tc.detail)
			}
		})
	}
}
