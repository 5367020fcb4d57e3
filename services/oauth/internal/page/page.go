// Package page writes the pages that people see in a browser. Each says everything in
// Portuguese and in English, whichever the reader prefers first, and lets nothing in
// but its own style and script.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // how pages are laid out
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
)

//go:embed page.html
var layoutText string

//go:embed page.css
var style string

var layout = template.Must(template.New("page").Parse(layoutText))

// Text is what is said in one language.
type Text struct {
	Heading string
	Lines   []string
}

// Section is what is said at a time.
type Section struct {
	ID         string // for a script; empty: shown from the beginning
	Portuguese Text
	English    Text
}

// Page is what a browser is to show.
type Page struct {
	Title    string
	Sections []Section
	Script   string  // which shows sections that have an id
	Unable   Section // what is said where scripts do not run
	Targets  string  // what the script is told
}

// said is a text in its place.
type said struct {
	Lang string
	Text
	First bool
}

// shown is a section in the order of a reader's languages.
type shown struct {
	ID    string
	Texts [2]said
}

func (s *Section) order(first Language) shown {
	pt, en := said{Lang: string(Portuguese), Text: s.Portuguese}, said{Lang: string(English), Text: s.English}
	texts := [2]said{pt, en}
	if first == English {
		texts = [2]said{en, pt}
	}
	texts[0].First = true
	return shown{s.ID, texts}
}

// Render makes the answer to a reader of a language.
func (p *Page) Render(status int, first Language) (*Answer, error) {
	data := struct {
		Lang, Title, Targets string
		Style                template.CSS
		Script               template.JS
		Sections             []shown
		Unable               shown
	}{
		Lang: string(first), Title: p.Title, Targets: p.Targets, Style: template.CSS(style), Script: template.JS(p.Script), //nolint:gosec // both are ours
		Unable: p.Unable.order(first),
	}
	for i := range p.Sections {
		data.Sections = append(data.Sections, p.Sections[i].order(first))
	}
	var out bytes.Buffer
	if err := layout.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	return &Answer{status: status, language: first, policy: policy(p.Script), body: out.Bytes()}, nil
}

// policy lets in the style and the script, by what they are.
func policy(script string) string {
	scripts := "'none'"
	if script != "" {
		scripts = hash(script)
	}
	return "default-src 'none'; script-src " + scripts + "; style-src " + hash(style) +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Answer is a page as it is sent. It may be sent any number of times.
type Answer struct {
	status   int
	language Language
	policy   string
	body     []byte
}

func (a *Answer) write(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", string(a.language))
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	h.Set("Content-Security-Policy", a.policy)
	h.Set("Cross-Origin-Opener-Policy", "unsafe-none") // a pop-up must reach the window that opened it
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer") // the URL is nobody else's to know
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept-Language")
	w.WriteHeader(a.status)
	_, err := w.Write(a.body)
	return err
}

// VisitFacebookCallbackResponse makes it an answer of that operation.
func (a *Answer) VisitFacebookCallbackResponse(w http.ResponseWriter) error { return a.write(w) }

// VisitFacebookCallbackInEnglishResponse makes it an answer of that operation.
func (a *Answer) VisitFacebookCallbackInEnglishResponse(w http.ResponseWriter) error {
	return a.write(w)
}

// VisitGetFacebookDataDeletionResponse makes it an answer of that operation.
func (a *Answer) VisitGetFacebookDataDeletionResponse(w http.ResponseWriter) error { return a.write(w) }
