package inbound_test

import (
	"encoding/json"
	"fmt"
	"strings"
)

// countOf is how many updates a body has: told a second way, of a document that
// another package read.
func countOf(root any) (n int) {
	if root == nil {
		return 1
	}
	for _, body := range listOf(root) {
		n += countOfBody(body)
	}
	return n
}

func countOfBody(body any) (n int) {
	count := countOfPage
	switch object := nameOf(member(body, "object")); object {
	case "whatsapp_business_account":
		count = countOfWhatsApp
	case "page", "instagram":
	default:
		return 1
	}
	for _, entry := range listOf(member(body, "entry")) {
		n += max(count(entry), 1) // at least the entry itself
	}
	return max(n, 1)
}

func changesOf(entry any) []any {
	if member(entry, "changes") == nil && member(entry, "field") != nil {
		return []any{entry}
	}
	return listOf(member(entry, "changes"))
}

func countOfWhatsApp(entry any) (n int) {
	for _, change := range changesOf(entry) {
		var names []string
		switch nameOf(member(change, "field")) {
		case "messages", "smb_message_echoes", "standby", "":
			names = []string{"messages", "message_echoes", "statuses"}
		case "user_id_update":
			names = []string{"user_id_update"}
		}
		in := 0
		for _, name := range names {
			in += len(listOf(member(member(change, "value"), name)))
		}
		n += max(in, 1)
	}
	return n
}

func countOfPage(entry any) int {
	return len(listOf(member(entry, "messaging"))) + len(listOf(member(entry, "standby"))) + len(changesOf(entry))
}

func member(v any, name string) any {
	object, _ := v.(map[string]any)
	return object[name]
}

func listOf(v any) []any {
	if all, ok := v.([]any); ok {
		return all
	}
	if v == nil {
		return nil
	}
	return []any{v}
}

func nameOf(v any) string {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case float64, json.Number, bool:
		return fmt.Sprint(v)
	default:
		return ""
	}
}
