// Package config reads a program's settings from environment variables into one
// struct, whose tags say everything about a setting:
//
//	type Config struct {
//		Addr   string        `env:"HTTP_ADDR" envDefault:"127.0.0.1:8080" help:"address of the HTTP API"`
//		Lease  time.Duration `env:"LEASE" envDefault:"45s" help:"how long a worker may hold a delivery"`
//		Keyset string        `env:"VAULT_KEYSET,required" secret:"true" help:"Tink keyset in JSON"`
//	}
//
// Nested structs are read as well, so that a program can be composed of others; a
// variable that occurs twice is one setting, with the first one's tags. An empty
// variable counts as unset.
//
// A config with a method Validate() error is asked once all variables could be
// read. One with a method Defaults() map[string]string replaces the envDefault of
// the variables named there: a composed program may start from other values than
// its parts.
package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/caarlos0/env/v11"
)

var (
	// ErrHelp says that help was asked for, and printed.
	ErrHelp = errors.New("help printed")
	// ErrUsage says that the program was given arguments; it takes none but --help.
	ErrUsage = errors.New("unknown argument")
)

type (
	validator interface{ Validate() error }
	defaulter interface{ Defaults() map[string]string }
)

// ParseOrExit fills cfg, a pointer to a struct, as Parse does for this process.
// After --help it ends the process with code 0; after a fault, which it prints to
// stderr, with code 2.
func ParseOrExit(cfg any) {
	program := filepath.Base(os.Args[0])
	err := Parse(program, os.Args[1:], cfg, os.Stdout)
	switch {
	case err == nil:
	case errors.Is(err, ErrHelp):
		os.Exit(0)
	default:
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(os.Stderr, "%s: %s\n", program, strings.TrimSuffix(line, "\n"))
		}
		fmt.Fprintf(os.Stderr, "Run %s --help for all settings.\n", program)
		os.Exit(2)
	}
}

// Parse fills cfg, a pointer to a struct, from the environment. With -h or --help
// among args it prints all settings to stdout instead and returns ErrHelp; any
// other argument is ErrUsage. Faults in the settings are joined, one a line.
func Parse(program string, args []string, cfg any, stdout io.Writer) error {
	if slices.Contains(args, "-h") || slices.Contains(args, "--help") {
		if _, err := fmt.Fprintf(stdout, "Usage: %s [--help]\n\n", program); err != nil {
			return fmt.Errorf("print usage: %w", err)
		}
		if err := Usage(stdout, cfg); err != nil {
			return fmt.Errorf("print usage: %w", err)
		}
		return ErrHelp
	}
	if len(args) > 0 {
		return fmt.Errorf("%w: %s", ErrUsage, args[0])
	}
	return Load(cfg)
}

// Load fills cfg, a pointer to a struct, from the environment and validates it.
// All faults are joined, one a line, each with the name of its variable; the
// value of a secret is in none.
func Load(cfg any) error { return load(cfg, env.ToMap(os.Environ())) }

func load(cfg any, environ map[string]string) error {
	settings := settingsOf(cfg)
	given := maps.Clone(environ)
	for _, s := range settings {
		if given[s.key] == "" && s.value != "" {
			given[s.key] = s.value
		}
	}
	if err := faults(env.ParseWithOptions(cfg, env.Options{Environment: given}), settings); err != nil {
		return err
	}
	if v, ok := cfg.(validator); ok {
		return v.Validate()
	}
	return nil
}

// faults rewrites the library's errors, which name fields, to name variables. A
// variable is required if its first tags say so.
func faults(err error, settings []setting) error {
	all, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return err
	}
	var joined []error
	var seen []string // a variable read twice fails twice
	for _, err := range all.Errors {
		if unset, ok := errors.AsType[env.VarIsNotSetError](err); ok && !required(unset.Key, settings) {
			continue
		}
		err = fault(err, settings)
		if !slices.Contains(seen, err.Error()) {
			seen = append(seen, err.Error())
			joined = append(joined, err)
		}
	}
	return errors.Join(joined...)
}

