// Package testserver starts real redis-server and memcached processes for tests, on free loopback
// ports and in temporary folders, and ends them by their process id.
package testserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout bounds how long a server may take until it answers.
const startTimeout = 20 * time.Second

// Server is one process of a store. Its methods fail the test when they can't do what they say.
// They aren't safe for concurrent use with each other.
type Server struct {
	// Addr is the host and port that the server listens on, the same after every restart.
	Addr string

	name    string   // the program
	args    []string // its arguments
	log     *syncBuffer
	answers func(ctx context.Context, addr string) error

	cmd    *exec.Cmd
	exited chan struct{}
}

// launch starts a program that listens on addr, waits until it answers, and ends it when the test is over.
func launch(tb testing.TB, addr, install, name string, args []string, answers func(context.Context, string) error) *Server {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		tb.Fatalf("%s is not installed. Install it with: %s", name, install)
	}
	s := &Server{Addr: addr, name: path, args: args, answers: answers, log: &syncBuffer{}}
	tb.Cleanup(func() { s.end() })
	s.Start(tb)
	return s
}

// Start starts a server that was stopped or killed again, on the same address, and waits until it answers.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	if s.cmd != nil {
		tb.Fatalf("%s on %s runs already", s.name, s.Addr)
	}
	cmd := exec.Command(s.name, s.args...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		tb.Fatalf("starting %s: %v", s.name, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	s.cmd, s.exited = cmd, exited

	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := s.answers(ctx, s.Addr)
		if err == nil {
			return
		}
		select {
		case <-exited:
			tb.Fatalf("%s on %s ended while starting:\n%s", s.name, s.Addr, s.log)
		case <-ctx.Done():
			tb.Fatalf("%s on %s does not answer: %v\n%s", s.name, s.Addr, err, s.log)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Kill ends the server at once, as a crash or kill -9 would, and waits until it is gone.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	if s.cmd == nil {
		tb.Fatalf("%s on %s doesn't run", s.name, s.Addr)
	}
	s.end()
}

// Pause makes the server hang: it keeps its connections and answers nothing until Resume.
func (s *Server) Pause(tb testing.TB) { s.signal(tb, syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume(tb testing.TB) { s.signal(tb, syscall.SIGCONT) }

func (s *Server) signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	if s.cmd == nil {
		tb.Fatalf("%s on %s doesn't run", s.name, s.Addr)
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		tb.Fatalf("sending %v to %s: %v", sig, s.name, err)
	}
}

// end kills the process by its id, if it runs. SIGKILL ends a paused process too.
func (s *Server) end() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
	s.cmd = nil
}

// FreeAddr returns a loopback address with a port that was free a moment ago and is at most limit.
func FreeAddr(tb testing.TB, limit int) string {
	tb.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatalf("finding a free port: %v", err)
		}
		addr := l.Addr().(*net.TCPAddr)
		_ = l.Close()
		if addr.Port <= limit && reserve(addr.Port) {
			return addr.String()
		}
	}
	tb.Fatalf("found no free port up to %d", limit)
	return ""
}

// reserve keeps two tests of one process from being handed the same port.
func reserve(port int) bool {
	_, taken := reserved.LoadOrStore(port, true)
	return !taken
}

var reserved sync.Map // port → true

// syncBuffer collects a server's output, which two goroutines of os/exec may write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// dialAndExpect sends a line to addr and checks how the answer begins.
func dialAndExpect(ctx context.Context, addr, send, want string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte(send)); err != nil {
		return err
	}
	got := make([]byte, 256)
	n, err := conn.Read(got)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(got[:n], []byte(want)) {
		return errors.New(fmt.Sprintf("answered %q", got[:n]))
	}
	return nil
}
