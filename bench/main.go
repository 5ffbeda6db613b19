// Command bench measures Posthouse, side by side with Debian's Postfix and
// Dovecot in the same run where both can do the work. One command each:
//
//	go run ./bench delivery      visible messages/s and CPU per message at 1, 8, 32 connections
//	go run ./bench mailbox       FETCH, SELECT, SORT, THREAD, STORE, COPY, EXPUNGE in a mailbox of --n messages
//	go run ./bench search        SEARCH with every kind of needle in a mailbox of --n messages
//	go run ./bench idle          memory per idle session of each of --kinds; --exists: from SMTP's 250 to the EXISTS
//	go run ./bench login         CPU per login
//	go run ./bench users         whether a refused login tells that an account exists
//	go run ./bench isolation     delivery latency while another account works hard
//	go run ./bench relay         messages/s and CPU per message relayed to smtp-sink, by Posthouse and by Postfix
//	go run ./bench queue         wait behind a stalled destination; start, memory and claims with --n messages queued
//	go run ./bench memory        server memory with ten 25 MB mails in flight, and idle
//
// It needs bin/posthouse (make build) and, for the comparison, root and Debian's
// packages postfix, dovecot-imapd and dovecot-lmtpd; without them it measures
// Posthouse alone and says so. Rounds alternate between the servers; medians
// are reported. Everything stays on loopback.
package main

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
)

// options of a run.
type options struct {
	binary string
	n      int
	rounds int
	only   string
	conns  string
	kinds  string // of idle sessions
	exists bool
}

type benchmark struct {
	name, help string
	run        func(options) error
}

var benchmarks = []benchmark{
	{"delivery", "visible messages/s and CPU per message", benchDelivery},
	{"mailbox", "FETCH, SELECT, SORT, THREAD, STORE, COPY, EXPUNGE", benchMailbox},
	{"search", "SEARCH with every kind of needle", benchSearch},
	{"idle", "memory per idle session: plain, TLS, compressed; 250 to EXISTS", benchIdle},
	{"login", "CPU per login", benchLogin},
	{"users", "whether a refused login tells that an account exists", benchUsers},
	{"isolation", "delivery latency beside a busy account", benchIsolation},
	{"relay", "relayed messages/s and CPU per message, beside Postfix", benchRelay},
	{"queue", "wait behind a stalled destination; 100,000 queued messages", benchQueue},
	{"memory", "server memory, idle and under ten 25 MB mails", benchMemory},
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/posthouse", "the Posthouse binary")
	flag.IntVar(&o.n, "n", 0, "messages (default: what the benchmark needs)")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; medians are reported")
	flag.StringVar(&o.only, "only", "", "measure one server: posthouse, dovecot or postfix")
	flag.StringVar(&o.conns, "conns", "1,8,32", "connections of the delivery benchmark")
	flag.StringVar(&o.kinds, "kinds", "tls", "kinds of sessions in the idle benchmark: plain, tls, compressed")
	flag.BoolVar(&o.exists, "exists", false, "idle: measure 250 to EXISTS, too")
	flag.Usage = usage
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-") {
		usage()
		os.Exit(2)
	}
	heedSignals()
	name := os.Args[1]
	if err := flag.CommandLine.Parse(os.Args[2:]); err != nil {
		os.Exit(2)
	}
	for _, b := range benchmarks {
		if b.name != name {
			continue
		}
		if err := b.run(o); err != nil {
			fmt.Fprintln(os.Stderr, "bench "+name+":", err)
			os.Exit(1)
		}
		return
	}
	fmt.Fprintf(os.Stderr, "bench: no benchmark %q\n", name)
	usage()
	os.Exit(2)
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: go run ./bench NAME [flags]")
	for _, b := range benchmarks {
		fmt.Fprintf(os.Stderr, "  %-10s %s\n", b.name, b.help)
	}
	flag.PrintDefaults()
}

// table collects figures by metric and server and prints them with ratios.
type table struct {
	other  string // the server beside Posthouse
	order  []string
	values map[string]map[string][]float64
	unit   map[string]string
}

func newTable(other string) *table {
	return &table{other: other, values: make(map[string]map[string][]float64), unit: make(map[string]string)}
}

func (t *table) add(server, metric, unit string, v float64) {
	if t.values[metric] == nil {
		t.order = append(t.order, metric)
		t.values[metric] = make(map[string][]float64)
		t.unit[metric] = unit
	}
	t.values[metric][server] = append(t.values[metric][server], v)
}

func (t *table) print() {
	fmt.Printf("%-44s %14s %14s %8s\n", "median", "posthouse", t.other, "ratio")
	for _, m := range t.order {
		p, pOK := median(t.values[m]["posthouse"])
		d, dOK := median(t.values[m][t.other])
		line := fmt.Sprintf("%-44s %14s %14s", m+" ("+t.unit[m]+")", figure(p, pOK), figure(d, dOK))
		if pOK && dOK && d != 0 {
			line += fmt.Sprintf(" %8.3f", p/d)
		}
		fmt.Println(line)
	}
}

func figure(v float64, ok bool) string {
	if !ok {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}

func median(v []float64) (float64, bool) {
	if len(v) == 0 {
		return 0, false
	}
	s := append([]float64(nil), v...)
	sort.Float64s(s)
	return s[len(s)/2], true
}
