package main

import (
	"os/exec"
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	t.Parallel()
	m, err := newMeter()
	if err != nil {
		t.Fatal(err)
	}
	// A shell that waits for a busy child, which ends with it.
	shell := exec.CommandContext(t.Context(), "sh", "-c", "(while kill -0 $$; do :; done) & wait")
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = shell.Process.Kill()
		_ = shell.Wait()
	})
	m.roots = map[int]string{shell.Process.Pid: "shell"}

	t.Run("a child's processor time is its parent's", func(t *testing.T) {
		before, err := m.cpu()
		if err != nil {
			t.Fatal(err)
		}
		spent, busy := 0.0, 0.0
		for began := time.Now(); spent < 0.1; {
			if time.Since(began) > 30*time.Second {
				t.Fatalf("a loop of 30 s has used %.2f s of processor time", spent)
			}
			time.Sleep(10 * time.Millisecond)
			now, err := m.cpu()
			if err != nil {
				t.Fatal(err)
			}
			spent, busy = now.byName["shell"]-before.byName["shell"], now.busy-before.busy
		}
		if busy < spent/2 { // two clocks, both in ticks
			t.Errorf("the machine was busy for %.2f s, the shell's child alone for %.2f s", busy, spent)
		}
	})
	t.Run("so is its memory", func(t *testing.T) {
		memory, err := m.memory()
		if err != nil {
			t.Fatal(err)
		}
		if memory["shell"] < 256<<10 || memory["shell"] > 64<<20 {
			t.Errorf("the shell and its child have %d bytes", memory["shell"])
		}
	})
}
