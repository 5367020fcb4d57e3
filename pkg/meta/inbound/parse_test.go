package inbound_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/meta/inbound"
)

func TestParse_Malformed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, body string }{
		{"nothing", ""},
		{"white space", " \n"},
		{"a form", "hub.mode=subscribe"},
		{"half a document", `{"object":"page","entry":[`},
		{"brackets that do not match", `{"object":"page"]`},
		{"a member without a value", `{"object"}`},
		{"something behind the document", `{"object":"page"} {}`},
		{"half an escape", `{"object":"\u00"}`},
		{"an escape that would become one of NUL once NUL is taken out", `"\u00\u000000"`},
		{"the same with NUL itself", "\"\\u0\x00000x\"" + `,`},
		{"deeper than anybody reads", strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			updates, err := inbound.Parse([]byte(tc.body))
			if !errors.Is(err, inbound.ErrMalformed) || len(updates) > 0 {
				t.Errorf("Parse gives %d updates, %v", len(updates), err)
			}
			if err != nil && strings.Contains(err.Error(), "hub") {
				t.Errorf("the error tells of the body: %v", err)
			}
		})
	}
}

// TestParse_Storable reads what Postgres or an event would refuse.
func TestParse_Storable(t *testing.T) {
	t.Parallel()
	deep := func(levels int) string { return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels) }
	for _, tc := range []struct {
		name, text string // in JSON
		want       string
	}{
		{"an escaped NUL is taken out", `"a\u0000b"`, "ab"},
		{"a raw NUL too", "\"a\x00b\"", "ab"},
		{"an escaped backslash before u0000 is none", `"a\\u0000b"`, `a\u0000b`},
		{"what is no UTF-8 is replaced", "\"a\xff\xfeb\"", "a\uFFFDb"},
		{"so is half of a pair of surrogates", `"a\ud83db"`, "a\uFFFDb"},
		{"and the other half", `"a\ude00b"`, "a\uFFFDb"},
		{"a pair stays", `"\ud83d\ude00"`, "😀"},
		{"a pair in capitals stays", `"\uD83D\uDE00"`, "😀"},
		{"two first halves are two", `"\ud83d\ud83d\ude00"`, "\uFFFD😀"},
		{"NUL between halves parts them", `"\ud83d\u0000\ude00"`, "\uFFFD\uFFFD"},
		{"surrogates in UTF-8 are none", "\"\xed\xa0\xbd\"", "\uFFFD"},
		{"slashes may be escaped", `"https:\/\/a.example"`, "https://a.example"},
		{"a number is a text, digit by digit", `123456789012345678901234567890`, "123456789012345678901234567890"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, body := range []string{whatsApp(`{"type":"text","text":{"body":` + tc.text + `}}`), messenger(`{"text":` + tc.text + `}`)} {
				m := onlyMessage(t, []byte(body))
				if m.Text == nil || *m.Text != tc.want {
					t.Errorf("the text is %q, want %q", deref(m.Text), tc.want)
				}
			}
		})
	}
	for _, tc := range []struct{ name, message string }{
		{"ids beyond 2^53 as numbers", `{"type":"poll","poll":{"id":12345678901234567890}}`},
		{"numbers that no double holds", `{"type":"poll","poll":{"x":1e400,"y":-1e400}}`},
		{"more levels than an event has", `{"type":"poll","poll":` + deep(100) + `}`},
		{"as many as are read", `{"type":"poll","poll":` + deep(9_000) + `}`},
		{"a form of a hundred levels", `{"type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"response_json":` + quote(deep(100)) + `}}}`},
		{"a form of ids", `{"type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"response_json":` + quote(`{"id":12345678901234567890,"t":"a\u0000\ud83d"}`) + `}}}`},
		{"a code that is no code", `{"type":"x","errors":[{"code":12345678901234567890},{"code":1e300},{"code":"x"},"text",null]}`},
		{"prices out of bounds", `{"type":"order","order":{"product_items":[{"quantity":1e20,"item_price":9007199254740993}]}}`},
		{"a place out of bounds", `{"type":"location","location":{"latitude":1e20,"longitude":0}}`},
		{"a text longer than WhatsApp's longest", `{"type":"text","text":{"body":` + quote(strings.Repeat("ж", 500_000)) + `}}`},
		{"a text of control characters", `{"type":"text","text":{"body":` + quote(strings.Repeat("\x01", 100_000)) + `}}`},
		{"a text of quotation marks", `{"type":"text","text":{"body":` + quote(strings.Repeat(`"`, 100_000)) + `}}`},
		{"a caption, a name and an address that are too long", `{"type":"document","document":{"caption":` + long + `,"filename":` + long + `,"url":` + long + `,"id":` + long + `}}`},
		{"a thousand cards", `{"type":"contacts","contacts":[` + strings.Repeat(`{"name":{"formatted_name":"João"},"phones":[{"phone":"1"}],"org":{"company":`+quote(strings.Repeat("x", 2000))+`}},`, 1000) + `{}]}`},
		{"a card of a thousand numbers", `{"type":"contacts","contacts":[{"phones":[` + strings.Repeat(`{"phone":"+55 11 90000-0000"},`, 5000) + `{}]}]}`},
		{"an order of ten thousand things", `{"type":"order","order":{"product_items":[` + strings.Repeat(`{"product_retailer_id":"SKU-1","quantity":1},`, 10_000) + `{}]}}`},
		{"a choice that is too long", `{"type":"interactive","interactive":{"type":` + long + `,` + long + `:{"id":` + long + `,"title":` + long + `,"description":` + long + `}}}`},
		{"a referral that is too long", `{"type":"text","text":{"body":"x"},"referral":{"headline":` + long + `,"body":` + long + `,"source_url":` + long + `,"ctwa_clid":` + long + `}}`},
		{"a hundred errors that are too long", `{"type":"x","errors":[` + strings.Repeat(`{"code":1,"title":`+long+`},`, 20) + `{}]}`},
		{"ids of a quarter of a million bytes", `{"id":` + long + `,"from_user_id":` + long + `,"group_id":` + long + `,"context":{"id":` + long + `},"type":"reaction","reaction":{"message_id":` + long + `,"emoji":` + long + `}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			updates, err := inbound.Parse([]byte(whatsApp(tc.message)))
			if err != nil || len(updates) != 1 {
				t.Fatalf("Parse gives %d updates, %v", len(updates), err)
			}
			if _, ok := updates[0].Payload.(inbound.Message); !ok {
				t.Errorf("a message is read as %T", updates[0].Payload)
			}
			checkStorable(t, updates)
		})
	}
	for _, tc := range []struct{ name, item string }{
		{"ids that are too long", `{"sender":{"id":` + long + `},"recipient":{"id":` + long + `},"message":{"mid":` + long + `,"text":"x"}}`},
		{"a name of a visitor that is too long", `{"sender":{"user_ref":` + long + `},"recipient":{"id":"100"},"postback":{"payload":` + long + `,"title":` + long + `}}`},
		{"a thousand attachments", `{"sender":{"id":"1"},"recipient":{"id":"100"},"message":{"attachments":[` + strings.Repeat(`{"type":"image","title":`+quote(strings.Repeat("<", 500))+`,"payload":{"url":"https://a.example"}},`, 1000) + `{}]}}`},
		{"a product that is too long", `{"sender":{"id":"1"},"recipient":{"id":"100"},"message":{"attachments":[{"type":"template","payload":{"product":{"elements":[{"id":` + long + `,"title":` + long + `}]}}}],"reply_to":{"story":{"url":` + long + `}}}}`},
		{"a name of a visitor that is too long with what we put before it", `{"sender":{"user_ref":"` + strings.Repeat("x", inbound.MaxIDBytes-1) + `"},"recipient":{"id":"100"},"postback":{}}`},
		{"a field of a quarter of a million bytes", `{"sender":{"id":"1"},` + long + `:{}}`},
		{"ten thousand messages that were delivered", `{"sender":{"id":"1"},"recipient":{"id":"100"},"delivery":{"mids":[` + strings.Repeat(`"m",`, 10_000) + `"m"]}}`},
		{"an edit that is too long", `{"sender":{"id":"1"},"recipient":{"id":"100"},"message_edit":{"mid":"m","text":` + long + `}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			updates, err := inbound.Parse([]byte(`{"object":"page","entry":[{"id":"100","messaging":[` + tc.item + `]}]}`))
			if err != nil || len(updates) != 1 {
				t.Fatalf("Parse gives %d updates, %v", len(updates), err)
			}
			checkStorable(t, updates)
		})
	}
}

