package page

import "golang.org/x/text/language"

// Language is one that pages are in.
type Language string

// The languages.
const (
	Portuguese Language = "pt-BR"
	English    Language = "en"
)

// Prefers is the language that an Accept-Language asks for first, otherwise where it
// asks for neither.
func Prefers(accept string, otherwise Language) Language {
	tags, _, err := language.ParseAcceptLanguage(accept)
	if err != nil {
		return otherwise
	}
	for _, tag := range tags {
		switch base, _ := tag.Base(); base.String() {
		case "pt":
			return Portuguese
		case "en":
			return English
		}
	}
	return otherwise
}
