package httpapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is the contract as it is served, and what of it the server goes by.
type document struct {
	json       []byte
	operations map[string]operation // by operationId
}

// operation is one method of one path.
type operation struct {
	public  bool     // no credentials are asked for
	scopes  []string // a key must have all of them
	queries []string // names of its query parameters
	open    bool     // it takes others too
	maxBody int64    // bytes of its body; 0: as any
}

// apiKey is the name of the security scheme.
const apiKey = "apiKey"

// readContract reads an OpenAPI document in YAML. It is ours and tested: what is
// wrong in it is a programmer's error, reported as the server starts.
func readContract(contract []byte) (document, error) {
	var whole map[string]any
	if err := yaml.Unmarshal(contract, &whole); err != nil {
		return document{}, fmt.Errorf("contract: %w", err)
	}
	d := document{operations: make(map[string]operation)}
	var err error
	if d.json, err = json.Marshal(whole); err != nil {
		return document{}, fmt.Errorf("contract: %w", err)
	}
	var spec struct {
		Security []map[string][]string `json:"security"`
		Paths    map[string]map[string]struct {
			OperationID string                 `json:"operationId"`
			Security    *[]map[string][]string `json:"security"`
			Parameters  []parameter            `json:"parameters"`
			AnyQuery    bool                   `json:"x-any-query"`
			RequestBody struct {
				MaxBytes int64 `json:"x-max-bytes"`
			} `json:"requestBody"`
		} `json:"paths"`
		Components struct {
			Parameters map[string]parameter `json:"parameters"`
		} `json:"components"`
	}
	// What all methods of a path share has another form, and no query parameters.
	for _, item := range whole["paths"].(map[string]any) {
		delete(item.(map[string]any), "parameters")
	}
	methods, err := json.Marshal(whole)
	if err != nil {
		return document{}, fmt.Errorf("contract: %w", err)
	}
	if err := json.Unmarshal(methods, &spec); err != nil {
		return document{}, fmt.Errorf("contract: %w", err)
	}
	for path, methods := range spec.Paths {
		for method, o := range methods {
			security := spec.Security
			if o.Security != nil {
				security = *o.Security
			}
			op := operation{public: len(security) == 0, open: o.AnyQuery, maxBody: o.RequestBody.MaxBytes}
			if !op.public {
				scopes, ok := security[0][apiKey]
				if !ok || len(security) > 1 {
					return document{}, fmt.Errorf("contract: %s %s: the server knows %s alone", method, path, apiKey)
				}
				op.scopes = scopes
			}
			for _, p := range o.Parameters {
				if name, ok := strings.CutPrefix(p.Ref, "#/components/parameters/"); ok {
					p = spec.Components.Parameters[name]
				}
				if p.In == "query" {
					op.queries = append(op.queries, p.Name)
				}
			}
			slices.Sort(op.queries)
			d.operations[o.OperationID] = op
		}
	}
	return d, nil
}

type parameter struct {
	Ref  string `json:"$ref"`
	Name string `json:"name"`
	In   string `json:"in"`
}