// long is a text that is too long for anything but a body.
var long = quote(strings.Repeat("<á", 90_000))

func quote(text string) string {
	doc, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(doc)
}

// whatsApp is a body with one message of somebody, with these members too.
func whatsApp(message string) string {
	return whatsAppValue(`"contacts":[{"wa_id":"5511900000001","user_id":"BR.1"}],"messages":[{"from":"5511900000001",` +
		`"id":"wamid.1","timestamp":"1763942300",` + strings.TrimPrefix(message, "{") + `]`)
}

func whatsAppValue(members string) string {
	return `{"object":"whatsapp_business_account","entry":[{"id":"7","changes":[{"field":"messages","value":{` +
		`"metadata":{"phone_number_id":"800"},` + members + `}}]}]}`
}

// messenger is a body with one message of somebody.
func messenger(message string) string {
	return `{"object":"page","entry":[{"id":"100","messaging":[{"sender":{"id":"66"},"recipient":{"id":"100"},` +
		`"timestamp":1763942300123,"message":` + message + `}]}]}`
}

func onlyMessage(t *testing.T, body []byte) inbound.Message {
	t.Helper()
	updates, err := inbound.Parse(body)
	if err != nil || len(updates) != 1 {
		t.Fatalf("Parse gives %d updates, %v, of %.300s", len(updates), err, body)
	}
	m, ok := updates[0].Payload.(inbound.Message)
	if !ok {
		t.Fatalf("a message is read as %T: %.300s", updates[0].Payload, body)
	}
	checkStorable(t, updates)
	return m
}