func required(key string, settings []setting) bool {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
	return i < 0 || settings[i].required
}

func fault(err error, settings []setting) error {
	if unset, ok := errors.AsType[env.VarIsNotSetError](err); ok {
		return fmt.Errorf("%s is required", unset.Key)
	}
	if empty, ok := errors.AsType[env.EmptyVarError](err); ok {
		return fmt.Errorf("%s must not be empty", empty.Key)
	}
	unread, ok := errors.AsType[env.ParseError](err)
	if !ok {
		return err
	}
	// The library names the field alone: of several by that name, any may be meant.
	var keys []string
	secret := false
	for _, s := range settings {
		if s.field == unread.Name && s.typ == unread.Type && !slices.Contains(keys, s.key) {
			keys = append(keys, s.key)
			secret = secret || s.secret
		}
	}
	name := strings.Join(keys, " or ")
	if secret {
		return fmt.Errorf("%s cannot be read (its value is secret)", name) // the cause may quote it
	}
	return fmt.Errorf("%s: %w", name, unread.Err)
}

// longDefault is the length from which a default stands behind the meaning, so that it
// does not push all meanings to the right.
const longDefault = 40

// Usage prints every setting of cfg, a pointer to a struct, with its default and
// its meaning. The default of a secret is not shown.
func Usage(w io.Writer, cfg any) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "Settings are environment variables:")
	fmt.Fprintln(table)
	fmt.Fprintln(table, "  NAME\tDEFAULT\tMEANING")
	var seen []string
	for _, s := range settingsOf(cfg) {
		if slices.Contains(seen, s.key) {
			continue
		}
		seen = append(seen, s.key)
		value, meaning := s.value, s.help
		switch {
		case value != "" && s.secret:
			value = "(secret)"
		case len(value) >= longDefault:
			value, meaning = "(long)", meaning+"; default: "+value
		case value == "" && s.required:
			value = "(required)"
		case value == "":
			value = "-"
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", s.key, value, meaning)
	}
	return table.Flush()
}

// setting is what the tags of one field say.
type setting struct {
	key, help string
	value     string // the default
	required  bool
	secret    bool
	field     string // name of the field in the struct
	typ       reflect.Type
}

// settingsOf lists the settings of cfg in the order of its fields. A cfg that is
// no pointer to a struct, and a setting without a meaning, are programming errors.
func settingsOf(cfg any) []setting {
	typ := reflect.TypeOf(cfg)
	if typ == nil || typ.Kind() != reflect.Pointer || typ.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("config: %T is no pointer to a struct", cfg))
	}
	var defaults map[string]string
	if d, ok := cfg.(defaulter); ok {
		defaults = d.Defaults()
	}
	settings := walk(nil, typ.Elem(), "", defaults)
	for key := range defaults {
		if !slices.ContainsFunc(settings, func(s setting) bool { return s.key == key }) {
			panic(fmt.Sprintf("config: a default for %s, which %T does not have", key, cfg))
		}
	}
	return settings
}

func walk(settings []setting, typ reflect.Type, prefix string, defaults map[string]string) []setting {
	for field := range typ.Fields() {
		key, options, _ := strings.Cut(field.Tag.Get("env"), ",")
		switch {
		case !field.IsExported() || key == "-":
		case key != "":
			s := setting{
				key:      prefix + key,
				help:     field.Tag.Get("help"),
				value:    field.Tag.Get("envDefault"),
				required: slices.Contains(strings.Split(options, ","), "required"),
				secret:   field.Tag.Get("secret") == "true",
				field:    field.Name,
				typ:      field.Type,
			}
			if s.help == "" {
				panic(fmt.Sprintf("config: %s.%s (%s) has no help tag", typ, field.Name, s.key))
			}
			if value := defaults[s.key]; value != "" {
				s.value = value
			}
			settings = append(settings, s)
		case field.Type.Kind() == reflect.Struct:
			settings = walk(settings, field.Type, prefix+field.Tag.Get("envPrefix"), defaults)
		}
	}
	return settings
}
