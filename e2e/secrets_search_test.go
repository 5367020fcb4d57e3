package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// A search finds secrets in texts, in whatever form they got there: as they are, in a
// URL, in JSON, in hexadecimal, and in base64 wherever they stand in what was encoded.
// A part of a secret is found too, if it is twice as long as a piece.
type search struct {
	forms map[[formPrefix]byte][]form
	first [1 << 16]bool // the first two bytes of any form
}

// form is how a piece of a secret may look.
type form struct {
	text   string
	secret string // its name
	how    string
}

const (
	piece      = 24 // of a secret, in bytes
	formPrefix = 8  // by which forms are looked up: none is shorter
)

// secret is a text that may stand nowhere but where it has to.
type secret struct{ name, text string }

func newSearch(secrets []secret) *search {
	s := &search{forms: make(map[[formPrefix]byte][]form)}
	seen := make(map[string]bool)
	for _, one := range secrets {
		for _, part := range pieces(one.text) {
			for how, text := range formsOf(part) {
				if len(text) < formPrefix || seen[one.name+text] {
					continue
				}
				seen[one.name+text] = true
				key := [formPrefix]byte([]byte(text[:formPrefix]))
				s.forms[key] = append(s.forms[key], form{text, one.name, how})
				s.first[int(text[0])<<8|int(text[1])] = true
			}
		}
	}
	return s
}

// pieces cuts a text into parts of one length or more.
func pieces(text string) (all []string) {
	for len(text) >= 2*piece {
		all, text = append(all, text[:piece]), text[piece:]
	}
	return append(all, text)
}

// formsOf are all ways in which a text is looked for, by their names.
func formsOf(text string) map[string]string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // of a string
	}
	twice, err := json.Marshal(string(quoted[1 : len(quoted)-1]))
	if err != nil {
		panic(err)
	}
	forms := map[string]string{
		"raw": text, "JSON": string(quoted[1 : len(quoted)-1]), "JSON in JSON": string(twice[1 : len(twice)-1]),
		"query": url.QueryEscape(text), "path": url.PathEscape(text),
		"hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text))),
	}
	for offset := range 3 {
		for name, coding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			// The characters at both ends depend on what stands beside the text.
			whole := coding.EncodeToString(append(make([]byte, offset), text...))
			begin, end := (offset*8+5)/6, (offset+len(text))*8/6
			forms[fmt.Sprintf("%s+%d", name, offset)] = whole[begin:end]
		}
	}
	return forms
}

// find are the names of the secrets in a text, with their forms.
func (s *search) find(text []byte) (found []form) {
	for i := 0; i+formPrefix <= len(text); i++ {
		if !s.first[int(text[i])<<8|int(text[i+1])] {
			continue
		}
		for _, form := range s.forms[[formPrefix]byte(text[i:i+formPrefix])] {
			if bytes.HasPrefix(text[i:], []byte(form.text)) {
				found = append(found, form)
			}
		}
	}
	return found
}

// names are the secrets of what was found.
func names(found []form) (all []string) {
	for _, f := range found {
		all = append(all, f.secret)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// prove fails unless each secret is found in each form, whatever stands around it, and
// whichever half of a long one is there; and nothing where there is none.
func (s *search) prove(t testing.TB, secrets []secret) {
	t.Helper()
	for _, one := range secrets {
		plants := []string{one.text}
		if half := len(one.text) / 2; half >= 2*piece {
			plants = append(plants, one.text[:half], one.text[half:])
		}
		for _, plant := range plants {
			for before := range 4 {
				around := func(text string) []byte {
					return slices.Concat([]byte(rand.Text()[:before]), []byte(text), []byte(rand.Text()[:before]))
				}
				inside := around(plant)
				for how, text := range map[string][]byte{
					"raw": inside, "query": around(url.QueryEscape(plant)), "hex": around(hex.EncodeToString(inside)), "HEX": []byte(fmt.Sprintf("%X", inside)),
					"base64": []byte(base64.StdEncoding.EncodeToString(inside)), "base64url": []byte(base64.URLEncoding.EncodeToString(inside)),
					"base64, unpadded": []byte(base64.RawStdEncoding.EncodeToString(inside)),
					"JSON":             encodeJSON(t, string(inside)), "JSON in JSON": encodeJSON(t, string(encodeJSON(t, string(inside)))),
				} {
					if !slices.Contains(names(s.find(text)), one.name) {
						t.Errorf("%s in the form %s is not found behind %d bytes: %d of its %d bytes were planted", one.name, how, before, len(plant), len(one.text))
					}
				}
			}
		}
	}
	if found := s.find([]byte(strings.Repeat(rand.Text(), 1000))); len(found) > 0 {
		t.Errorf("%v is found where nothing is", names(found))
	}
}

func encodeJSON(t testing.TB, text string) []byte {
	t.Helper()
	encoded, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func TestSearch(t *testing.T) {
	t.Parallel()
	secrets := []secret{
		{"a token", "EAAB" + rand.Text() + rand.Text() + rand.Text() + rand.Text()}, {"a key", rand.Text()}, {"sixteen", rand.Text()[:16]},
		{"with signs", `{"key":"` + rand.Text() + `+/="}|` + rand.Text() + "é"},
	}
	newSearch(secrets).prove(t, secrets)
}
