package testserver

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Network is what a [Proxy] does to the connections through it.
type Network int

// The networks that there are.
const (
	Sound     Network = iota
	Cut               // every connection is closed, and each new one at once
	HalfOpen          // what is sent is swallowed, in both directions, and nothing is ever closed
	Delayed           // each piece takes 20 ms longer, in each direction
	Trickling         // what the server sends arrives byte by byte, a thousand in a second
)

// Proxy is a network between a client and a server. Its methods are safe for concurrent use.
type Proxy struct {
	Addr string // what clients connect to

	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	network Network
	changed chan struct{} // closed when network changes
	conns   map[net.Conn]struct{}
}

// NewProxy starts a proxy to an address. It ends with the test.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{
		Addr: listener.Addr().String(), target: target, listener: listener,
		changed: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		_ = listener.Close()
		p.Be(Cut)
		p.wg.Wait()
	})
	return p
}

// Be changes the network, also for the connections that are open, and returns when that is so. Those that
// were half open are cut, for what they swallowed is lost.
func (p *Proxy) Be(n Network) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n == Cut || p.network == HalfOpen {
		for c := range p.conns {
			_ = c.Close()
		}
		clear(p.conns)
	}
	p.network = n
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		cut := p.network == Cut
		if !cut {
			p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		}
		p.mu.Unlock()
		if cut {
			_, _ = client.Close(), server.Close()
			continue
		}
		p.wg.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { p.pipe(server, client, false) })
			both.Go(func() { p.pipe(client, server, true) })
			both.Wait()
			_, _ = client.Close(), server.Close()
		})
	}
}

// is returns the network, and what is closed when it changes.
func (p *Proxy) is() (Network, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.network, p.changed
}

// pipe passes on what comes from one end, until that is closed.
func (p *Proxy) pipe(to, from net.Conn, answers bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			if network, _ := p.is(); network != HalfOpen {
				_ = to.(*net.TCPConn).CloseWrite()
			}
			return
		}
		if p.pass(to, buf[:n], answers) != nil {
			_ = from.Close()
			return
		}
	}
}

func (p *Proxy) pass(to net.Conn, data []byte, answers bool) error {
	for len(data) > 0 {
		network, changed := p.is()
		piece, pause := len(data), time.Duration(0)
		switch {
		case network == Cut:
			return net.ErrClosed
		case network == HalfOpen:
			return nil
		case network == Delayed:
			pause = 20 * time.Millisecond
		case network == Trickling && answers:
			piece, pause = 1, time.Millisecond
		}
		if pause > 0 {
			select {
			case <-time.After(pause):
			case <-changed:
			}
		}
		if _, err := to.Write(data[:piece]); err != nil {
			return err
		}
		data = data[piece:]
	}
	return nil
}
