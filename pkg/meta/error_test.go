package meta_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/primezap/primezap/pkg/meta"
)

func TestError_Decoding(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   *meta.Error
	}{
		{"all of it", 400, `{"error":{"message":"Error validating access token","type":"OAuthException","code":190,"error_subcode":463,
			"is_transient":false,"error_user_title":"Title","error_user_msg":"Please log in","fbtrace_id":"AbC"}}`,
			&meta.Error{Status: 400, Coded: true, Code: 190, Subcode: 463, Type: "OAuthException", Message: "Error validating access token",
				UserTitle: "Title", UserMessage: "Please log in", FBTraceID: "AbC", Class: meta.Auth}},
		{"WhatsApp's details", 400, `{"error":{"message":"(#131030)","code":131030,"error_data":{"messaging_product":"whatsapp","details":"Not in allowed list"}}}`,
			&meta.Error{Status: 400, Coded: true, Code: 131030, Message: "(#131030)", Details: "Not in allowed list", Class: meta.Permanent}},
		{"details that are a string", 400, `{"error":{"code":100,"error_data":"{\"blame\":1}"}}`,
			&meta.Error{Status: 400, Coded: true, Code: 100, Details: `{"blame":1}`, Class: meta.Permanent}},
		{"details of another form", 400, `{"error":{"code":100,"error_data":{"blame":1}}}`,
			&meta.Error{Status: 400, Coded: true, Code: 100, Details: `{"blame":1}`, Class: meta.Permanent}},
		{"an error that is a string", 400, `{"error":"invalid_request","error_description":"no client"}`,
			&meta.Error{Status: 400, Message: "invalid_request", Details: "no client", Class: meta.Permanent}},
		{"no code", 400, `{"error":{"message":"m"}}`, &meta.Error{Status: 400, Message: "m", Class: meta.Permanent}},
		{"code 0 is a code", 401, `{"error":{"code":0}}`, &meta.Error{Status: 401, Coded: true, Class: meta.Auth}},
		{"codes that are strings", 400, `{"error":{"code":"190","error_subcode":"463","is_transient":"false"}}`,
			&meta.Error{Status: 400, Coded: true, Code: 190, Subcode: 463, Class: meta.Auth}},
		{"fields of the wrong type", 400, `{"error":{"message":{"a":1},"type":7,"code":[4],"error_subcode":{},"fbtrace_id":null,"is_transient":"TRUE"}}`,
			&meta.Error{Status: 400, Message: `{"a":1}`, Type: "7", Transient: true, Class: meta.Retryable}},
		{"an error in a success", 200, `{"error":{"code":4}}`, &meta.Error{Status: 200, Coded: true, Code: 4, Class: meta.RateLimited}},
		{"no JSON", 400, `Bad Request`, &meta.Error{Status: 400, Class: meta.Permanent}},
		{"JSON broken off", 400, `{"error":{"code":4`, &meta.Error{Status: 400, Class: meta.Permanent}},
		{"an array", 400, `[{"error":{"code":4}}]`, &meta.Error{Status: 400, Class: meta.Permanent}},
		{"a success", 200, `{"id":"1"}`, nil},
		{"a success that says there was no error", 200, `{"error":null}`, nil},
		{"a success that is true", 200, `true`, nil},
		{"characters that cannot be stored", 400, `{"error":{"message":"a\u0000b\ud800c"}}`,
			&meta.Error{Status: 400, Message: "ab\uFFFDc", Class: meta.Permanent}},
		{"bytes that are no text", 400, "{\"error\":{\"message\":[\"a\xff\"]}}", &meta.Error{Status: 400, Message: "[\"a\uFFFD\"]", Class: meta.Permanent}},
		{"a long text is cut between characters", 400, `{"error":{"message":"x` + strings.Repeat("ä", 1<<10) + `"}}`,
			&meta.Error{Status: 400, Message: "x" + strings.Repeat("ä", 1<<9-1), Class: meta.Permanent}},
		{"the token within what cannot be stored", 400, `{"error":{"message":"to+\u0000ken/1"}}`, &meta.Error{Status: 400, Message: "[hidden]", Class: meta.Permanent}},
		{"the token, quoted and escaped", 400, `{"error":{"message":"Malformed access token to+ken/1 (to%2Bken%2F1)","error_user_msg":"to+ken/1","error_data":{"details":["to+ken/1"]}}}`,
			&meta.Error{Status: 400, Message: "Malformed access token [hidden] ([hidden])", UserMessage: "[hidden]", Details: `["[hidden]"]`, Class: meta.Permanent}},
		{"another's token", 400, `{"error":{"message":"Malformed access token EAABwzLixnjYBO0123456789abcdefZD for EAA"}}`,
			&meta.Error{Status: 400, Message: "Malformed access token [hidden] for EAA", Class: meta.Permanent}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := meta.ErrorOf(tc.status, []byte(tc.body), "to+ken/1"); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestReadError(t *testing.T) {
	t.Parallel()
	header := http.Header{"X-App-Usage": {`{"call_count":28}`}}
	e := meta.ReadError(400, header, []byte(`{"error":{"code":100,"message":"the code hush is used"}}`), "", "hush")
	if e == nil || e.Message != "the code [hidden] is used" || e.Usage.App == nil || e.Usage.App.Calls != 28 {
		t.Errorf("error %+v", e)
	}
	if e := meta.ReadError(200, header, []byte(`{"id":"1"}`)); e != nil {
		t.Errorf("a success is %+v", e)
	}
}

func TestError_Error(t *testing.T) {
	t.Parallel()
	t.Run("says what is safe to log", func(t *testing.T) {
		t.Parallel()
		e := &meta.Error{
			Status: 400, Coded: true, Code: 190, Subcode: 463, Type: "OAuthException", FBTraceID: "AbC+/1", Class: meta.Auth,
			Message: "to +5511900000001", UserTitle: "Ana", UserMessage: "Ana", Details: "Ana",
		}
		const want = "meta: status 400, code 190/463, OAuthException, AbC+/1, auth"
		if e.Error() != want {
			t.Errorf("error %q, want %q", e, want)
		}
	})
	t.Run("leaves out names that are none", func(t *testing.T) {
		t.Parallel()
		e := &meta.Error{Status: 502, Type: "a\nb", FBTraceID: strings.Repeat("x", 65), Class: meta.Retryable}
		const want = "meta: status 502, retryable"
		if e.Error() != want {
			t.Errorf("error %q, want %q", e, want)
		}
	})
}

func TestError_Is(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		status  int
		body    string
		unknown bool
	}{
		{"a gateway may have passed the call on", 504, `<html>`, true},
		{"Meta's own 500 is decided", 500, `{"error":{"code":2}}`, false},
		{"a refusal is decided", 400, `Bad Request`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := meta.ErrorOf(tc.status, []byte(tc.body), "token")
			if got := errors.Is(err, meta.ErrOutcomeUnknown); got != tc.unknown {
				t.Errorf("outcome unknown %t, want %t", got, tc.unknown)
			}
			if errors.Is(err, meta.ErrNotSent) {
				t.Error("an answer came, and yet it was not sent")
			}
		})
	}
}

