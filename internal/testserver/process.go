// Package testserver starts real redis-server and memcached processes for tests, on free loopback
// ports and in temporary folders, and ends them by their process id.
package testserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout bounds how long a server may take until it answers.
const startTimeout = 30 * time.Second

// errAddrInUse says that somebody else took the address before the server did.
var errAddrInUse = errors.New("the address is in use")

// program says how to run and recognise a server.
type program struct {
	name    string                     // of the executable
	install string                     // the command that installs it
	args    func(addr string) []string // its arguments when it is to listen on addr
	pid     string                     // a request for the process id
	pidAt   string                     // what stands before the process id in the answer
}

// Server is one process of a store. Its methods fail the test when they can't do what they say.
// They aren't safe for concurrent use with each other.
type Server struct {
	// Addr is the host and port that the server listens on, the same after every restart.
	Addr string

	program program
	args    []string
	process *process // nil: doesn't run
}

// launch starts a server on an address of its own, waits until it answers, and ends it when the test
// is over.
func launch(tb testing.TB, p program) *Server {
	tb.Helper()
	if _, err := exec.LookPath(p.name); err != nil {
		tb.Fatalf("%s is not installed. Install it with: %s", p.name, p.install)
	}
	return launchOn(tb, p, func() string { return FreeAddr(tb) })
}

// launchOn is launch with the addresses to try given. Between the look for a free one and the
// server's own bind another test process may take it: then it is the next one's turn.
func launchOn(tb testing.TB, p program, next func() string) *Server {
	tb.Helper()
	for attempt := 1; ; attempt++ {
		addr := next()
		s := &Server{Addr: addr, program: p, args: p.args(addr)}
		err := s.start()
		if err == nil {
			tb.Cleanup(s.end)
			return s
		}
		if !errors.Is(err, errAddrInUse) || attempt == 20 {
			tb.Fatalf("%v", err)
		}
	}
}

// Start starts a server that was killed again, on the same address, and waits until it answers.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	if s.process != nil {
		tb.Fatalf("%s on %s runs already", s.program.name, s.Addr)
	}
	err := s.start()
	for end := time.Now().Add(startTimeout); errors.Is(err, errAddrInUse) && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond) // whoever has the address may let go of it
		err = s.start()
	}
	if err != nil {
		tb.Fatalf("%v", err)
	}
}

// Kill ends the server at once, as a crash or kill -9 would, and waits until it is gone.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	if s.process == nil {
		tb.Fatalf("%s on %s doesn't run", s.program.name, s.Addr)
	}
	s.end()
}

// Pause makes the server hang: it keeps its connections and answers nothing until Resume.
func (s *Server) Pause(tb testing.TB) {
	tb.Helper()
	s.signal(tb, syscall.SIGSTOP)
	// The signal only asks for it: another thread may answer for a moment yet.
	for deadline := time.Now().Add(startTimeout); !stopped(s.process.cmd.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("%s on %s doesn't stop", s.program.name, s.Addr)
		}
	}
}

// Resume lets a paused server go on.
func (s *Server) Resume(tb testing.TB) { tb.Helper(); s.signal(tb, syscall.SIGCONT) }

func (s *Server) signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	if s.process == nil {
		tb.Fatalf("%s on %s doesn't run", s.program.name, s.Addr)
	}
	if err := s.process.cmd.Process.Signal(sig); err != nil {
		tb.Fatalf("sending %v to %s: %v", sig, s.program.name, err)
	}
}

// start runs the program and waits until it answers. If it doesn't, nothing is left running.
func (s *Server) start() error {
	p, err := runProgram(s.program.name, s.args)
	if err != nil {
		return fmt.Errorf("starting %s: %w", s.program.name, err)
	}
	s.process = p
	for end := time.Now().Add(startTimeout); ; {
		// Somebody else's server may have the address and answer in place of ours, so it is asked
		// who it is.
		answer, err := exchange(s.Addr, s.program.pid, time.Second)
		if err == nil && strings.Contains(answer, fmt.Sprintf("%s%d\r\n", s.program.pidAt, p.cmd.Process.Pid)) {
			return nil
		}
		select {
		case <-p.exited:
			s.process = nil
			if strings.Contains(p.log.String(), "ddress already in use") {
				return fmt.Errorf("%s on %s: %w", s.program.name, s.Addr, errAddrInUse)
			}
			return fmt.Errorf("%s on %s ended while starting:\n%s", s.program.name, s.Addr, &p.log)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			s.end()
			return fmt.Errorf("%s on %s doesn't answer: %q, %v\n%s", s.program.name, s.Addr, answer, err, &p.log)
		}
	}
}

// end kills the process by its id, if it runs. SIGKILL ends a paused process too.
func (s *Server) end() {
	if s.process == nil {
		return
	}
	_ = s.process.cmd.Process.Kill()
	<-s.process.exited
	s.process = nil
}

// process is a running program.
type process struct {
	cmd    *exec.Cmd
	log    syncBuffer    // what it writes to stdout and stderr
	exited chan struct{} // closed when it is gone
}

// runProgram starts a program, which doesn't outlive this process where the system can see to that.
func runProgram(name string, args []string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	go func() {
		// Linux sends the signal of dieWithParent when the thread that started the program ends,
		// so this thread has to stay for as long as the program does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.exited)
		}
	}()
	return p, <-started
}

// The ports of servers lie below those that systems give to outgoing connections and to listeners
// on port 0, so that no passer-by sits on the port of a server that is to be started again. Redis
// Cluster needs the port 10,000 above as well.
const (
	firstPort = 10_000
	lastPort  = 22_000
	busOffset = 10_000
)

// FreeAddr returns a loopback address whose port was free a moment ago, and that no test of this
// process was given before. Nothing listens there until somebody starts to.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if _, taken := reserved.LoadOrStore(port, true); !taken && free(port) && free(port+busOffset) {
			return fmt.Sprintf("127.0.0.1:%d", port)
		}
	}
	tb.Fatalf("found no free port between %d and %d", firstPort, lastPort)
	return ""
}

var reserved sync.Map // port → true

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

// port returns the port of an address as the servers' arguments want it.
func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// exchange sends a request and that no more will come, and returns all that is answered until the server
// hangs up. (A sentinel doesn't know QUIT.)
func exchange(addr, request string, timeout time.Duration) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// syncBuffer collects a server's output, which is read while it is written.
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
