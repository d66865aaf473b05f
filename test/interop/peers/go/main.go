// An HBONE peer on golang.org/x/net/http2, client or server, for hbone-truth.ts: runs a script, prints what it saw.
package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http2"
)

// One stream, whichever end of it we are.
type stream struct {
	body io.Reader
	// write sends and flushes.
	write func([]byte) error
	// end closes our direction; nil when only the end of the script can.
	end   func()
	reset func()
	conn  net.Conn
	first chan struct{}
	over  chan struct{}
}

func say(format string, values ...any) { fmt.Printf(format+"\n", values...) }

func fatal(err error) {
	if err != nil {
		say("failed: %v", err)
		os.Exit(1)
	}
}

// read tells what arrives until the stream is over.
func (s *stream) read() {
	var once sync.Once
	buffer := make([]byte, 65536)
	received := 0
	for {
		count, err := s.body.Read(buffer)
		if count > 0 {
			received += count
			say("got %d", received)
			once.Do(func() { close(s.first) })
		}
		if err != nil {
			var reset http2.StreamError
			switch {
			case err == io.EOF:
				say("saw end")
			case errors.As(err, &reset):
				say("saw reset %d", uint32(reset.Code))
			default:
				say("saw lost")
			}
			close(s.over)
			return
		}
	}
}

func (s *stream) run(script string) {
	go s.read()
	for _, entry := range strings.Fields(script) {
		word, number, _ := strings.Cut(entry, ":")
		value, _ := strconv.Atoi(number)
		switch word {
		case "send":
			piece := make([]byte, 16384)
			for value > 0 {
				size := min(value, len(piece))
				if s.write(piece[:size]) != nil {
					break
				}
				value -= size
			}
		case "end":
			if s.end != nil {
				s.end()
			}
		case "read":
			<-s.over
		case "wait":
			<-s.first
		case "reset":
			s.reset()
		case "close":
			s.conn.Close()
			say("closed")
		}
	}
}

func client(address string, certificate tls.Certificate, script string) {
	conn, err := tls.Dial("tcp", address, &tls.Config{
		Certificates: []tls.Certificate{certificate}, InsecureSkipVerify: true, NextProtos: []string{"h2"},
	})
	fatal(err)
	session, err := (&http2.Transport{}).NewClientConn(conn)
	fatal(err)
	reader, writer := io.Pipe()
	request := &http.Request{
		Method: "CONNECT", URL: &url.URL{Scheme: "https", Host: "127.0.0.1:8080"}, Host: "127.0.0.1:8080",
		Header: http.Header{}, Body: reader, ContentLength: -1,
	}
	response, err := session.RoundTrip(request)
	fatal(err)
	say("open")
	s := &stream{
		body: response.Body, conn: conn, first: make(chan struct{}), over: make(chan struct{}),
		write: func(bytes []byte) error { _, err := writer.Write(bytes); return err },
		end:   func() { writer.Close() },
		reset: func() { response.Body.Close() },
	}
	s.run(script)
	<-s.over
	select {}
}

func server(port string, certificate tls.Certificate, script string) {
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	fatal(err)
	say("listening %d", listener.Addr().(*net.TCPAddr).Port)
	raw, err := listener.Accept()
	fatal(err)
	conn := tls.Server(raw, &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"h2"},
	})
	fatal(conn.Handshake())
	handler := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.WriteHeader(http.StatusOK)
		flush := w.(http.Flusher).Flush
		flush()
		say("open")
		s := &stream{
			body: request.Body, conn: conn, first: make(chan struct{}), over: make(chan struct{}),
			write: func(bytes []byte) error { _, err := w.Write(bytes); flush(); return err },
			reset: func() { panic(http.ErrAbortHandler) },
		}
		s.run(script)
	})
	(&http2.Server{}).ServeConn(conn, &http2.ServeConnOpts{Handler: handler})
	select {}
}

func main() {
	role, port := os.Args[1], os.Args[2]
	certificate, err := tls.LoadX509KeyPair(os.Args[3], os.Args[4])
	fatal(err)
	if role == "client" {
		client("127.0.0.1:"+port, certificate, os.Args[5])
	} else {
		server(port, certificate, os.Args[5])
	}
}
