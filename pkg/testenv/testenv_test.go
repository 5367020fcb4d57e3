package testenv_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestDB(t *testing.T) {
	n := time.Now()
	d := testenv.DB(t)
	t.Log("first", time.Since(n))
	for range 5 {
		n = time.Now()
		testenv.DB(t)
		t.Log("next", time.Since(n))
	}
	c, err := pgx.Connect(context.Background(), d.URL(testenv.Worker))
	if err != nil {
		t.Fatal(err)
	}
	c.Close(context.Background())
}

func TestNATS(t *testing.T) {
	n := time.Now()
	d := testenv.NATS(t)
	t.Log("first", time.Since(n))
	for range 5 {
		n = time.Now()
		testenv.NATS(t)
		t.Log("next", time.Since(n))
	}
	d.Connect(t, testenv.API)
}

func TestPrivate(t *testing.T) {
	n := time.Now()
	s := testenv.PrivateNATS(t)
	t.Log("first", time.Since(n))
	n = time.Now()
	s.Kill()
	s.Restart()
	t.Log("restart", time.Since(n))
	n = time.Now()
	p := testenv.PrivatePostgres(t)
	t.Log("pg first", time.Since(n))
	n = time.Now()
	p.Kill()
	p.Restart()
	t.Log("pg restart", time.Since(n))
}
