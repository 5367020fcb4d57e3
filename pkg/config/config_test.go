package config_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/config"
)

// apiConfig is a service's config as ours are; its Validate refuses a lease of less
// than a second.
type apiConfig struct {
	Addr   string        `env:"T_ADDR" envDefault:"127.0.0.1:8080" help:"address of the API"`
	Lease  time.Duration `env:"T_LEASE" envDefault:"45s" help:"how long a worker may hold a delivery"`
	Keyset string        `env:"T_KEYSET,required" secret:"true" help:"keyset in JSON"`
	Pin    int           `env:"T_PIN" envDefault:"1234" secret:"true" help:"a number nobody may see"`
	Nested struct {
		Ranges config.CIDRs `env:"RANGES" help:"ranges that may be reached"`
		Hosts  config.List  `env:"HOSTS" envDefault:"a,b" help:"allowed hosts"`
	} `envPrefix:"T_ALLOW_"`
}

func (c *apiConfig) Validate() error {
	if c.Lease < time.Second {
		return errors.New("T_LEASE must be at least 1s")
	}
	return nil
}

// wholeConfig is composed of a service's config and starts from other values.
type wholeConfig struct {
	API   apiConfig
	Token string `env:"T_TOKEN" help:"optional here, required by a part"`
	Part  struct {
		Token string `env:"T_TOKEN,required" help:"required where the part runs alone"`
	}
	Again struct {
		Addr string `env:"T_ADDR" envDefault:"0.0.0.0:1" help:"the same setting a second time"`
	}
	Dir string `env:"T_DIR" envDefault:".state" help:"where state lives"`
}

func (*wholeConfig) Defaults() map[string]string {
	return map[string]string{"T_KEYSET": "made up", "T_ALLOW_RANGES": "127.0.0.0/8"}
}

// The tests of Load set the process's environment: they cannot run in parallel.

func TestLoad_ReadsVariablesAndDefaults(t *testing.T) {
	t.Setenv("T_KEYSET", "k")
	t.Setenv("T_LEASE", "2m")
	t.Setenv("T_ADDR", "")
	t.Setenv("T_ALLOW_RANGES", "10.0.0.0/8")
	var cfg apiConfig
	if err := config.Load(&cfg); err != nil {
		t.Fatal(err)
	}
	if cfg.Keyset != "k" || cfg.Lease != 2*time.Minute {
		t.Errorf("keyset %q, lease %s; want those of the environment", cfg.Keyset, cfg.Lease)
	}
	if cfg.Addr != "127.0.0.1:8080" {
		t.Errorf("addr %q: an empty variable must leave the default", cfg.Addr)
	}
	if len(cfg.Nested.Ranges) != 1 || len(cfg.Nested.Hosts) != 2 {
		t.Errorf("ranges %v, hosts %v; want one and two", cfg.Nested.Ranges, cfg.Nested.Hosts)
	}
}

func TestLoad_JoinsAllFaultsByVariable(t *testing.T) {
	t.Setenv("T_LEASE", "soon")
	t.Setenv("T_ALLOW_RANGES", "lan")
	t.Setenv("T_PIN", "hunter2")
	err := config.Load(new(apiConfig))
	if err == nil {
		t.Fatal("no fault found")
	}
	want := []string{"T_LEASE: ", "T_KEYSET is required", "T_PIN cannot be read (its value is secret)", "T_ALLOW_RANGES: "}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %d faults, want %d:\n%s", len(lines), len(want), err)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("fault %d is %q, want %q…", i, line, want[i])
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a secret is in the faults: %s", err)
	}
}

func TestLoad_Validates(t *testing.T) {
	t.Setenv("T_KEYSET", "k")
	t.Setenv("T_LEASE", "1ms")
	if err := config.Load(new(apiConfig)); err == nil || err.Error() != "T_LEASE must be at least 1s" {
		t.Errorf("error %v, want that of Validate", err)
	}
}

func TestLoad_ComposedConfig(t *testing.T) {
	t.Run("starts from its own defaults", func(t *testing.T) {
		var cfg wholeConfig
		if err := config.Load(&cfg); err != nil {
			t.Fatal(err)
		}
		if cfg.API.Keyset != "made up" || !strings.HasPrefix(cfg.API.Nested.Ranges[0].String(), "127.") {
			t.Errorf("keyset %q, ranges %v; want those of Defaults", cfg.API.Keyset, cfg.API.Nested.Ranges)
		}
	})
	t.Run("the environment goes before them", func(t *testing.T) {
		t.Setenv("T_KEYSET", "given")
		var cfg wholeConfig
		if err := config.Load(&cfg); err != nil || cfg.API.Keyset != "given" {
			t.Errorf("keyset %q, %v; want the given one", cfg.API.Keyset, err)
		}
	})
	t.Run("a variable that occurs twice is one setting", func(t *testing.T) {
		var cfg wholeConfig
		if err := config.Load(&cfg); err != nil || cfg.API.Addr != cfg.Again.Addr {
			t.Errorf("addresses %q and %q, %v; want the same twice", cfg.API.Addr, cfg.Again.Addr, err)
		}
	})
}

