package insight

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// openAPI is what these tests read of the description.
type openAPI struct {
	Paths map[string]map[string]struct {
		Parameters []struct{ Name, In string }
		Responses  map[string]struct {
			Content map[string]struct{ Schema schema }
		}
	}
	Components struct{ Schemas map[string]schema }
}

type schema struct {
	Ref                  string `json:"$ref"`
	Type                 any    // a string, or a list with null
	Format               string
	Items                *schema
	OneOf                []schema
	Required             []string
	Properties           map[string]schema
	AdditionalProperties any
}

func described(t *testing.T) *openAPI {
	t.Helper()
	all := new(openAPI)
	if err := json.Unmarshal(description, all); err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	return all
}

// shownTypes are the types of replies, by the paths that show them.
var shownTypes = map[string]any{
	"/v1/status": Status{}, "/v1/top": Top{}, "/v1/services": Services{}, "/v1/service": Service{}, "/v1/explain": Explanation{},
	"/v1/changes": Changes{},
}

// TestDescriptionHasEveryPath with its parameters, and no other.
func TestDescriptionHasEveryPath(t *testing.T) {
	want := map[string][]string{"/": nil, "/v1/openapi.json": nil, "/v1/changes": streamParameters}
	for _, r := range routes {
		want[r.path] = r.parameters
	}
	all := described(t)
	if got, want := slices.Sorted(maps.Keys(all.Paths)), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
		t.Errorf("openapi.json describes %q, the server has %q", got, want)
	}
	for path, methods := range all.Paths {
		var got []string
		for _, p := range methods["get"].Parameters {
			got = append(got, p.Name)
		}
		if len(methods) != 1 || !slices.Equal(got, want[path]) {
			t.Errorf("%s has the parameters %q, want %q of GET alone", path, got, want[path])
		}
		for _, content := range methods["get"].Responses["200"].Content {
			if of, ok := shownTypes[path]; ok && content.Schema.Ref != "#/components/schemas/"+reflect.TypeOf(of).Name() {
				t.Errorf("%s replies with %q, want a %T", path, content.Schema.Ref, of)
			}
		}
	}
}

// TestDescriptionHasEveryField of what is replied, with its type, and no other.
func TestDescriptionHasEveryField(t *testing.T) {
	all := described(t)
	seen := make(map[string]bool)
	var check func(of reflect.Type)
	var typeText func(of reflect.Type) string
	typeText = func(of reflect.Type) string {
		switch {
		case of == reflect.TypeFor[time.Time]():
			return "string/date-time"
		case of.Kind() == reflect.Pointer:
			return typeText(of.Elem()) + " or null"
		case of.Kind() == reflect.Slice:
			return "array of " + typeText(of.Elem())
		case of.Kind() == reflect.Map:
			return "map of " + typeText(of.Elem())
		case of.Kind() == reflect.Struct:
			check(of)
			return of.Name()
		}
		return map[reflect.Kind]string{
			reflect.String: "string", reflect.Bool: "boolean", reflect.Float64: "number", reflect.Int: "integer", reflect.Uint32: "integer", reflect.Uint64: "integer",
		}[of.Kind()]
	}
	check = func(of reflect.Type) {
		if seen[of.Name()] {
			return
		}
		seen[of.Name()] = true
		s, ok := all.Components.Schemas[of.Name()]
		if !ok {
			t.Errorf("openapi.json does not describe %s", of.Name())
			return
		}
		var names []string
		for field := range of.Fields() {
			name := field.Tag.Get("json")
			names = append(names, name)
			if got, want := textOf(s.Properties[name]), typeText(field.Type); got != want {
				t.Errorf("%s.%s is described as %q, want %q", of.Name(), name, got, want)
			}
		}
		if !slices.Equal(s.Required, names) || len(s.Properties) != len(names) || s.AdditionalProperties != false {
			t.Errorf("%s is described with %q, want all of %q to be there and no others", of.Name(), s.Required, names)
		}
	}
	for _, of := range shownTypes {
		check(reflect.TypeOf(of))
	}
	check(reflect.TypeFor[Failure]())
	for name := range all.Components.Schemas {
		if !seen[name] {
			t.Errorf("openapi.json describes %s, which no reply has", name)
		}
	}
}

// textOf returns what a schema says, as the test writes it.
func textOf(s schema) string {
	if len(s.OneOf) == 2 && s.OneOf[1].Type == "null" {
		return textOf(s.OneOf[0]) + " or null"
	}
	if s.Ref != "" {
		return strings.TrimPrefix(s.Ref, "#/components/schemas/")
	}
	switch kind := s.Type.(type) {
	case []any:
		s.Type = kind[0]
		return textOf(s) + " or null"
	case string:
		switch kind {
		case "array":
			return "array of " + textOf(*s.Items)
		case "object":
			values, _ := s.AdditionalProperties.(map[string]any)
			return fmt.Sprint("map of ", values["type"])
		}
		if s.Format != "" {
			return kind + "/" + s.Format
		}
		return kind
	}
	return fmt.Sprintf("%+v", s)
}
