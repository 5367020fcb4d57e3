package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/services/api/internal/openapi"
)

const (
	probeTimeout = 3 * time.Second // probes give up after a few seconds
	notReady     = 2 * time.Second
)

// operations implements what operators ask.
type operations struct {
	ready    func(context.Context) error
	document []byte
}

// GetHealth serves GET /healthz.
func (operations) GetHealth(context.Context, openapi.GetHealthRequestObject) (openapi.GetHealthResponseObject, error) {
	return openapi.GetHealth200JSONResponse{Status: openapi.Ok}, nil
}

// GetReadiness serves GET /readyz. What is missing is for the log alone: anybody
// may ask.
func (o operations) GetReadiness(ctx context.Context, _ openapi.GetReadinessRequestObject) (openapi.GetReadinessResponseObject, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := o.ready(ctx); err != nil {
		return nil, problem.Unavailable(notReady, "the service is not ready").WithCause(err)
	}
	return openapi.GetReadiness200JSONResponse{Status: openapi.Ok}, nil
}

// GetOpenAPI serves GET /openapi.json.
func (o operations) GetOpenAPI(context.Context, openapi.GetOpenAPIRequestObject) (openapi.GetOpenAPIResponseObject, error) {
	return contractResponse(o.document), nil
}

// contractResponse is the document as it is.
type contractResponse json.RawMessage

// VisitGetOpenAPIResponse implements openapi.GetOpenAPIResponseObject.
func (r contractResponse) VisitGetOpenAPIResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, err := w.Write(r)
	return err
}