func TestUsage(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	if err := config.Usage(&got, new(wholeConfig)); err != nil {
		t.Fatal(err)
	}
	want := `Settings are environment variables:

  NAME            DEFAULT         MEANING
  T_ADDR          127.0.0.1:8080  address of the API
  T_LEASE         45s             how long a worker may hold a delivery
  T_KEYSET        (secret)        keyset in JSON
  T_PIN           (secret)        a number nobody may see
  T_ALLOW_RANGES  127.0.0.0/8     ranges that may be reached
  T_ALLOW_HOSTS   a,b             allowed hosts
  T_TOKEN         -               optional here, required by a part
  T_DIR           .state          where state lives
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
}

func TestUsage_RequiredAndAbsentDefaults(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	if err := config.Usage(&got, new(apiConfig)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"T_KEYSET        (required) ", "T_ALLOW_RANGES  - "} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("%q is not in\n%s", want, &got)
		}
	}
}

func TestUsage_LongDefault(t *testing.T) {
	t.Parallel()
	type longConfig struct {
		Names config.List `env:"T_NAMES" envDefault:"one_that_is_long,another_that_is_long,a_third" help:"names, comma separated"`
		Addr  string      `env:"T_ADDR" envDefault:"127.0.0.1:8080" help:"address of the API"`
	}
	var got bytes.Buffer
	if err := config.Usage(&got, new(longConfig)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"  T_NAMES  (long)          names, comma separated; default: one_that_is_long,another_that_is_long,a_third\n",
		"  T_ADDR   127.0.0.1:8080  address of the API\n",
	} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("%q is not in\n%s", want, &got)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"-h", "--help"} {
		t.Run(flag+" prints the settings and reads none", func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := config.Parse("api", []string{flag}, new(apiConfig), &out) // T_KEYSET is missing
			if !errors.Is(err, config.ErrHelp) || !strings.HasPrefix(out.String(), "Usage: api [--help]\n\nSettings") {
				t.Errorf("error %v, output %q", err, &out)
			}
		})
	}
	t.Run("any other argument is refused by name", func(t *testing.T) {
		t.Parallel()
		var out bytes.Buffer
		err := config.Parse("api", []string{"--verbose"}, new(apiConfig), &out)
		if !errors.Is(err, config.ErrUsage) || err.Error() != "unknown argument: --verbose" || out.Len() > 0 {
			t.Errorf("error %v, output %q", err, &out)
		}
	})
	t.Run("a writer that fails is told", func(t *testing.T) {
		t.Parallel()
		if err := config.Parse("api", []string{"-h"}, new(apiConfig), brokenWriter{}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("error %v, want that of the writer", err)
		}
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

// TestMain plays a program that calls ParseOrExit when TestParseOrExit asks for it.
func TestMain(m *testing.M) {
	if os.Getenv("T_PLAY_PROGRAM") != "" {
		config.ParseOrExit(new(apiConfig))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestParseOrExit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, arg      string
		env            []string
		code           int
		stdout, stderr string
	}{
		{name: "a good config goes on", env: []string{"T_KEYSET=k"}},
		{name: "help ends with 0", arg: "--help", stdout: "T_KEYSET"},
		{name: "an argument ends with 2", arg: "serve", code: 2, stderr: ": unknown argument: serve\nRun "},
		{name: "a fault ends with 2", code: 2, stderr: ": T_KEYSET is required\nRun "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			if tc.arg != "" {
				cmd.Args = append(cmd.Args, tc.arg)
			}
			cmd.Env = append(os.Environ(), append(tc.env, "T_PLAY_PROGRAM=1")...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) {
				t.Errorf("stdout %q, stderr %q; want %q and %q in them", &stdout, &stderr, tc.stdout, tc.stderr)
			}
		})
	}
}

func TestUsage_ProgrammingErrors(t *testing.T) {
	t.Parallel()
	type silent struct {
		Addr string `env:"T_ADDR"`
	}
	for _, tc := range []struct {
		name, message string
		cfg           any
	}{
		{name: "a setting without a meaning panics", cfg: new(silent), message: "config: config_test.silent.Addr (T_ADDR) has no help tag"},
		{name: "a struct instead of its pointer panics", cfg: apiConfig{}, message: "config: config_test.apiConfig is no pointer to a struct"},
		{name: "a default for no setting panics", cfg: new(strayDefault), message: "config: a default for T_NONE, which *config_test.strayDefault does not have"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if got := recover(); got != tc.message {
					t.Errorf("panic %v, want %s", got, tc.message)
				}
			}()
			_ = config.Usage(new(bytes.Buffer), tc.cfg)
		})
	}
}

type strayDefault struct{}

func (*strayDefault) Defaults() map[string]string { return map[string]string{"T_NONE": "1"} }
