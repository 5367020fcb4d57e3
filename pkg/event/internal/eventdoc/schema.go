package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// schema is what the catalog uses of JSON Schema. A keyword that is not here is
// an error: the page would pass over it in silence.
type schema struct {
	Dialect     string             `json:"$schema"`
	Title       string             `json:"title"`
	Description string             `json:"description"`
	Defs        map[string]*schema `json:"$defs"`
	Ref         string             `json:"$ref"`
	AllOf       []*schema          `json:"allOf"`
	AnyOf       []*schema          `json:"anyOf"`

	Type      kinds        `json:"type"`
	Enum      []string     `json:"enum"`
	Const     string       `json:"const"`
	Pattern   string       `json:"pattern"`
	Format    string       `json:"format"`
	MinLength *int         `json:"minLength"`
	Minimum   *json.Number `json:"minimum"`
	Maximum   *json.Number `json:"maximum"`

	Items         *schema    `json:"items"`
	Properties    properties `json:"properties"`
	Required      []string   `json:"required"`
	MinProperties *int       `json:"minProperties"`
	Further       *schema    `json:"additionalProperties"`
}

// kinds are one type or several.
type kinds []string

// UnmarshalJSON implements json.Unmarshaler.
func (k *kinds) UnmarshalJSON(text []byte) error {
	if text[0] == '[' {
		return json.Unmarshal(text, (*[]string)(k))
	}
	*k = kinds{""}
	return json.Unmarshal(text, &(*k)[0])
}

// properties keep their order.
type properties []property

type property struct {
	name string
	*schema
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *properties) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		s, err := read(value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*p = append(*p, property{fmt.Sprint(name), s})
	}
	return nil
}

func read(text []byte) (*schema, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	s := new(schema)
	return s, decoder.Decode(s)
}

// row is a field of data.
type row struct {
	path     string
	kind     string
	required bool
	text     string // what it is, and what it may be
}

// fieldsOf lists the fields of a schema in its order, each before those within.
func fieldsOf(text []byte) ([]row, error) {
	root, err := read(text)
	if err != nil {
		return nil, err
	}
	l := lister{defs: root.Defs}
	err = l.within("", root)
	return l.rows, err
}

type lister struct {
	defs map[string]*schema
	rows []row
}

// within lists what an object or array has in it.
func (l *lister) within(path string, s *schema) error {
	s, err := l.whole(s)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if s.Items != nil {
		if err := l.within(path+"[]", s.Items); err != nil {
			return err
		}
	}
	if path != "" {
		path += "."
	}
	for _, p := range s.Properties {
		if err := l.field(path+p.name, p.schema, slices.Contains(s.Required, p.name)); err != nil {
			return err
		}
	}
	if s.Further != nil {
		return l.field(path+"*", s.Further, false)
	}
	return nil
}

func (l *lister) field(path string, s *schema, required bool) error {
	s, err := l.whole(s)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	r := row{path: path, required: required, text: s.text()}
	if r.kind, err = l.kind(s); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	l.rows = append(l.rows, r)
	return l.within(path, s)
}

// whole is a schema with those in it that it refers to or is made of.
func (l *lister) whole(s *schema) (*schema, error) {
	w := *s
	parts := s.AllOf
	if s.Ref != "" {
		part, ok := l.defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
		if !ok {
			return nil, fmt.Errorf("no %s", s.Ref)
		}
		parts = append([]*schema{part}, parts...)
	}
	w.Ref, w.AllOf, w.AnyOf = "", nil, nil
	if s.AnyOf != nil {
		others := slices.DeleteFunc(slices.Clone(s.AnyOf), func(o *schema) bool { return slices.Equal(o.Type, kinds{"null"}) })
		if len(others) != 1 {
			return nil, fmt.Errorf("anyOf has %d alternatives beside null", len(others))
		}
		parts = append(parts, others...)
	}
	for _, part := range parts {
		part, err := l.whole(part)
		if err != nil {
			return nil, err
		}
		w.add(part)
	}
	if len(s.AnyOf) == 2 {
		w.Type = append(slices.Clone(w.Type), "null")
	}
	return &w, nil
}

// add makes part's keywords s's own, where s has none.
func (s *schema) add(part *schema) {
	if s.Type == nil {
		s.Type = part.Type
	}
	if s.Enum == nil && s.Const == "" {
		s.Enum = part.Enum
	}
	if part.Const != "" {
		s.Const, s.Enum = part.Const, nil
	}
	s.Description = first(s.Description, part.Description)
	s.Pattern = first(s.Pattern, part.Pattern)
	s.Format = first(s.Format, part.Format)
	s.MinLength = either(s.MinLength, part.MinLength)
	s.Minimum = either(s.Minimum, part.Minimum)
	s.Maximum = either(s.Maximum, part.Maximum)
	s.MinProperties = either(s.MinProperties, part.MinProperties)
	s.Items = either(s.Items, part.Items)
	s.Further = either(s.Further, part.Further)
	s.Required = append(slices.Clone(s.Required), part.Required...)
	s.Properties = slices.Clone(s.Properties)
	for _, p := range part.Properties {
		at := slices.IndexFunc(s.Properties, func(own property) bool { return own.name == p.name })
		if at < 0 {
			s.Properties = append(s.Properties, p)
			continue
		}
		s.Properties[at].schema = &schema{AllOf: []*schema{s.Properties[at].schema, p.schema}}
	}
}

func first(own, other string) string {
	if own != "" {
		return own
	}
	return other
}

func either[T any](own, other *T) *T {
	if own != nil {
		return own
	}
	return other
}

// kind names what JSON value it is.
func (l *lister) kind(s *schema) (string, error) {
	var names []string
	for _, t := range s.Type {
		switch {
		case t == "string" && s.Format != "":
			t = "string (" + s.Format + ")"
		case t == "array" && s.Items != nil:
			item, err := l.whole(s.Items)
			if err != nil {
				return "", err
			}
			of, err := l.kind(item)
			if err != nil {
				return "", err
			}
			t = "array of " + of
		}
		names = append(names, t)
	}
	if len(names) == 0 {
		names = []string{"any"}
		if s.Const != "" || s.Enum != nil {
			names[0] = "string"
		}
	}
	return strings.Join(names, " or "), nil
}

// text says what a value is and what it may be.
func (s *schema) text() string {
	var parts []string
	if s.Description != "" {
		parts = append(parts, s.Description)
	}
	switch {
	case s.Const != "":
		parts = append(parts, "always `"+s.Const+"`")
	case s.Enum != nil:
		parts = append(parts, "one of `"+strings.Join(s.Enum, "`, `")+"`")
	}
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		parts = append(parts, fmt.Sprintf("%s to %s", *s.Minimum, *s.Maximum))
	case s.Minimum != nil:
		parts = append(parts, fmt.Sprintf("%s or more", *s.Minimum))
	case s.Maximum != nil:
		parts = append(parts, fmt.Sprintf("%s or less", *s.Maximum))
	}
	if s.MinLength != nil {
		parts = append(parts, "not empty")
	}
	if s.MinProperties != nil {
		parts = append(parts, fmt.Sprintf("at least %d of its fields", *s.MinProperties))
	}
	if s.Pattern != "" && s.Description == "" {
		parts = append(parts, "matches `"+s.Pattern+"`")
	}
	return strings.Join(parts, "; ")
}