func deref(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func TestParse_Truncated(t *testing.T) {
	t.Parallel()
	const card = `{"name":{"formatted_name":"João"},"phones":[{"phone":"+5511900000001"}],"org":{"company":"x"}},`
	t.Run("a text is cut between characters, and says so", func(t *testing.T) {
		t.Parallel()
		text := strings.Repeat("ж", 100_000)
		m := onlyMessage(t, []byte(whatsApp(`{"type":"text","text":{"body":`+quote(text)+`}}`)))
		if !m.Content.Truncated || !strings.HasPrefix(text, deref(m.Text)) {
			t.Errorf("truncated: %t; %d bytes", m.Content.Truncated, len(deref(m.Text)))
		}
		if n := len(deref(m.Text)); n < inbound.MaxTextBytes-8 || n > inbound.MaxTextBytes {
			t.Errorf("cut to %d bytes, of at most %d", n, inbound.MaxTextBytes)
		}
	})
	t.Run("the longest text of WhatsApp stays whole", func(t *testing.T) {
		t.Parallel()
		text := strings.Repeat("a", 65_536)
		m := onlyMessage(t, []byte(whatsApp(`{"type":"text","text":{"body":`+quote(text)+`}}`)))
		if m.Content.Truncated || deref(m.Text) != text {
			t.Errorf("truncated: %t; %d bytes", m.Content.Truncated, len(deref(m.Text)))
		}
	})
	t.Run("of too many cards the first stay", func(t *testing.T) {
		t.Parallel()
		m := onlyMessage(t, []byte(whatsApp(`{"type":"contacts","contacts":[`+strings.Repeat(card, 2000)+`{}]}`)))
		if !m.Content.Truncated || len(m.Content.Contacts) != 50 || m.Content.Contacts[0].Name != "João" {
			t.Errorf("truncated: %t; %d cards", m.Content.Truncated, len(m.Content.Contacts))
		}
	})
	t.Run("before them goes what they say besides", func(t *testing.T) {
		t.Parallel()
		m := onlyMessage(t, []byte(whatsApp(`{"type":"contacts","contacts":[`+strings.Repeat(card, 300)+`{}]}`)))
		if !m.Content.Truncated || len(m.Content.Contacts) != 301 || m.Content.Contacts[0].Raw != nil {
			t.Errorf("truncated: %t; %d cards", m.Content.Truncated, len(m.Content.Contacts))
		}
	})
	t.Run("half of an address leads nowhere", func(t *testing.T) {
		t.Parallel()
		m := onlyMessage(t, []byte(whatsApp(`{"type":"image","image":{"id":"5","url":"https://a.example/`+strings.Repeat("x", 5000)+`"}}`)))
		if m.Content.Media.URL != "" || m.Content.Media.ID != "5" {
			t.Errorf("the file is %+v", m.Content.Media)
		}
	})
	t.Run("of many errors the first are told", func(t *testing.T) {
		t.Parallel()
		m := onlyMessage(t, []byte(whatsApp(`{"type":"unsupported","errors":[`+strings.Repeat(`{"code":1},`, 50)+`{}]}`)))
		if len(m.Content.Errors) != 10 {
			t.Errorf("%d errors are told", len(m.Content.Errors))
		}
	})
	t.Run("of too many messages that were delivered the first are told", func(t *testing.T) {
		t.Parallel()
		updates, err := inbound.Parse([]byte(`{"object":"page","entry":[{"id":"100","messaging":[{"sender":{"id":"66"},"recipient":{"id":"100"},` +
			`"delivery":{"mids":[` + strings.Repeat(`"m",`, 5000) + `"m"]}}]}]}`))
		if err != nil || len(updates) != 1 || len(updates[0].Payload.(inbound.Receipt).ExternalIDs) != 1000 {
			t.Errorf("Parse gives %d updates, %v", len(updates), err)
		}
	})
	t.Run("a short message says nothing", func(t *testing.T) {
		t.Parallel()
		if m := onlyMessage(t, []byte(messenger(`{"text":"oi"}`))); m.Content.Truncated {
			t.Error("is marked as truncated")
		}
	})
}

func TestParse_TooMany(t *testing.T) {
	t.Parallel()
	batch := func(n int) []byte {
		return []byte(whatsAppValue(`"statuses":[` + strings.TrimSuffix(strings.Repeat(`{"id":"wamid.1","status":"read"},`, n), ",") + `]`))
	}
	for _, tc := range []struct {
		name string
		n    int
	}{
		{"a thousand, as Meta says", 1000},
		{"more than it says", 1001},
		{"as many as are read", inbound.MaxUpdates},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if updates, err := inbound.Parse(batch(tc.n)); err != nil || len(updates) != tc.n {
				t.Errorf("Parse gives %d updates, %v", len(updates), err)
			}
		})
	}
	t.Run("of more the first are read, and the error says so", func(t *testing.T) {
		t.Parallel()
		updates, err := inbound.Parse(batch(inbound.MaxUpdates + 1))
		if !errors.Is(err, inbound.ErrTooMany) || len(updates) != inbound.MaxUpdates {
			t.Errorf("Parse gives %d updates, %v", len(updates), err)
		}
	})
}