func FuzzError(f *testing.F) {
	for _, body := range []string{
		`{"error":{"message":"m","type":"OAuthException","code":190,"error_subcode":"463","is_transient":true,"error_data":{"details":"d"}}}`,
		`{"error":"s","error_description":"d"}`, `{"error":{"code":"4"}}`, `{"error":{"code":1e99}}`, `[]`, `true`, ``, "{\"error\":{\"message\":\"\\u0000\xff\"}}",
	} {
		f.Add(400, []byte(body), "EAABtoken")
		f.Add(200, []byte(body), "")
	}
	f.Fuzz(func(t *testing.T, status int, body []byte, token string) {
		e := meta.ErrorOf(status, body, token)
		if e == nil {
			if status < 200 || status > 299 {
				t.Fatalf("status %d is no success", status)
			}
			return
		}
		known := []meta.Class{
			meta.Retryable, meta.RateLimited, meta.RateLimitedRecipient, meta.Auth, meta.Permission, meta.Permanent,
			meta.Template, meta.TemplateStopped, meta.Paused, meta.Policy,
		}
		if !slices.Contains(known, e.Class) {
			t.Errorf("class %q", e.Class)
		}
		if e.Transient && e.Class != meta.Retryable {
			t.Errorf("transient, and yet %s", e.Class)
		}
		for _, s := range []string{e.Type, e.Message, e.FBTraceID, e.UserTitle, e.UserMessage, e.Details} {
			if len(s) > 1<<10 || !utf8.ValidString(s) || strings.Contains(s, "\x00") {
				t.Errorf("text %q cannot be stored", s)
			}
			if len(token) > 8 && strings.Contains(s, token) && !strings.Contains("[hidden]", token) {
				t.Errorf("text %q shows the token", s)
			}
		}
		if s := e.Error(); strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q is not for a log", s)
		}
		if _, err := json.Marshal(e); err != nil {
			t.Error(err)
		}
	})
}
