package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/event"
)

// choice is what a webhook has been given of these two.
type choice struct {
	Filter json.RawMessage `json:"filter"`
	Rate   json.RawMessage `json:"rate"`
}

func TestWebhooks_FilterAndRate(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const filter = `{"stage.name":{"$in":["won","lost <3"]},"deal":{"valueCents":{"$gte":1e5}}}`
	const whole = `{"name":"n","url":"https://x.example","events":["*"]`
	path := hooksPath + "/" + f.newHook(`,"filter":`+filter+`,"rate":{"perSecond":7}`).ID.String()
	for _, tc := range []struct{ name, method, body, filter, rate string }{
		{name: "are shown as they were given", method: "GET", filter: filter, rate: `{"perSecond":7}`},
		{name: "stay when other fields change", method: "PATCH", body: `{"name":"m"}`, filter: filter, rate: `{"perSecond":7}`},
		{name: "change one by one", method: "PATCH", body: `{"rate":{"perSecond":1000}}`, filter: filter, rate: `{"perSecond":1000}`},
		{name: "null is none", method: "PATCH", body: `{"filter":null}`, filter: `null`, rate: `{"perSecond":1000}`},
		{name: "an empty filter is one", method: "PATCH", body: `{"filter":{},"rate":null}`, filter: `{}`, rate: `null`},
		{name: "are replaced", method: "PUT", body: whole + `,"filter":{"a":1},"rate":{"perSecond":1}}`, filter: `{"a":1}`, rate: `{"perSecond":1}`},
		{name: "absent is none when all is replaced", method: "PUT", body: whole + `}`, filter: `null`, rate: `null`},
	} {
		got := into[choice](f.do(tc.method, path, tc.body).is(http.StatusOK))
		var want choice
		f.check(json.Unmarshal([]byte(`{"filter":`+tc.filter+`,"rate":`+tc.rate+`}`), &want))
		if normal(t, got.Filter) != normal(t, want.Filter) || string(got.Rate) != string(want.Rate) {
			t.Errorf("%s: %s, %s", tc.name, got.Filter, got.Rate)
		}
	}
	created := into[choice](f.do("POST", hooksPath, whole+`,"filter":`+filter+`,"rate":{"perSecond":2}}`).is(http.StatusCreated))
	if normal(t, created.Filter) != normal(t, []byte(filter)) || string(created.Rate) != `{"perSecond":2}` {
		t.Errorf("created with %s, %s", created.Filter, created.Rate)
	}
	for _, tc := range []struct{ fields, pointer string }{
		{`"filter":{"stage.name":{"$foo":1}}`, "/filter/stage.name/$foo"},
		{`"filter":{"a":{"$in":[1,{}]}}`, "/filter/a/$in/1"},
		{`"filter":[]`, "/filter"},
		{`"filter":"won"`, "/filter"},
		{`"filter":{"a":9007199254740993}`, "/filter/a"},
		{`"filter":{"a":1,"a":2}`, "/filter/a"},
		{`"filter":{"a":"` + strings.Repeat("x", 9000) + `"}`, "/filter"},
		{`"rate":{"perSecond":0}`, "/rate/perSecond"},
		{`"rate":{"perSecond":1001}`, "/rate/perSecond"},
		{`"rate":{"perSecond":1.5}`, "/rate/perSecond"},
		{`"rate":{}`, "/rate/perSecond"},
		{`"rate":{"perMinute":60,"perSecond":1}`, "/rate/perMinute"},
		{`"rate":5`, "/rate"},
	} {
		f.do("POST", hooksPath, whole+","+tc.fields+"}").refuses(422, tc.pointer)
		f.do("PUT", path, whole+","+tc.fields+"}").refuses(422, tc.pointer)
		f.do("PATCH", path, "{"+tc.fields+"}").refuses(422, tc.pointer)
	}
}