// TestParse_Hostile reads bodies that are made to take long, and compares with one of
// their length that is not. Ten times as long is much; what took squares of its length
// would take hundreds of times as long.
func TestParse_Hostile(t *testing.T) {
	t.Parallel()
	const size = 1 << 19
	timed := func(t *testing.T, body string) time.Duration {
		t.Helper()
		start := time.Now()
		updates, err := inbound.Parse([]byte(body))
		if err != nil && !errors.Is(err, inbound.ErrTooMany) || len(updates) == 0 {
			t.Errorf("Parse gives %d updates, %v", len(updates), err)
		}
		return time.Since(start)
	}
	fill := func(unit string, bytes int) string {
		return strings.TrimSuffix(strings.Repeat(unit, bytes/len(unit)), ",")
	}
	members := func(bytes int) string { // of one object
		var b strings.Builder
		for i := 0; b.Len() < bytes; i++ {
			fmt.Fprintf(&b, `"k%d":1,`, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	wide := members(size / 2)
	for _, tc := range []struct{ name, body string }{
		{"an array of numbers", "[" + fill("1,", size) + "]"},
		{"entries without anything", `{"object":"page","entry":[` + fill("{},", size) + `]}`},
		{"bodies in an array", `[` + fill(`{"object":"page"},`, size) + `]`},
		{"one object of many members", `{"object":"page","entry":[{"id":"1","messaging":[{"message":{` + wide + `,` + members(size/2) + `}}]}]}`},
		{"a large contact of many messages", whatsAppValue(`"contacts":[{"wa_id":"5511900000001",` + wide + `}],"messages":[` + fill(`{"from":"5511900000001","type":"x"},`, size/2) + `]`)},
		{"a large contact of messages without person", whatsAppValue(`"contacts":[{"wa_id":"5511900000001",` + wide + `}],"messages":[` + fill(`{"type":"x"},`, size/2) + `]`)},
		{"large errors of many messages", whatsAppValue(`"errors":[{` + wide + `}],"contacts":[{"wa_id":"5511900000001"}],"messages":[` + fill(`{"type":"x"},`, size/2) + `]`)},
		{"large metadata of many changes", `{"object":"whatsapp_business_account","entry":[{"id":{` + wide + `},"changes":[` + fill("{},", size/2) + `]}]}`},
		{"a long id of an account and many items", `{"object":"page","entry":[{"id":"` + strings.Repeat("1", size/2) + `","messaging":[` + fill("{},", size/2) + `]}]}`},
		{"names in escapes", `{"object":"page","entry":[{"messaging":[{"` + strings.Repeat(`\u006d`, size/6) + `":1}]}]}`},
		{"nothing but escapes of NUL", `["` + strings.Repeat(`\u0000`, size/6) + `"]`},
		{"nothing but NUL", `["` + strings.Repeat("\x00", size) + `"]`},
		{"nothing in UTF-8", `["` + strings.Repeat("\xff", size) + `"]`},
		{"nothing but halves of surrogates", `["` + strings.Repeat(`\ud83d`, size/6) + `"]`},
		{"levels in an array of levels", `[` + fill(strings.Repeat("[", 500)+strings.Repeat("]", 500)+",", size) + `]`},
		{"one text", whatsApp(`{"type":"text","text":{"body":"` + strings.Repeat("x", size) + `"}}`)},
		{"a message without id and with many members", `{"object":"page","entry":[{"id":"100","messaging":[{"sender":{"id":"66"},"recipient":{"id":"100"},"message":{"text":"x",` + members(size) + `}}]}]}`},
		{"messages without ids", `{"object":"page","entry":[{"id":"100","messaging":[` + fill(`{"sender":{"id":"6"},"recipient":{"id":"100"},"message":{}},`, size) + `]}]}`},
	} {
		t.Run(tc.name, func(t *testing.T) { // one after the other, which is steadier
			plain := timed(t, "[["+fill("1,", size)+"]]")
			if took := timed(t, tc.body); took > 60*plain {
				t.Errorf("took %s, and a plain body of its length %s", took, plain)
			}
		})
	}
}

// TestParse_Times shows which times are believed. Seconds and milliseconds are told
// apart wherever they come.
func TestParse_Times(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, timestamp string
		want            time.Time
	}{
		{"seconds in a string", `"1763942300"`, time.Unix(1763942300, 0)},
		{"seconds in a number", `1763942300`, time.Unix(1763942300, 0)},
		{"milliseconds in a number", `1763942300123`, time.UnixMilli(1763942300123)},
		{"milliseconds in a string", `"1763942300123"`, time.UnixMilli(1763942300123)},
		{"a fraction is left out", `1763942300.9`, time.Unix(1763942300, 0)},
		{"an exponent", `1.7639423e9`, time.Unix(1763942300, 0)},
		{"white space", `" 1763942300 "`, time.Unix(1763942300, 0)},
		{"the first", `1072915200`, time.Date(2004, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"before the first is none", `1072915199`, time.Time{}},
		{"the last", `4102444799`, time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC)},
		{"after the last is none", `4102444800`, time.Time{}},
		{"zero is none", `0`, time.Time{}},
		{"negative ones are none", `-1763942300`, time.Time{}},
		{"microseconds are none", `1763942300123456`, time.Time{}},
		{"what overflows is none", `99999999999999999999`, time.Time{}},
		{"what no double holds is none", `1e400`, time.Time{}},
		{"a date is none", `"2025-11-23"`, time.Time{}},
		{"NaN is none", `"NaN"`, time.Time{}},
		{"null is none", `null`, time.Time{}},
		{"an object is none", `{}`, time.Time{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, body := range []string{
				whatsAppValue(`"messages":[{"from":"5511900000001","id":"wamid.1","type":"text","text":{"body":"x"},"timestamp":` + tc.timestamp + `}]`),
				`{"object":"instagram","entry":[{"id":"100","messaging":[{"sender":{"id":"66"},"recipient":{"id":"100"},"message":{"mid":"m"},"timestamp":` + tc.timestamp + `}]}]}`,
			} {
				updates, err := inbound.Parse([]byte(body))
				if err != nil || len(updates) != 1 || !updates[0].At.Equal(tc.want) {
					t.Errorf("At is %v (%v), want %s", updates[0].At, err, tc.want)
				}
			}
		})
	}
}

func TestParse_Phones(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, from, phone, userID string }{
		{"digits", `"5511900000001"`, "+5511900000001", ""},
		{"a number", `5511900000001`, "+5511900000001", ""},
		{"with its plus sign", `"+5511900000001"`, "+5511900000001", ""},
		{"as people write it", `" +55 (11) 90000-0001 "`, "+5511900000001", ""},
		{"the longest", `"123456789012345"`, "+123456789012345", ""},
		{"a longer one is none", `"1234567890123456"`, "", ""},
		{"the shortest", `"1234567"`, "+1234567", ""},
		{"a shorter one is none", `"123456"`, "", ""},
		{"no country begins with 0", `"05511900000001"`, "", ""},
		{"letters are none", `"55119000x0001"`, "", ""},
		{"digits of other scripts are none", `"٥٥١١٩٠٠٠٠٠٠٠١"`, "", ""},
		{"an exponent is none", `5.5e12`, "", ""},
		{"a business-scoped id", `"BR.1A"`, "", "BR.1A"},
		{"one of a portfolio above", `"BR.ENT.1"`, "", "BR.ENT.1"},
		{"other words are none", `"br.1"`, "", ""},
		{"nothing", `""`, "", ""},
		{"null", `null`, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			updates, err := inbound.Parse([]byte(whatsAppValue(`"messages":[{"from":` + tc.from + `,"id":"wamid.1","type":"x"}]`)))
			if err != nil || len(updates) != 1 {
				t.Fatal(updates, err)
			}
			m, ok := updates[0].Payload.(inbound.Message)
			if m.Person.Phone != tc.phone || m.Person.UserID != tc.userID {
				t.Errorf("%s is %+v", tc.from, m.Person)
			}
			if ok != (tc.phone+tc.userID != "") {
				t.Errorf("a message of %+v is a %T", m.Person, updates[0].Payload)
			}
		})
	}
}

