package strict_test

import (
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/strict"
)

type policy struct {
	Delays *[]int `json:"delays,omitempty"`
}

type body struct {
	Name    string                             `json:"name"`
	Active  *bool                              `json:"active,omitempty"`
	Retry   *policy                            `json:"retry,omitempty"`
	Headers map[string]string                  `json:"headers,omitempty"`
	Patch   strict.Optional[policy]            `json:"patch"`
	Map     strict.Optional[map[string]string] `json:"map"`
	Owner   strict.Optional[uuid.UUID]         `json:"owner"`
}

func TestUnmarshal_Refusals(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 100_000)
	for _, tc := range []struct {
		name, body string
		status     int
		pointer    string
		detail     string
	}{
		{name: "an unknown field is named", body: `{"nom":1}`, status: 422, pointer: "/nom", detail: "is not a known field"},
		{name: "so is one further inside", body: `{"retry":{"a/b":1}}`, status: 422, pointer: "/retry/a~1b", detail: "is not a known field"},
		{name: "names do not match in another case", body: `{"Name":"x"}`, status: 422, pointer: "/Name", detail: "is not a known field"},
		{name: "a field given twice is refused", body: `{"name":"a","name":"b"}`, status: 422, pointer: "/name", detail: "is given twice"},
		{name: "a number is no string", body: `{"name":1}`, status: 422, pointer: "/name", detail: "must be a string"},
		{name: "an object is no string", body: `{"name":{}}`, status: 422, pointer: "/name", detail: "must be a string"},
		{name: "a string is no truth value", body: `{"active":"yes"}`, status: 422, pointer: "/active", detail: "must be true or false"},
		{name: "an array is no object", body: `{"retry":[]}`, status: 422, pointer: "/retry", detail: "must be an object"},
		{name: "an object is no array", body: `{"retry":{"delays":{}}}`, status: 422, pointer: "/retry/delays", detail: "must be an array"},
		{name: "a fraction is no whole number", body: `{"retry":{"delays":[1,2.5]}}`, status: 422, pointer: "/retry/delays/1", detail: "must be a whole number in range"},
		{name: "nor is a number beyond all integers", body: `{"retry":{"delays":[1e400]}}`, status: 422, pointer: "/retry/delays/0", detail: "must be a whole number in range"},
		{name: "a map's value is named by its key", body: `{"headers":{"X-A":1}}`, status: 422, pointer: "/headers/X-A", detail: "must be a string"},
		{name: "an optional field refuses unknown fields too", body: `{"patch":{"x":1}}`, status: 422, pointer: "/patch/x", detail: "is not a known field"},
		{name: "and wrong types in it", body: `{"map":{"X-A":true}}`, status: 422, pointer: "/map/X-A", detail: "must be a string"},
		{name: "and another type altogether", body: `{"map":7}`, status: 422, pointer: "/map", detail: "must be an object"},
		{name: "an id is a UUID", body: `{"owner":"x"}`, status: 422, pointer: "/owner", detail: "must be a UUID"},
		{name: "an id is no number", body: `{"owner":7}`, status: 422, pointer: "/owner", detail: "must be a UUID"},
		{name: "the document must be an object", body: `[]`, status: 422, pointer: "", detail: "must be an object"},
		{name: "and is not null", body: " null\n", status: 422, pointer: "", detail: "must be an object"},
		{name: "half a document is a 400", body: `{"name":`, status: 400, pointer: "/name", detail: "cannot be read as JSON"},
		{name: "so is more than one", body: `{"name":"x"}{}`, status: 400},
		{name: "so is broken UTF-8", body: "{\"name\":\"\xff\"}", status: 400, pointer: "/name", detail: "cannot be read as JSON"},
		{name: "so is half a surrogate pair", body: `{"name":"\ud800"}`, status: 400, pointer: "/name", detail: "cannot be read as JSON"},
		{
			name: "deep nesting is refused where it begins", body: `{"name":` + deep, status: 422,
			pointer: "/name" + strings.Repeat("/0", 15), detail: "nests too deep",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var into body
			p, ok := errors.AsType[*problem.Problem](strict.Unmarshal([]byte(tc.body), &into))
			if !ok {
				t.Fatalf("read as %+v, want a problem", into)
			}
			if p.Status != tc.status {
				t.Errorf("status %d, want %d (%v)", p.Status, tc.status, p)
			}
			if tc.detail == "" {
				if len(p.Errors) > 0 {
					t.Errorf("errors %v, want none", p.Errors)
				}
				return
			}
			if len(p.Errors) != 1 || p.Errors[0].Pointer != tc.pointer || p.Errors[0].Detail != tc.detail {
				t.Errorf("errors %v, want %s %s (%v)", p.Errors, tc.pointer, tc.detail, p)
			}
		})
	}
}

func TestOptional(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, body string
		given      bool
		value      bool
	}{
		{name: "absent is not given", body: `{}`},
		{name: "null is given without a value", body: `{"patch":null}`, given: true},
		{name: "a value is given", body: `{"patch":{"delays":[1]}}`, given: true, value: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var into body
			if err := strict.Unmarshal([]byte(tc.body), &into); err != nil {
				t.Fatal(err)
			}
			if into.Patch.Given != tc.given || (into.Patch.Value != nil) != tc.value {
				t.Errorf("got %+v, want given %t, value %t", into.Patch, tc.given, tc.value)
			}
			if tc.value && (*into.Patch.Value.Delays)[0] != 1 {
				t.Errorf("got delays %v", *into.Patch.Value.Delays)
			}
		})
	}
}

func TestPointer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("/0", 10_000)
	for in, want := range map[string]string{
		"":                                     "",
		"/a/b":                                 "/a/b",
		long:                                   strings.Repeat("/0", 16),
		"/headers/" + strings.Repeat("x", 600): "/headers",
		"/" + strings.Repeat("x", 600):         "",
	} {
		if got := strict.Pointer(in); got != want {
			t.Errorf("Pointer of %d bytes = %q, want %q", len(in), got, want)
		}
	}
}

func TestBinder_Bind(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, media, encoding, body string
		status                      int // 0: bound
		empty                       bool
	}{
		{name: "JSON is read", media: "application/json; charset=utf-8", body: `{"name":"x"}`},
		{name: "also without a media type", body: `{"name":"x"}`},
		{name: "also as a structured syntax", media: "application/merge-patch+json", body: `{"name":"x"}`},
		{name: "a form is refused", media: "application/x-www-form-urlencoded", body: `{"name":"x"}`, status: 415},
		{name: "a compressed body is refused", media: "application/json", encoding: "gzip", body: `{"name":"x"}`, status: 415},
		{name: "an empty body wraps io.EOF", media: "application/json", body: " \n", status: 400, empty: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			req := httptest.NewRequest("POST", "/", strings.NewReader(tc.body))
			req.Header.Set("Content-Type", tc.media)
			req.Header.Set("Content-Encoding", tc.encoding)
			var into body
			err := strict.Binder{}.Bind(&into, echo.New().NewContext(req, httptest.NewRecorder()))
			if tc.status == 0 {
				if err != nil || into.Name != "x" {
					t.Errorf("got %+v, %v", into, err)
				}
				return
			}
			if p, ok := errors.AsType[*problem.Problem](err); !ok || p.Status != tc.status {
				t.Errorf("error %v, want status %d", err, tc.status)
			}
			if errors.Is(err, io.EOF) != tc.empty {
				t.Errorf("errors.Is(%v, io.EOF) = %t, want %t", err, !tc.empty, tc.empty)
			}
		})
	}
}
