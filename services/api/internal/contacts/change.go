package contacts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/strict"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/people"
)

// Bounds of what a contact has, in characters where nothing else is said.
const (
	maxName      = 200
	maxEmail     = 254
	maxInstagram = 100
	maxTag       = 100
	maxFields    = 100
	maxFieldKey  = 64
	maxFieldText = 1000
	maxFaults    = 20 // that are named
)

// change is what a client wants of a contact.
type change struct {
	openapi.ContactPatch
	fields []byte // in JS-stable form, nil to leave them
}

// read says what is wrong with a change.
func read(in openapi.ContactPatch) (change, error) {
	c := change{ContactPatch: in}
	var faults []problem.FieldError
	if in.Name.Value != nil {
		faults = append(faults, people.CheckText(*in.Name.Value, maxName, "name")...)
	}
	if in.Email.Value != nil {
		faults = append(faults, checkEmail(*in.Email.Value)...)
	}
	if in.Instagram.Value != nil {
		faults = append(faults, checkInstagram(*in.Instagram.Value)...)
	}
	faults = append(faults, checkTags(in.Tags.Or(nil))...)
	faults = append(faults, people.CheckAgent(in.Owner.Value, "owner")...)
	if in.CustomFields.Given {
		var wrong []problem.FieldError
		c.fields, wrong = readFields(in.CustomFields.Or(json.RawMessage(`{}`)))
		faults = append(faults, wrong...)
	}
	if len(faults) > 0 {
		return change{}, problem.Invalid(faults[:min(len(faults), maxFaults)]...)
	}
	return c, nil
}

func checkEmail(email string) []problem.FieldError {
	if faults := people.CheckText(email, maxEmail, "email"); faults != nil {
		return faults
	}
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || domain == "" || strings.ContainsFunc(email, unicode.IsSpace) {
		return []problem.FieldError{{Pointer: "/email", Detail: "must be an address such as ana@example.com"}}
	}
	return nil
}

func checkInstagram(name string) []problem.FieldError {
	if faults := people.CheckText(name, maxInstagram, "instagram"); faults != nil {
		return faults
	}
	if strings.Contains(name, "@") || strings.ContainsFunc(name, unicode.IsSpace) {
		return []problem.FieldError{{Pointer: "/instagram", Detail: "must be a user name without @"}}
	}
	return nil
}

func checkTags(tags []string) []problem.FieldError {
	if len(tags) > messaging.MaxTags {
		return []problem.FieldError{{Pointer: "/tags", Detail: fmt.Sprintf("must have at most %d tags", messaging.MaxTags)}}
	}
	var faults []problem.FieldError
	for i, tag := range tags {
		faults = append(faults, people.CheckText(tag, maxTag, "tags", i)...)
		if slices.Contains(tags[:i], tag) {
			faults = append(faults, problem.FieldError{Pointer: problem.Pointer("tags", i), Detail: "is given twice"})
		}
	}
	return faults
}

// readFields brings custom fields into the form that events have them in.
func readFields(raw json.RawMessage) ([]byte, []problem.FieldError) {
	fault := func(detail string, below ...any) []problem.FieldError {
		return []problem.FieldError{{Pointer: problem.Pointer(append([]any{"customFields"}, below...)...), Detail: detail}}
	}
	normal, err := event.Normalise(raw)
	if refused, ok := errors.AsType[*event.Error](err); ok {
		return nil, []problem.FieldError{{Pointer: strict.Pointer("/customFields" + refused.Pointer), Detail: refused.Detail}}
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(normal, &fields); err != nil || fields == nil {
		return nil, fault("must be an object")
	}
	if len(fields) > maxFields {
		return nil, fault(fmt.Sprintf("must have at most %d fields", maxFields))
	}
	if len(normal) > messaging.MaxCustomFieldsBytes {
		return nil, fault(fmt.Sprintf("must have at most %d bytes as JSON", messaging.MaxCustomFieldsBytes))
	}
	var faults []problem.FieldError
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		// A key that is too long would make a long answer.
		if n := utf8.RuneCountInString(key); n == 0 || n > maxFieldKey || !people.Line(key) {
			faults = append(faults, fault(fmt.Sprintf("has a key that has not 1 to %d characters, or control characters", maxFieldKey))...)
			continue
		}
		switch value := fields[key]; value[0] {
		case '{', '[':
			faults = append(faults, fault("must be a text, a number, true, false or null", key)...)
		case '"':
			var text string
			if json.Unmarshal(value, &text) != nil || utf8.RuneCountInString(text) > maxFieldText {
				faults = append(faults, fault(fmt.Sprintf("must have at most %d characters", maxFieldText), key)...)
			} else if strings.ContainsFunc(text, unwanted) {
				faults = append(faults, fault("must not have control characters but tabs and line breaks", key)...)
			}
		}
	}
	return normal, faults
}

func unwanted(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' }

// apply is what becomes of a contact.
func (c change) apply(ctx context.Context, q *db.Queries, row db.Contact) (db.Contact, error) {
	if c.Email.Given {
		row.Email = c.Email.Value
	}
	if c.Instagram.Given {
		row.Instagram = c.Instagram.Value
	}
	if c.Tags.Given {
		row.Tags = c.Tags.Or([]string{})
	}
	if c.Owner.Given {
		row.OwnerID, row.OwnerName = nil, nil
		if owner := c.Owner.Value; owner != nil {
			row.OwnerID, row.OwnerName = &owner.ID, &owner.Name
		}
	}
	if c.fields != nil {
		row.CustomFields = c.fields
	}
	switch {
	case c.Name.Value != nil:
		row.Name = *c.Name.Value
	case c.Name.Given:
		var err error
		if row.Name, err = unnamed(ctx, q, row); err != nil {
			return db.Contact{}, err
		}
	}
	return row, nil
}

// unnamed is what a contact is called that nobody gave a name.
func unnamed(ctx context.Context, q *db.Queries, row db.Contact) (string, error) {
	known, err := q.AnyIdentity(ctx, row.ID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", err
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	return messaging.DisplayName(text(row.ProfileName), text(row.Instagram), text(row.Phone), messaging.Channel(row.Source), known), nil
}