func TestParse_Places(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, latitude, longitude string
		is                        bool
	}{
		{"the north pole", `90`, `0`, true},
		{"beyond it", `90.1`, `0`, false},
		{"the south pole", `-90`, `0`, true},
		{"beyond that", `-90.1`, `0`, false},
		{"the date line", `0`, `180`, true},
		{"beyond it to the east", `0`, `180.1`, false},
		{"and to the west", `0`, `-180.1`, false},
		{"texts", `"-23.5"`, `"-46.6"`, true},
		{"no longitude", `1`, `null`, false},
		{"no latitude", `"x"`, `1`, false},
		{"no number", `"NaN"`, `1`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, body := range []string{
				whatsApp(`{"type":"location","location":{"latitude":` + tc.latitude + `,"longitude":` + tc.longitude + `}}`),
				messenger(`{"mid":"m","attachments":[{"type":"location","payload":{"coordinates":{"lat":` + tc.latitude + `,"long":` + tc.longitude + `}}}]}`),
			} {
				want := messaging.Unsupported
				if tc.is {
					want = messaging.LocationPin
				}
				if m := onlyMessage(t, []byte(body)); m.Type != want || (m.Content.Location != nil) != tc.is {
					t.Errorf("is read as %s at %+v", m.Type, m.Content.Location)
				}
			}
		})
	}
}

