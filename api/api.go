// Package api holds the HTTP contract. Go's server interface and types and the
// TypeScript client's are generated from it, and the api service serves it.
package api

import _ "embed" // for the contract

// OpenAPI is the contract, an OpenAPI 3.1 document in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte
