package problem_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/problem"
)

func TestPointer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		tokens []any
		want   string
	}{
		{name: "no token points at the whole document", want: ""},
		{name: "keys and indices are joined", tokens: []any{"events", 3, "data"}, want: "/events/3/data"},
		{name: "slash and tilde are escaped", tokens: []any{"a/b", "~1"}, want: "/a~1b/~01"},
		{name: "an empty key is a token", tokens: []any{""}, want: "/"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := problem.Pointer(tc.tokens...); got != tc.want {
				t.Errorf("Pointer(%v) = %q, want %q", tc.tokens, got, tc.want)
			}
		})
	}
}

func TestProblem_MarshalJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		p    *problem.Problem
		want string
	}{
		{
			name: "absent members are left out, type and title never",
			p:    &problem.Problem{Status: http.StatusNotFound},
			want: `{"type":"about:blank","title":"Not Found","status":404}`,
		},
		{
			name: "a status that nobody registered has a title too",
			p:    problem.New(599, "", ""),
			want: `{"type":"about:blank","title":"Status 599","status":599}`,
		},
		{
			name: "one fault is told in the detail as well",
			p:    problem.Invalid(problem.FieldError{Pointer: "/url", Detail: "must be https"}),
			want: `{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"/url: must be https",` +
				`"errors":[{"pointer":"/url","detail":"must be https"}]}`,
		},
		{
			name: "a fault of the whole document has no pointer to show",
			p:    problem.Invalid(problem.FieldError{Detail: "must be an object"}),
			want: `{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"must be an object",` +
				`"errors":[{"pointer":"","detail":"must be an object"}]}`,
		},
		{
			name: "several faults are counted",
			p: problem.Invalid(
				problem.FieldError{Pointer: "/url", Detail: "must be https"},
				problem.FieldError{Pointer: "/events", Detail: "must not be empty"},
			),
			want: `{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"2 fields are invalid",` +
				`"errors":[{"pointer":"/url","detail":"must be https"},{"pointer":"/events","detail":"must not be empty"}]}`,
		},
		{
			name: "extensions follow the members, and replace none",
			p: problem.Conflict("in flight").
				WithExtension("state", "inFlight").WithExtension("code", 190).WithExtension("status", 200),
			want: `{"type":"about:blank","title":"Conflict","status":409,"detail":"in flight","code":190,"state":"inFlight"}`,
		},
		{
			name: "the cause and the headers are not sent",
			p:    problem.Unavailable(time.Second, "try later").WithCause(errors.New("dial 10.0.0.7")).WithHeader("X-Inner", "secret"),
			want: `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"try later"}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(tc.p)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestProblem_With(t *testing.T) {
	t.Parallel()
	cause := errors.New("no route to host")
	shared := problem.New(http.StatusBadGateway, "Upstream", "asked in vain").WithHeader("X-A", "1").WithExtension("a", 1)
	changed := shared.WithCause(cause).WithHeader("X-A", "2").WithExtension("b", 2)

	t.Run("the receiver stays as it was", func(t *testing.T) {
		t.Parallel()
		if got := shared.Header.Values("X-A"); len(got) != 1 || len(shared.Extensions) != 1 || shared.Unwrap() != nil {
			t.Errorf("shared problem changed: headers %v, extensions %v, cause %v", got, shared.Extensions, shared.Unwrap())
		}
	})
	t.Run("the copy has both", func(t *testing.T) {
		t.Parallel()
		if got := changed.Header.Values("X-A"); len(got) != 2 || len(changed.Extensions) != 2 {
			t.Errorf("headers %v, extensions %v; want two of each", got, changed.Extensions)
		}
	})
	t.Run("the cause is found and shown in logs", func(t *testing.T) {
		t.Parallel()
		if !errors.Is(changed, cause) {
			t.Error("errors.Is does not find the cause")
		}
		if got, want := changed.Error(), "502 Upstream: asked in vain: no route to host"; got != want {
			t.Errorf("Error() = %q, want %q", got, want)
		}
	})
}