// TestParse_Profiles shows whose profile a message gets: the one of its number or
// id, or of nobody.
func TestParse_Profiles(t *testing.T) {
	t.Parallel()
	const (
		ana  = `{"wa_id":"5511900000001","user_id":"BR.1","profile":{"name":" Ana ","username":"@ana"}}`
		bia  = `{"wa_id":"","user_id":"BR.2","profile":{"name":"Bia"}}`
		both = ana + "," + bia
	)
	for _, tc := range []struct {
		name, contacts, message string
		want                    inbound.Person
	}{
		{"by number", both, `"from":"5511900000001"`, inbound.Person{Phone: "+5511900000001", UserID: "BR.1", Name: "Ana", Username: "ana"}},
		{"by a number with its plus sign", both, `"from":"+5511900000001"`, inbound.Person{Phone: "+5511900000001", UserID: "BR.1", Name: "Ana", Username: "ana"}},
		{"by id", both, `"from_user_id":"BR.2"`, inbound.Person{UserID: "BR.2", Name: "Bia"}},
		{"by id, of a number that is not told", both, `"from_user_id":"BR.1"`, inbound.Person{Phone: "+5511900000001", UserID: "BR.1", Name: "Ana", Username: "ana"}},
		{"of another number none", both, `"from":"5511900000009"`, inbound.Person{Phone: "+5511900000009"}},
		{"of another number none, though there is only one", ana, `"from":"5511900000009"`, inbound.Person{Phone: "+5511900000009"}},
		{"the only one, where nobody is named", ana, `"id":"x"`, inbound.Person{Phone: "+5511900000001", UserID: "BR.1", Name: "Ana", Username: "ana"}},
		{"of two none, where nobody is named", both, `"id":"x"`, inbound.Person{}},
		{"what the message says counts", ana, `"from":"5511900000001","from_user_id":"BR.7"`, inbound.Person{Phone: "+5511900000001", UserID: "BR.7", Name: "Ana", Username: "ana"}},
		{"a long name is cut", `{"wa_id":"5511900000001","profile":{"name":"` + strings.Repeat("á", 1000) + `"}}`, `"from":"5511900000001"`,
			inbound.Person{Phone: "+5511900000001", Name: strings.Repeat("á", 255)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			updates, err := inbound.Parse([]byte(whatsAppValue(`"contacts":[` + tc.contacts + `],"messages":[{"type":"x",` + tc.message + `}]`)))
			if err != nil || len(updates) != 1 {
				t.Fatal(updates, err)
			}
			if m, _ := updates[0].Payload.(inbound.Message); m.Person != tc.want {
				t.Errorf("it is of %+v, want %+v", m.Person, tc.want)
			}
		})
	}
}

// TestParse_Ends shows which end of an item is the account.
func TestParse_Ends(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, entry, sender, recipient, flags string
		accounts                              []string
		person                                string
		echo                                  bool
	}{
		{"the recipient's account", `"100"`, `"66"`, `"100"`, ``, []string{"100"}, "66", false},
		{"an echo is the sender's", `"100"`, `"100"`, `"66"`, `,"is_echo":true`, []string{"100"}, "66", true},
		{"an echo the other way round", `"100"`, `"66"`, `"100"`, `,"is_echo":true`, []string{"100"}, "66", true},
		{"what the account sent is an echo, though nothing says so", `"100"`, `"100"`, `"66"`, ``, []string{"100"}, "66", true},
		{"the entry of a page", `"555"`, `"66"`, `"100"`, ``, []string{"100", "555"}, "66", false},
		{"an echo in the entry of a page", `"555"`, `"100"`, `"66"`, `,"is_echo":"true"`, []string{"100", "555"}, "66", true},
		{"account 0 is none", `"0"`, `"66"`, `"100"`, ``, []string{"100"}, "66", false},
		{"an entry without id", `null`, `"66"`, `"100"`, ``, []string{"100"}, "66", false},
		{"ids as numbers", `100`, `66`, `100`, ``, []string{"100"}, "66", false},
		{"a number and a string", `100`, `66`, `"100"`, ``, []string{"100"}, "66", false},
		{"ids beyond 2^53", `17841400000000011`, `17841400000000012`, `17841400000000011`, ``, []string{"17841400000000011"}, "17841400000000012", false},
		{"the account to itself", `"100"`, `"100"`, `"100"`, `,"is_self":true,"is_echo":true`, []string{"100"}, "", false},
		{"nobody", `"100"`, `null`, `"100"`, ``, []string{"100"}, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, object := range []string{"page", "instagram"} {
				updates, err := inbound.Parse([]byte(`{"object":"` + object + `","entry":[{"id":` + tc.entry + `,"messaging":[{"sender":{"id":` +
					tc.sender + `},"recipient":{"id":` + tc.recipient + `},"message":{"mid":"m","text":"x"` + tc.flags + `}}]}]}`))
				if err != nil || len(updates) != 1 || !slices.Equal(updates[0].Accounts, tc.accounts) {
					t.Fatalf("%s: %v, %v; want the accounts %q", object, updates, err, tc.accounts)
				}
				if m, _ := updates[0].Payload.(inbound.Message); m.Person.ScopedID != tc.person || m.Echo != tc.echo {
					t.Errorf("%s: of %q, echo %t", object, m.Person.ScopedID, m.Echo)
				}
			}
		})
	}
}

