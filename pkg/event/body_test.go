package event_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/event"
)

var noon = time.Date(2025, 10, 20, 12, 0, 0, 0, time.UTC)

func TestBody(t *testing.T) {
	t.Parallel()
	body, err := event.Body(event.DealMoved, noon, []byte(` {"deal":{"title":"Jos\u00e9 <3","valueCents":1.5e3},"1":-0} `))
	want := `{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{"1":0,"deal":{"title":"José <3","valueCents":1500}}}`
	if err != nil || string(body) != want {
		t.Errorf("%s, %v; want\n%s", body, err, want)
	}
}

func TestBody_Timestamp(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		at   time.Time
		want string
	}{
		{name: "whole seconds have no fraction", at: noon, want: "2025-10-20T12:00:00Z"},
		{name: "a fraction has three digits", at: noon.Add(120 * time.Millisecond), want: "2025-10-20T12:00:00.120Z"},
		{name: "one millisecond is kept", at: noon.Add(time.Millisecond), want: "2025-10-20T12:00:00.001Z"},
		{name: "what is finer is cut, not rounded", at: noon.Add(999_999_999), want: "2025-10-20T12:00:00.999Z"},
		{name: "less than a millisecond is no fraction", at: noon.Add(999_999), want: "2025-10-20T12:00:00Z"},
		{name: "other zones are converted", at: noon.In(time.FixedZone("BRT", -3*60*60)), want: "2025-10-20T12:00:00Z"},
		{name: "the first year", at: time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), want: "0000-01-01T00:00:00Z"},
		{name: "the last year", at: time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC), want: "9999-12-31T23:59:59.999Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			body, err := event.Body(event.MessageSent, tc.at, []byte(`{}`))
			want := `{"event":"message.sent","timestamp":"` + tc.want + `","data":{}}`
			if err != nil || string(body) != want {
				t.Errorf("%s, %v; want %s", body, err, want)
			}
		})
	}
}

func TestBody_Refusals(t *testing.T) {
	t.Parallel()
	east := time.FixedZone("", 60*60)
	for _, tc := range []struct {
		name    string
		typ     event.Type
		at      time.Time
		data    string
		reason  event.Reason
		pointer string
	}{
		{name: "an unknown type", typ: "deal.won", data: `{}`, reason: event.UnknownType, pointer: "/event"},
		{name: "the wildcard is no type", typ: event.All, data: `{}`, reason: event.UnknownType, pointer: "/event"},
		{name: "a year of five digits in UTC", at: time.Date(9999, 12, 31, 23, 30, 0, 0, time.FixedZone("", -60*60)), data: `{}`, reason: event.InvalidTime, pointer: "/timestamp"},
		{name: "a year before zero in UTC", at: time.Date(0, 1, 1, 0, 30, 0, 0, east), data: `{}`, reason: event.InvalidTime, pointer: "/timestamp"},
		{name: "an array", data: ` []`, reason: event.NotObject, pointer: "/data"},
		{name: "null", data: `null`, reason: event.NotObject, pointer: "/data"},
		{name: "a string", data: `"{}"`, reason: event.NotObject, pointer: "/data"},
		{name: "a number", data: `1`, reason: event.NotObject, pointer: "/data"},
		{name: "nothing", data: ``, reason: event.Malformed, pointer: "/data"},
		{name: "half an object", data: `{"a":[1`, reason: event.Malformed, pointer: "/data/a"},
		{name: "an object that would end the envelope", data: `{}},"x":{`, reason: event.Malformed, pointer: "/data"},
		{name: "a large integer", data: `{"deal":{"id":9007199254740993}}`, reason: event.UnsafeInteger, pointer: "/data/deal/id"},
		{name: "a number that no double holds", data: `{"a":[1,1e400]}`, reason: event.NumberOverflow, pointer: "/data/a/1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.typ == "" {
				tc.typ = event.DealMoved
			}
			if tc.at.IsZero() {
				tc.at = noon
			}
			body, err := event.Body(tc.typ, tc.at, []byte(tc.data))
			if err == nil {
				t.Fatalf("%s; want it refused", body)
			}
			if e := refusal(t, err); e.Reason != tc.reason || e.Pointer != tc.pointer || e.Detail == "" {
				t.Errorf("%v; want %s at %s", e, tc.reason, tc.pointer)
			}
		})
	}
}

func TestBody_Bounds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		data func(n int) string // n bytes or levels of body
		most int
		then event.Reason
		at   string
	}{
		{name: "the envelope counts in the 256 KiB", most: event.MaxBodyBytes, then: event.TooLarge, at: "/data", data: func(n int) string {
			const rest = `{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{"a":""}}`
			return ` {"a": "` + strings.Repeat("x", n-len(rest)) + `"} `
		}},
		{name: "the envelope counts in the 64 levels", most: event.MaxDepth, then: event.TooDeep, at: "/data" + strings.Repeat("/a", event.MaxDepth-1), data: func(n int) string {
			return strings.Repeat(`{"a":`, n-1) + "1" + strings.Repeat("}", n-1)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			body, err := event.Body(event.DealMoved, noon, []byte(tc.data(tc.most)))
			if err != nil {
				t.Fatalf("the most that is allowed: %v", err)
			}
			if tc.then == event.TooLarge && len(body) != tc.most {
				t.Errorf("the body has %d bytes; want %d", len(body), tc.most)
			}
			if _, err = event.Body(event.DealMoved, noon, []byte(tc.data(tc.most+1))); err == nil {
				t.Fatal("one more was accepted")
			}
			if e := refusal(t, err); e.Reason != tc.then || e.Pointer != tc.at {
				t.Errorf("%v; want %s at %s", e, tc.then, tc.at)
			}
		})
	}
}

// TestBody_Node puts whole bodies before a JavaScript engine.
func TestBody_Node(t *testing.T) {
	t.Parallel()
	t.Logf("go test -run TestBody_Node ./pkg/event -args -seed=%d", *seed)
	node := startOracle(t)
	g := generator{rand.New(rand.NewPCG(*seed, 1))}
	accepted := 0
	for range 1000 {
		at := time.Unix(g.Int64N(4e9), 0).UTC()
		typ := pick(g, event.Types()).Type
		data := g.object(nil, 4)
		body, err := event.Body(typ, at, data)
		if err != nil {
			continue
		}
		accepted++
		src := fmt.Appendf(nil, `{"event":%q,"timestamp":%q,"data":%s}`, typ, at.Format(time.RFC3339), data)
		if objection := node.objection(t, src, body, nil); objection != "" {
			t.Errorf("the body\n%s of\n%s %s", body, data, objection)
		}
	}
	if accepted < 800 {
		t.Errorf("only %d of 1000 bodies were accepted", accepted)
	}
}

func TestData(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`{}`, `{"a":{"b":[1,"}"]}}`, `{"data":{"x":",\"data\":"}}`} {
		body, err := event.Body(event.DealMoved, noon, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := event.Data(body); !ok || string(got) != data {
			t.Errorf("the data of %s is %s, %t", body, got, ok)
		}
	}
	for _, body := range []string{``, `{}`, `{"a":1}`, `{"event":"deal.moved"}`, `{"a":1,"data":{}}`, `{"event":"a","data":}`} {
		if got, ok := event.Data([]byte(body)); ok {
			t.Errorf("%q has data %s", body, got)
		}
	}
}
