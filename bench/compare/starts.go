package main

import (
	"fmt"
	"log"
	"strconv"
	"time"
)

// wayToStart is one row of the table of starts.
type wayToStart struct {
	name  string // of the server
	title string
	again bool // with the state that the start before it left
	fetch bool // each domain once: at 100,000 that takes a minute
}

// ways lists the starts of a server; the last one goes on to be measured.
func ways(name string) []wayToStart {
	if name != "ours" {
		return []wayToStart{{name, name, false, true}}
	}
	return []wayToStart{
		{ours + "-certmagic", ours + `, "certmagic", first start`, false, false},
		{ours + "-certmagic", ours + `, "certmagic", again`, true, true},
		{name, ours + `, "files", first start`, false, false},
		{name, ours + `, "files", again`, true, true},
	}
}

// starts starts the servers one after the other, prints how long it took and what
// memory it takes, and returns them.
func (b *bench) starts(data string, n int) (servers []*server, err error) {
	fmt.Print("\n| server | first right answer | last | PSS, idle | PSS, each domain fetched once | peak at the start |\n|---|---|---|---|---|---|\n")
	for i, name := range b.servers {
		if name != "ours" && n > b.peers {
			continue
		}
		all := ways(name)
		for k, w := range all {
			log.Printf("%d domains: starting %s", n, w.title)
			s, err := b.start(w.name, data, n, firstPort+10*i, w.again)
			if err != nil {
				return servers, err
			}
			if k == len(all)-1 {
				servers = append(servers, s)
			} else {
				defer s.stop() // where an error ends this
			}
			if err := b.began(s, w, n); err != nil {
				return servers, err
			}
			if k < len(all)-1 {
				s.stop()
			}
		}
	}
	if n == 100_000 {
		fmt.Print("| aim | 5 s | 5 s | – | 256 MiB | 512 MiB |\n")
	}
	return servers, nil
}

// began prints the row of a server that has just been started.
func (b *bench) began(s *server, w wayToStart, n int) error {
	// A domain answers as soon as it is asked for, or it does not: the first and
	// the last are asked until they do.
	first, last := make(chan answered, 1), make(chan answered, 1)
	go func() { first <- b.await(s, 1) }()
	go func() { last <- b.await(s, n) }()
	f, l := <-first, <-last
	if f.err != nil {
		return f.err
	}
	if l.err != nil {
		return l.err
	}
	if err := s.settle(n); err != nil {
		return err
	}
	peak, err := s.peak()
	if err != nil {
		return err
	}
	count := 1
	if w.fetch {
		count = n
	}
	r, err := b.load(s, "-domains", strconv.Itoa(n), "-order", "seq", "-n", strconv.Itoa(count))
	if err != nil {
		return err
	}
	fetched := "–"
	if w.fetch {
		fetched = fmt.Sprintf("%d MiB", r.Server.PSSAfter>>10)
	}
	fmt.Printf("| %s | %.2f s | %.2f s | %d MiB | %s | %d MiB |\n", w.title,
		min(f.after, l.after).Seconds(), max(f.after, l.after).Seconds(), r.Server.PSSBefore>>10, fetched, peak>>10)
	return nil
}

type answered struct {
	after time.Duration // after the start
	err   error
}

// await returns how long after its start the server answers for a domain.
func (b *bench) await(s *server, domain int) answered {
	_, err := b.load(s, "-mode", "wait", "-first", strconv.Itoa(domain), "-timeout", "5m")
	return answered{time.Since(s.began), err}
}
