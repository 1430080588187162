package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/bowline-sh/bowline/diag"
)

// types are described otherwise than by their fields: they have their own JSON.
func types() map[reflect.Type]*jsonschema.Schema {
	return map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[time.Time]():       {Type: "string", Format: "date-time"},
		reflect.TypeFor[json.RawMessage](): {},
		reflect.TypeFor[[]byte]():          {Type: "string", ContentEncoding: "base64"},
		reflect.TypeFor[diag.Kind]():       {Type: "string"},
	}
}

// schemaOf describes a Go type in JSON Schema 2020-12, which OpenAPI 3.1 uses.
func schemaOf(v any) (*jsonschema.Schema, error) {
	return jsonschema.ForType(reflect.TypeOf(v), &jsonschema.ForOptions{TypeSchemas: types()})
}

type object = map[string]any

// describe returns the OpenAPI 3.1 document of routes.
func describe(routes []route, version string) (object, error) {
	schemas := object{}
	paths := map[string]object{}
	for _, r := range append(slices.Clone(routes), route{out: Problem{}}) {
		for _, v := range []any{r.in, r.out} {
			if v == nil {
				continue
			}
			s, err := schemaOf(v)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.id, err)
			}
			schemas[nameOf(v)] = s
		}
		if r.path == "" {
			continue
		}
		if paths[r.path] == nil {
			paths[r.path] = object{}
		}
		paths[r.path][strings.ToLower(r.method)] = r.describe()
	}
	return object{
		"openapi": "3.1.0",
		"info": object{"title": "Bowline", "version": version, "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "Run things on remote Linux hosts so that nothing changes unreviewed, everything is on record, and every change can be undone."},
		"servers":  []object{{"url": Prefix}},
		"paths":    paths,
		"security": []object{{"token": []string{}}},
		"components": object{"schemas": schemas, "securitySchemes": object{
			"token": object{"type": "http", "scheme": "bearer", "description": "made with 'bowline token create'"},
		}},
	}, nil
}

func nameOf(v any) string { return reflect.TypeOf(v).Name() }

func ref(v any) object { return object{"$ref": "#/components/schemas/" + nameOf(v)} }

var pathParam = regexp.MustCompile(`\{(\w+)\}`)

func (r route) describe() object {
	var params []object
	for _, m := range pathParam.FindAllStringSubmatch(r.path, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, q := range r.query {
		params = append(params, object{"name": q.name, "in": "query", "description": q.text, "schema": object{"type": q.kind}})
	}
	for _, h := range r.header {
		params = append(params, object{"name": h.name, "in": "header", "description": h.text, "schema": object{"type": h.kind}})
	}
	responses := object{"default": object{"description": "an error", "content": object{"application/problem+json": object{"schema": ref(Problem{})}}}}
	code, ok := "200", object{"description": "done"}
	if r.status != 0 {
		code = fmt.Sprint(r.status)
	}
	content := object{}
	switch {
	case r.file:
		content["application/octet-stream"] = object{}
	case r.out != nil:
		content["application/json"] = object{"schema": ref(r.out)}
	default:
		code = "204"
	}
	if r.events {
		content["text/event-stream"] = object{"schema": object{"type": "string", "description": "events as they come; the last is 'result' or 'problem'"}}
	}
	if len(content) > 0 {
		ok["content"] = content
	}
	responses[code] = ok
	out := object{"operationId": r.id, "summary": r.summary, "description": "Needs the scope '" + string(r.scope) + "'.", "responses": responses}
	if len(params) > 0 {
		out["parameters"] = params
	}
	switch {
	case r.upload:
		out["requestBody"] = object{"required": true, "content": object{"application/octet-stream": object{}}}
	case r.in != nil:
		out["requestBody"] = object{"content": object{"application/json": object{"schema": ref(r.in)}}}
	}
	return out
}