// TestMessage_ExternalID shows that what Meta gives no id has one that is the same
// whenever it is told, and no other's.
func TestMessage_ExternalID(t *testing.T) {
	t.Parallel()
	item := func(item string) string {
		return onlyMessage(t, []byte(`{"object":"page","entry":[{"id":"100","messaging":[`+item+`]}]}`)).ExternalID
	}
	const (
		react    = `{"sender":{"id":"66"},"recipient":{"id":"100"},"timestamp":1763942300123,"reaction":{"mid":"m_1","action":"react","emoji":"❤","reaction":"love"}}`
		postback = `{"sender":{"id":"66"},"recipient":{"id":"100"},"timestamp":1763942300123,"postback":{"title":"Ok","payload":"P"}}`
		text     = `{"sender":{"id":"66"},"recipient":{"id":"100"},"timestamp":1763942300123,"message":{"text":"é","seq":12345678901234567890}}`
	)
	for _, tc := range []struct {
		name, one string
		same      []string
		others    []string
	}{
		{
			"a reaction", react,
			[]string{
				`{"reaction":{"action":"react", "reaction":"love", "emoji":"\u2764", "mid":"m_1"}, "timestamp":"1763942300123", "recipient":{"id":100}, "sender":{"id":66}}`,
			},
			[]string{
				strings.Replace(react, `"66"`, `"67"`, 1), strings.Replace(react, "m_1", "m_2", 1), strings.Replace(react, "❤", "👍", 1),
				strings.Replace(react, `"react"`, `"unreact"`, 1), strings.Replace(react, "0123", "0124", 1), strings.Replace(react, "love", "like", 1),
			},
		},
		{
			"a postback", postback,
			[]string{`{"postback":{"payload":"P","title":"Ok"},"timestamp":"1763942300123","sender":{"id":66},"recipient":{"id":"100"}}`},
			[]string{
				strings.Replace(postback, `"66"`, `"67"`, 1), strings.Replace(postback, "0123", "0124", 1),
				strings.Replace(postback, `"P"`, `"Q"`, 1), strings.Replace(postback, "Ok", "No", 1),
			},
		},
		{
			"a message without id", text,
			[]string{`{"recipient":{"id":"100"}, "sender":{"id":"66"}, "message":{"seq":12345678901234567890,"text":"\u00e9"}, "timestamp":1763942300123}`},
			[]string{
				strings.Replace(text, `"66"`, `"67"`, 1), strings.Replace(text, "0123", "0124", 1), strings.Replace(text, "é", "e", 1),
				strings.Replace(text, "67890", "67891", 1), // beyond what a double tells apart
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			id := item(tc.one)
			if !strings.HasPrefix(id, "~") {
				t.Errorf("the id %q could be Meta's", id)
			}
			for _, again := range tc.same {
				if got := item(again); got != id {
					t.Errorf("%s\nhas the id %s, and told again\n%s\n%s", tc.one, id, again, got)
				}
			}
			seen := map[string]string{id: tc.one}
			for _, other := range tc.others {
				got := item(other)
				if one, ok := seen[got]; ok {
					t.Errorf("%s\nhas the id of\n%s", other, one)
				}
				seen[got] = other
			}
		})
	}
	t.Run("an id of Meta's stays", func(t *testing.T) {
		t.Parallel()
		id := strings.Repeat("m", inbound.MaxIDBytes)
		if m := onlyMessage(t, []byte(messenger(`{"mid":"`+id+`"}`))); m.ExternalID != id {
			t.Errorf("the id is %q", m.ExternalID)
		}
	})
	t.Run("too long an id is the same hash wherever it is told", func(t *testing.T) {
		t.Parallel()
		id := strings.Repeat("m", inbound.MaxIDBytes+1)
		m := onlyMessage(t, []byte(messenger(`{"mid":"`+id+`","reply_to":{"mid":"`+id+`"}}`)))
		if m.ExternalID == id || m.ExternalID != m.Content.Reply.ExternalID {
			t.Errorf("the ids are %q and %q", m.ExternalID, m.Content.Reply.ExternalID)
		}
	})
	t.Run("no id of Meta's is one of ours", func(t *testing.T) {
		t.Parallel()
		id := item(react)
		if m := onlyMessage(t, []byte(messenger(`{"mid":"`+id+`"}`))); m.ExternalID == id {
			t.Errorf("a message could take the id of a reaction")
		}
	})
}

// TestUpdate_Raw shows that an update keeps its own part of the body, as it came.
func TestUpdate_Raw(t *testing.T) {
	t.Parallel()
	for _, file := range fixtures(t) {
		body := readFile(t, file)
		updates, err := inbound.Parse(body)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for i, u := range updates {
			if !bytes.Contains(body, u.Raw) {
				t.Errorf("%s: update %d is kept as %s", file, i, u.Raw)
			}
			if m, ok := u.Payload.(inbound.Message); ok && m.ExternalID[0] != '~' && !bytes.Contains(u.Raw, []byte(m.ExternalID)) {
				t.Errorf("%s: message %s is kept as %s", file, m.ExternalID, u.Raw)
			}
		}
	}
	t.Run("appending to one does not write over another", func(t *testing.T) {
		t.Parallel()
		updates, err := inbound.Parse([]byte(`[1,2]`))
		if err != nil || len(updates) != 2 {
			t.Fatal(updates, err)
		}
		_ = append(updates[0].Raw, "xxx"...)
		if string(updates[1].Raw) != "2" {
			t.Errorf("the second is %s", updates[1].Raw)
		}
	})
}

