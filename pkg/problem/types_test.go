package problem

import (
	"maps"
	"os"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The contract lists every type that there is, and each has a title.
func TestTypes_InContract(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					Enum []string `yaml:"enum"`
				} `yaml:"properties"`
			} `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(text, &contract); err != nil {
		t.Fatal(err)
	}
	got := contract.Components.Schemas["Problem"].Properties["type"].Enum
	want := append(slices.Collect(maps.Keys(titles)), typeBlank)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the contract has the types %q, there are %q", got, want)
	}
	if p := Invalid().WithType(TypeEventIDReused); p.Type != TypeEventIDReused || p.Title == "" || p.Title == Invalid().Title {
		t.Errorf("a problem with a type is %+v", p)
	}
}
