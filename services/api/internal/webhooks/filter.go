package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/filter"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/strict"
	"github.com/primezap/primezap/services/api/internal/openapi"
)

// PreviewFilter serves POST /api/custom-webhooks/filter/preview. What it says of
// data is what the matcher will say.
func (s *Service) PreviewFilter(_ context.Context, req openapi.PreviewFilterRequestObject) (openapi.PreviewFilterResponseObject, error) {
	in, err := strict.Members(*req.Body, "filter", "event", "data")
	if err != nil {
		return nil, err
	}
	var faults []problem.FieldError
	refuse := func(fault *problem.FieldError) {
		if fault != nil {
			faults = append(faults, *fault)
		}
	}
	compiled, fault := compile(json.RawMessage(in["filter"]))
	refuse(fault)
	definition, fault := previewed(json.RawMessage(in["event"]))
	refuse(fault)
	body := []byte(definition.Example)
	if data := json.RawMessage(in["data"]); fault == nil && !isNull(data) {
		body, fault = stable(definition.Type, data)
		refuse(fault)
	}
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	data, ok := event.Data(body)
	if !ok {
		return nil, fmt.Errorf("preview: no data in the body of %s", definition.Type)
	}
	return openapi.PreviewFilter200JSONResponse{Matches: compiled.Matches(data), Data: data}, nil
}

// compile reads a filter that stands in a request's field of that name.
func compile(given json.RawMessage) (*filter.Filter, *problem.FieldError) {
	if given == nil {
		return nil, &problem.FieldError{Pointer: "/filter", Detail: "is required"}
	}
	compiled, err := filter.Compile(given)
	if err == nil {
		return compiled, nil
	}
	fault := &problem.FieldError{Pointer: "/filter", Detail: "is no filter"}
	if refused, ok := errors.AsType[*filter.Error](err); ok {
		fault.Pointer, fault.Detail = strict.Pointer("/filter"+refused.Pointer), refused.Detail
	}
	return nil, fault
}

// previewed is the event type that a preview names.
func previewed(given json.RawMessage) (event.Definition, *problem.FieldError) {
	name := event.MessageReceived
	if !isNull(given) {
		if err := json.Unmarshal(given, &name); err != nil {
			return event.Definition{}, &problem.FieldError{Pointer: "/event", Detail: "must be a string"}
		}
	}
	definition, ok := event.Lookup(name)
	if !ok {
		return event.Definition{}, &problem.FieldError{Pointer: "/event", Detail: event.NoType}
	}
	return definition, nil
}

// stable is the body that an event with data would have.
func stable(t event.Type, data []byte) ([]byte, *problem.FieldError) {
	body, err := event.Body(t, time.Now(), data)
	if err == nil {
		return body, nil
	}
	fault := &problem.FieldError{Pointer: "/data", Detail: "cannot be read"}
	if refused, ok := errors.AsType[*event.Error](err); ok {
		fault.Pointer, fault.Detail = strict.Pointer(refused.Pointer), refused.Detail
	}
	return nil, fault
}

func isNull(given json.RawMessage) bool {
	return given == nil || bytes.Equal(given, []byte("null"))
}