// TestParse_Shuffled shows that what is in a batch does not depend on its order.
func TestParse_Shuffled(t *testing.T) {
	t.Parallel()
	var batch []any
	for _, file := range fixtures(t) {
		body, err := decoded(readFile(t, file))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		batch = append(batch, listOf(body)...)
	}
	want := setOf(t, batch)
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		if got := setOf(t, shuffled(random, batch).([]any)); !slices.Equal(got, want) {
			t.Fatalf("shuffled by %d, the batch has other updates", seed)
		}
	}
}

// setOf is what a batch is read as, in an order of its own.
func setOf(t *testing.T, batch []any) []string {
	t.Helper()
	body, err := json.Marshal(batch)
	if err != nil {
		t.Fatal(err)
	}
	updates, err := inbound.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	set := make([]string, 0, len(updates))
	for _, u := range updates {
		set = append(set, fmt.Sprintf("%s %s", shown(t, []inbound.Update{u}), u.Raw))
	}
	slices.Sort(set)
	return set
}

// shuffled puts lists of updates into another order, and leaves other lists alone.
func shuffled(random *rand.Rand, v any) any {
	switch v := v.(type) {
	case []any:
		all := make([]any, len(v))
		for i, to := range random.Perm(len(v)) {
			all[to] = shuffled(random, v[i])
		}
		return all
	case map[string]any:
		all := make(map[string]any, len(v))
		for name, member := range v {
			switch name {
			case "entry", "changes", "value", "messaging", "standby", "messages", "message_echoes", "statuses":
				member = shuffled(random, member)
			}
			all[name] = member
		}
		return all
	default:
		return v
	}
}

func TestParse_LeavesTheBodyAlone(t *testing.T) {
	t.Parallel()
	for _, body := range []string{whatsApp(`{"type":"text","text":{"body":"a\u0000\ud83d"}}`), messenger(`{"text":"oi"}`), "[\"\x00\xff\"]"} {
		before := []byte(body)
		if _, err := inbound.Parse(before); err != nil || string(before) != body {
			t.Errorf("%q became %q, %v", body, before, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range fixtures(f) {
		f.Add(readFile(f, file))
	}
	for _, seed := range []string{"", "{}", `{"object":"page","object":"instagram","entry":[{},{"messaging":{}}]}`, `"\u00\u000000"`, "[\"\x00\xff\\ud83d\"]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkRead(t, body) })
}

// TestParse_Mutated reads every body of testdata with some value in it replaced by
// another.
func TestParse_Mutated(t *testing.T) {
	t.Parallel()
	for i, file := range fixtures(t) {
		body, err := decoded(readFile(t, file))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		random := rand.New(rand.NewPCG(1, uint64(i)))
		for range 60 {
			text, err := json.Marshal(mutated(random, body))
			if err != nil {
				t.Fatal(err)
			}
			if checkRead(t, text); t.Failed() {
				t.Fatalf("of %s: %s", file, text)
			}
		}
	}
}

// odd values are of every kind, and of none that Meta would send.
var odd = []any{
	nil, true, false, "", " ", "0", "~", "x", "BR.1", "true", "1763942300", "user_ref:", "\x01\u2028<&>", "\uFFFD",
	json.Number("0"), json.Number("-1"), json.Number("1e400"), json.Number("12345678901234567890"), json.Number("1e20"), json.Number("0.1"),
	[]any{}, []any{nil}, []any{[]any{"x"}}, map[string]any{}, map[string]any{"": nil}, map[string]any{"id": []any{}},
	map[string]any{"type": "text", "text": "x", "mid": "m", "id": "1", "url": "x", "body": map[string]any{}},
}

// mutated replaces values here and there.
func mutated(random *rand.Rand, v any) any {
	if random.IntN(24) == 0 {
		return odd[random.IntN(len(odd))]
	}
	switch v := v.(type) {
	case []any:
		all := make([]any, 0, len(v)+1)
		for _, item := range v {
			for range []int{1, 1, 1, 1, 1, 1, 0, 2}[random.IntN(8)] {
				all = append(all, mutated(random, item))
			}
		}
		return all
	case map[string]any:
		all := make(map[string]any, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if random.IntN(24) > 0 {
				all[name] = mutated(random, v[name])
			}
		}
		return all
	default:
		return v
	}
}

// checkRead checks what holds for every body.
func checkRead(t *testing.T, body []byte) {
	t.Helper()
	updates, err := inbound.Parse(body)
	if json.Valid(body) && errors.Is(err, inbound.ErrMalformed) {
		t.Fatalf("refuses JSON: %v", err)
	}
	again, errAgain := inbound.Parse(bytes.Clone(body))
	if !reflect.DeepEqual(updates, again) || (err == nil) != (errAgain == nil) {
		t.Error("reads it otherwise the second time")
	}
	if err != nil {
		return
	}
	checkStorable(t, updates)
	// Where something is taken out, names may become others.
	root, err := decoded(body)
	if err != nil || bytes.Contains(body, []byte(`\u0000`)) || bytes.IndexByte(body, 0) >= 0 {
		return
	}
	if want := countOf(root); len(updates) != want {
		t.Errorf("%d updates, of %d", len(updates), want)
	}
}
