package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/event"
)

// plan says which webhook an event is for. Webhook i belongs to tenant i mod
// tenants and is the one subscriber there to a type of its own, so that an event
// makes one delivery. Event n is for webhook n mod webhooks.
type plan struct {
	Tenants  []uuid.UUID `json:"tenants"`
	Webhooks int         `json:"webhooks"`

	types []template // a webhook's is at i div tenants
}

// bodyBytes is about the size of a body as the sink gets it; some examples are longer
// by themselves.
const bodyBytes = 1024

// template is an event of one type: a real-looking one from the catalog, its
// data extended by a number in front and by text up to the size.
type template struct {
	name event.Type
	tail []byte // of data, after the number
}

// dataMark is what stands before the number, in the published event as in the
// delivered body.
const dataMark = `"data":{"n":`

func newPlan(tenants, webhooks int) (*plan, error) {
	types := len(published())
	if tenants < 1 || webhooks < tenants || webhooks > tenants*types {
		return nil, fmt.Errorf("%d webhooks do not fit %d tenants: each needs 1 to %d", webhooks, tenants, types)
	}
	p := &plan{Webhooks: webhooks}
	for range tenants {
		p.Tenants = append(p.Tenants, uuid.New())
	}
	return p, p.prepare()
}

// published are the types that a client may publish.
func published() []event.Definition {
	return slices.DeleteFunc(event.Types(), func(d event.Definition) bool { return d.Operational })
}

// prepare makes the templates, which do not travel between processes.
func (p *plan) prepare() error {
	const text = "Cliente pediu retorno ainda hoje; combinar hor\u00e1rio e enviar a proposta revisada. "
	p.types = nil
	for _, d := range published() {
		var example struct{ Data json.RawMessage }
		if err := json.Unmarshal(d.Example, &example); err != nil {
			return fmt.Errorf("example of %s: %w", d.Type, err)
		}
		fields, ok := bytes.CutPrefix(example.Data, []byte("{"))
		if !ok {
			return fmt.Errorf("example of %s: data is no object", d.Type)
		}
		tail := append([]byte(","), bytes.TrimSuffix(fields, []byte("}"))...)
		tail = append(tail, `,"note":"`...)
		if missing := bodyBytes - len(envelope(d.Type)) - len("123456") - len(tail) - len(`"}}`); missing > 0 {
			tail = append(tail, strings.ToValidUTF8(strings.Repeat(text, missing/len(text)+1)[:missing], "")...)
		}
		p.types = append(p.types, template{name: d.Type, tail: append(tail, `"}}`...)})
	}
	return nil
}

// envelope is what precedes the number in a delivered body.
func envelope(t event.Type) string {
	return `{"event":"` + string(t) + `","timestamp":"2025-10-20T12:00:00.000Z",` + dataMark
}

// subscription is tenant and type of webhook i.
func (p *plan) subscription(i int) (tenant uuid.UUID, t event.Type) {
	return p.Tenants[i%len(p.Tenants)], p.types[i/len(p.Tenants)].name
}

// append adds event n to b as the API takes it. The first tenant is the API
// key's own.
func (p *plan) append(b []byte, n int64) []byte {
	i := int(n % int64(p.Webhooks))
	tenant, t := i%len(p.Tenants), p.types[i/len(p.Tenants)]
	b = append(b, `{"event":"`...)
	b = append(b, t.name...)
	if tenant > 0 {
		b = append(b, `","tenantId":"`...)
		b = append(b, p.Tenants[tenant].String()...)
	}
	b = append(b, `",`+dataMark...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, t.tail...)
}

// delivered is a body as the sink gets it, of event n: what the raw client sends.
func (p *plan) delivered(n int64) []byte {
	t := p.types[n%int64(len(p.types))]
	b := strconv.AppendInt([]byte(envelope(t.name)), n, 10)
	return append(b, t.tail...)
}

// number finds an event's number behind mark in a delivered body; 0 where there is
// none.
func number(body []byte, mark string) (n int64) {
	_, rest, _ := bytes.Cut(body, []byte(mark))
	for _, c := range rest {
		if c < '0' || c > '9' {
			return n
		}
		n = 10*n + int64(c-'0')
	}
	return 0 // broken off, or no number at all
}
