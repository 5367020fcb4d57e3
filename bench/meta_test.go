package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/meta/inbound"
)

func TestMeta_Plan(t *testing.T) {
	t.Parallel()
	m := &metaRole{settings: metaSettings{Accounts: []string{"800001", "800002"}, People: 100}, next: 7}
	posts, messages := m.plan(metaLoad{PerSecond: 1000, Duration: 5 * time.Second})
	if messages != 5000 {
		t.Errorf("%d messages, want 5000", messages)
	}
	next, single := int64(7), 0
	for i, p := range posts {
		if p.first != next || p.count < 1 || p.count > 20 || p.due.Round(time.Microsecond) != time.Duration(p.first-7)*time.Millisecond {
			t.Errorf("post %d: %+v, want it to begin with message %d", i, p, next)
		}
		if next += int64(p.count); p.count == 1 {
			single++
		}
	}
	if next != 5007 || single < len(posts)/2 || single == len(posts) {
		t.Errorf("%d posts, %d of one message, up to message %d", len(posts), single, next)
	}
}

func TestMeta_Body(t *testing.T) {
	t.Parallel()
	m := &metaRole{settings: metaSettings{People: 100}}
	body := m.body(&metaPost{first: 100, count: 20, account: "800001"}, time.Now())
	if !json.Valid(body) {
		t.Fatalf("no JSON: %s", body)
	}
	updates, err := inbound.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	if len(updates) != 20 {
		t.Fatalf("%d updates, want 20", len(updates))
	}
	people, types := map[string]bool{}, map[string]bool{}
	for i, u := range updates {
		message, ok := u.Payload.(inbound.Message)
		if !ok || number([]byte(message.ExternalID+`"`), inboundMark) != int64(100+i) || u.Accounts[0] != "800001" {
			t.Errorf("update %d is %+v", i, u)
			continue
		}
		people[message.Person.Phone], types[string(message.Type)] = true, true
	}
	if len(people) < 10 || len(types) < 4 {
		t.Errorf("%d people write %d types of messages, want more of both", len(people), len(types))
	}
}
