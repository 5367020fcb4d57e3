// Command eventdoc writes a page, docs/events.md: what the catalog of event types says,
// for those who receive them.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/primezap/primezap/pkg/event"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: eventdoc FILE")
		os.Exit(2)
	}
	page, err := pageOf(event.Types())
	if err == nil {
		err = os.WriteFile(os.Args[1], page, 0o644) //nolint:gosec // a page to be read
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "eventdoc:", err)
		os.Exit(1)
	}
}

const intro = `<!-- Made by "make generate" from pkg/event/catalog: change that. -->

# Event types

What is sent for an event is one JSON object:

| field | |
|---|---|
| ` + "`event`" + ` | the type, one of those below |
| ` + "`timestamp`" + ` | when it happened: RFC 3339, UTC |
| ` + "`data`" + ` | what happened, by type |

Data may have further fields, and gets some in time: receivers pass over those they
do not know. A field that is not marked as required may be missing. Who publishes
events is told what is wrong with their data (422 with a JSON Pointer to each fault);
` + "`POST /api/events?strict=false`" + ` takes it all the same. ` + "`GET /api/event-types`" + ` has the
same as this page, with JSON Schemas.

How to verify and handle a delivery: [receiving-webhooks.md](receiving-webhooks.md).
`

const operational = `
## Operational types

They tell of the tenant's own webhooks and connections. Only we raise them. ` + "`*` and prefixes such as\n`webhook.*`" + ` cover them for a webhook that is ` + "`operational`" + `; by name any webhook may
subscribe to them.
`

// pageOf is the page, the operational types last and apart.
func pageOf(types []event.Definition) ([]byte, error) {
	var page bytes.Buffer
	page.WriteString(intro)
	page.WriteString("\n| type | occurs when |\n|---|---|\n")
	for _, d := range types {
		name := string(d.Type)
		fmt.Fprintf(&page, "| [`%s`](#%s) | %s |\n", name, strings.ReplaceAll(name, ".", ""), d.Description.En)
	}
	apart := false
	for _, d := range types {
		if d.Operational && !apart {
			apart = true
			page.WriteString(operational)
		}
		if err := section(&page, d); err != nil {
			return nil, fmt.Errorf("%s: %w", d.Type, err)
		}
	}
	return page.Bytes(), nil
}

// section is one type: when it occurs in both languages, an example, the fields.
func section(page *bytes.Buffer, d event.Definition) error {
	var example bytes.Buffer
	if err := json.Indent(&example, d.Example, "", "  "); err != nil {
		return fmt.Errorf("example: %w", err)
	}
	rows, err := fieldsOf(d.Schema)
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	fmt.Fprintf(page, "\n## %s\n\n%s\n\n*%s*\n\n```json\n%s\n```\n\n", d.Type, d.Description.En, d.Description.PtBR, example.Bytes())
	page.WriteString("| field of `data` | type | required | |\n|---|---|---|---|\n")
	for _, row := range rows {
		required := ""
		if row.required {
			required = "yes"
		}
		fmt.Fprintf(page, "| `%s` | %s | %s | %s |\n", row.path, row.kind, required, strings.ReplaceAll(row.text, "|", `\|`))
	}
	return nil
}