// normal is JSON in normal form.
func normal(t *testing.T, raw []byte) string {
	t.Helper()
	stable, err := event.Normalise(raw)
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return string(stable)
}

func TestWebhooks_PreviewFilter(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const path = hooksPath + "/filter/preview"
	type preview struct {
		Matches bool
		Data    json.RawMessage
	}
	example := func(name event.Type) string {
		definition, _ := event.Lookup(name)
		data, _ := event.Data(definition.Example)
		return string(data)
	}
	for _, tc := range []struct {
		name, body string
		matches    bool
		data       string
	}{
		{"data that passes", `{"filter":{"stage.name":"won"},"data":{"stage":{"name":"won"}}}`, true, `{"stage":{"name":"won"}}`},
		{"data that does not", `{"filter":{"stage.name":"won"},"data":{"stage":{"name":"lost"}}}`, false, `{"stage":{"name":"lost"}}`},
		{"data is brought into the form that is sent", `{"filter":{"a":2,"1":"é"},"data": {"a":1, "1":"\u00e9", "a":2.0}}`, true, `{"1":"é","a":2}`},
		{"a lone surrogate is data like any other", `{"filter":{"a":{"$exist":true}},"data":{"a":"\uD83D"}}`, true, `{"a":"\ud83d"}`},
		{"the example of a type", `{"filter":{},"event":"deal.moved"}`, true, example(event.DealMoved)},
		{"the default type", `{"filter":{"nothing":1},"event":null,"data":null}`, false, example(event.MessageReceived)},
		{"data before the example", `{"filter":{"a":1},"event":"deal.moved","data":{"a":1}}`, true, `{"a":1}`},
	} {
		got := into[preview](f.do("POST", path, tc.body).is(http.StatusOK))
		if got.Matches != tc.matches || normal(t, got.Data) != tc.data {
			t.Errorf("%s: %t on %s, want %t on %s", tc.name, got.Matches, got.Data, tc.matches, tc.data)
		}
	}
	for _, tc := range []struct {
		name, body string
		status     int
		pointers   []string
	}{
		{"no filter", `{}`, 422, []string{"/filter"}},
		{"a filter that is null", `{"filter":null}`, 422, []string{"/filter"}},
		{"every fault at once", `{"filter":{"a":{"$x":1}},"event":"deal.sold","dta":{}}`, 422, []string{"/dta"}},
		{"every fault of the fields", `{"filter":{"a":{"$x":1}},"event":"deal.sold"}`, 422, []string{"/filter/a/$x", "/event"}},
		{"an event that is no string", `{"filter":{},"event":5}`, 422, []string{"/event"}},
		{"data that is no object", `{"filter":{},"data":[]}`, 422, []string{"/data"}},
		{"a number that is not sent", `{"filter":{},"data":{"deal":{"id":9007199254740993}}}`, 422, []string{"/data/deal/id"}},
		{"data that is too deep", `{"filter":{},"data":` + strings.Repeat(`{"a":`, 70) + `1` + strings.Repeat(`}`, 70) + `}`, 422, []string{"/data" + strings.Repeat("/a", 15)}},
		{"data that is too large", `{"filter":{},"data":{"a":"` + strings.Repeat("x", event.MaxBodyBytes) + `"}}`, 422, []string{"/data"}},
		{"a field given twice", `{"filter":{},"filter":{}}`, 422, []string{"/filter"}},
		{"an array", `[]`, 422, []string{""}},
		{"no JSON", `{"filter":`, 400, []string{"/filter"}},
		{"more than a document", `{"filter":{}}{}`, 400, nil},
		{"nothing", ``, 400, nil},
	} {
		t.Run(tc.name+" is refused", func(t *testing.T) {
			part := *f
			part.T = t
			part.do("POST", path, tc.body).refuses(tc.status, tc.pointers...)
		})
	}
	// The path is a webhook's with another verb.
	f.do("POST", hooksPath+"/filter/test", "").refuses(http.StatusNotFound)
}
