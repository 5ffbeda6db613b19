package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTestingSection(t *testing.T) {
	c := Site()
	if c.Testing.Set() {
		t.Error("a site's defaults stand in for the Internet")
	}
	err := c.parse("f", []byte("hostname = \"mx.example.test\"\n[testing]\ndns = \"127.0.0.1:5353\"\nrelay_port = 2526\nretry = [\"2s\", \"4s\"]\nexpire = \"5d\"\n"))
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Testing.Schedule(); !slices.Equal(got, []time.Duration{2 * time.Second, 4 * time.Second}) {
		t.Errorf("retry is %v", got)
	}
	if c.Testing.Expire != Duration(120*time.Hour) || !c.Testing.Set() {
		t.Errorf("testing is %+v", c.Testing)
	}
	for _, bad := range []string{`dns = "localhost"`, `trust = "/nonexistent"`, `retry = ["0s"]`, `expire = "-1s"`, `retry = ["soon"]`} {
		c := Site()
		err := c.parse("f", []byte("hostname = \"mx.example.test\"\n[testing]\n"+bad+"\n"))
		if err == nil {
			err = c.Check()
		}
		if err == nil || !strings.Contains(err.Error(), strings.Fields(bad)[0]) && !strings.Contains(err.Error(), "f:3") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
