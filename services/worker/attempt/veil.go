package attempt

import (
	"encoding/json"
	"strings"
)

const (
	veil     = "••" // no longer than what it stands for
	minVeils = 8    // bytes: what is shorter could be any word
)

// veiled is text of an answer without the values of own, of which customers' endpoints
// may show what they got. cut: text may end in the middle of one.
func veiled(text string, own []Header, cut bool) string {
	for _, header := range own {
		for _, value := range credentials(header.Value) {
			text = strings.ReplaceAll(text, value, veil)
			if quoted, err := json.Marshal(value); err == nil {
				text = strings.ReplaceAll(text, string(quoted[1:len(quoted)-1]), veil)
			}
			for n := min(len(value)-1, len(text)); cut && n >= minVeils; n-- {
				if rest, ends := strings.CutSuffix(text, value[:n]); ends {
					text = rest + veil
					break
				}
			}
		}
	}
	return text
}

// credentials are a header's value, and what stands behind its scheme.
func credentials(value string) (all []string) {
	_, behind, _ := strings.Cut(value, " ")
	for _, one := range []string{value, behind} {
		if len(one) >= minVeils {
			all = append(all, one)
		}
	}
	return all
}
