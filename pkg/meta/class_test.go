package meta_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/primezap/primezap/pkg/meta"
)

// rows are Meta's tables of errors: those of the Graph API, then those of WhatsApp.
var rows = []struct {
	meaning string
	codes   []int
	class   meta.Class
}{
	{"unknown, service down", []int{1, 2}, meta.Retryable},
	{"app, user, page, custom throttle", []int{4, 17, 32, 613, 341}, meta.RateLimited},
	{"limits of a business use case", []int{80001, 80002, 80006, 80007, 80008}, meta.RateLimited},
	{"token bad", []int{190, 102}, meta.Auth},
	{"capability or permission", append([]int{3, 10}, span(200, 299)...), meta.Permission},
	{"bad parameter", []int{100}, meta.Permanent},
	{"policy block", []int{368}, meta.Policy},
	{"duplicate", []int{506}, meta.Permanent},
	{"version too old", []int{2635}, meta.Permanent},

	{"auth", []int{0, 190}, meta.Auth},
	{"permission", append([]int{3, 10, 131005}, span(200, 299)...), meta.Permission},
	{"transient", []int{1, 2, 131000, 131016, 133004, 131057}, meta.Retryable},
	{"app, WABA, throughput", []int{4, 80007, 130429}, meta.RateLimited},
	{"pair", []int{131056}, meta.RateLimitedRecipient},
	{"spam, template limits", []int{131048, 131064}, meta.Paused},
	{"ecosystem, experiment, opted out", []int{131049, 130472, 131050}, meta.Permanent},
	{"recipient, window, content, account", []int{
		130403, 131026, 131021, 131030, 131047, 131051, 131052, 131053, 131008, 131009, 100, 33,
		131037, 131042, 131045, 131055, 131062, 131063, 133010, 134011, 135000,
	}, meta.Permanent},
	{"template", []int{132000, 132001, 132005, 132007, 132012, 132018, 132068}, meta.Template},
	{"template stopped", []int{132015, 132016}, meta.TemplateStopped},
	{"flow throttled", []int{132069}, meta.RateLimited},
	{"policy, locked, country", []int{368, 131031, 130497}, meta.Policy},
}

func span(from, to int) (codes []int) {
	for code := from; code <= to; code++ {
		codes = append(codes, code)
	}
	return codes
}

func TestClass_OfCode(t *testing.T) {
	t.Parallel()
	var listed []int
	for _, row := range rows {
		for _, code := range row.codes {
			listed = append(listed, code)
			if got := meta.ClassOf(code); got != row.class {
				t.Errorf("%s: ClassOf(%d) = %s, want %s", row.meaning, code, got, row.class)
			}
			// Statuses vary: the code alone counts.
			for _, status := range []int{200, 400, 401, 403, 429, 500} {
				body := fmt.Appendf(nil, `{"error":{"message":"m","type":"OAuthException","code":%d}}`, code)
				if got := meta.ErrorOf(status, body, "token"); got == nil || got.Class != row.class {
					t.Errorf("%s: code %d with status %d: %+v, want class %s", row.meaning, code, status, got, row.class)
				}
				body = fmt.Appendf(nil, `{"error":{"code":%d,"is_transient":true}}`, code)
				if got := meta.ErrorOf(status, body, "token"); got == nil || got.Class != meta.Retryable {
					t.Errorf("%s: code %d that is transient: %+v, want it retryable", row.meaning, code, got)
				}
			}
		}
	}
	for _, code := range slices.Sorted(maps.Keys(meta.Classes)) {
		if !slices.Contains(listed, code) {
			t.Errorf("code %d has class %s, and stands in no row", code, meta.Classes[code])
		}
	}
}

func TestClass_WithoutCode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		status int
		body   string
		token  string
		want   meta.Class
	}{
		{"a gateway's page", 502, `<html>`, "token", meta.Retryable},
		{"a gateway's silence", 503, ``, "token", meta.Retryable},
		{"a throttle without a body", 429, ``, "token", meta.RateLimited},
		{"a page that is not there", 404, `not found`, "token", meta.Permanent},
		{"a redirect", 302, ``, "token", meta.Permanent},
		{"of type OAuthException", 400, `{"error":{"message":"m","type":"OAuthException"}}`, "token", meta.Auth},
		{"of that type with 500", 500, `{"error":{"message":"m","type":"OAuthException"}}`, "token", meta.Retryable},
		{"of another type", 400, `{"error":{"message":"m","type":"GraphMethodException"}}`, "token", meta.Permanent},
		{"an unknown code", 400, `{"error":{"code":987654}}`, "token", meta.Permanent},
		{"an unknown code with 500", 500, `{"error":{"code":987654}}`, "token", meta.Retryable},
		{"200 with a token is a permission", 403, `{"error":{"code":200}}`, "token", meta.Permission},
		{"200 without a token wants one", 403, `{"error":{"code":200}}`, "", meta.Auth},
		{"a wrong proof is a bad parameter", 400, `{"error":{"message":"Invalid appsecret_proof provided in the API argument","type":"GraphMethodException","code":100}}`, "token", meta.Permanent},
		{"a message's own status of an unknown code", 200, `{"error":{"code":987654}}`, "token", meta.Permanent},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := meta.ErrorOf(tc.status, []byte(tc.body), tc.token); got == nil || got.Class != tc.want {
				t.Errorf("%+v, want class %s", got, tc.want)
			}
		})
	}
	if got := meta.ClassOf(987654); got != meta.Permanent {
		t.Errorf("an unknown code is %s", got)
	}
}
