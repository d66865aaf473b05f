package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"crypto/tls"
)

type found struct {
	IDs      []string `json:"ids"`
	Hints    []string `json:"hints"`
	Verified []string `json:"verified"`
	Serial   string   `json:"serial"`
	Bundles  []string `json:"bundles"`
	Token    string   `json:"token,omitempty"`
	// By go-spiffe with the bundles of the server, and by the server itself.
	TokenIDs []string `json:"tokenIds,omitempty"`
}

func describe(x509 *workloadapi.X509Context) (*found, error) {
	result := &found{Serial: x509.DefaultSVID().Certificates[0].SerialNumber.Text(16)}
	for _, svid := range x509.SVIDs {
		id, _, err := x509svid.Verify(svid.Certificates, x509.Bundles)
		if err != nil {
			return nil, err
		}
		result.IDs = append(result.IDs, svid.ID.String())
		result.Hints = append(result.Hints, svid.Hint)
		result.Verified = append(result.Verified, id.String())
	}
	for _, bundle := range x509.Bundles.Bundles() {
		result.Bundles = append(result.Bundles, bundle.TrustDomain().Name())
	}
	return result, nil
}

type watcher struct {
	out   *json.Encoder
	first bool
}

func (w *watcher) OnX509ContextUpdate(x509 *workloadapi.X509Context) {
	if w.first {
		w.first = false
		return
	}
	result, err := describe(x509)
	if err != nil {
		fail(err)
	}
	w.out.Encode(result)
}

func (w *watcher) OnX509ContextWatchError(err error) {
	fmt.Fprintln(os.Stderr, "watch:", err)
}

func runClient(ctx context.Context, args []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(args[0]))
	if err != nil {
		return err
	}
	defer client.Close()
	x509, err := client.FetchX509Context(ctx)
	if err != nil {
		return err
	}
	result, err := describe(x509)
	if err != nil {
		return err
	}
	if _, err := client.FetchX509Bundles(ctx); err != nil {
		return err
	}
	audience := args[1]
	token, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return err
	}
	bundles, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return err
	}
	local, err := jwtsvid.ParseAndValidate(token.Marshal(), bundles, []string{audience})
	if err != nil {
		return err
	}
	remote, err := client.ValidateJWTSVID(ctx, token.Marshal(), audience)
	if err != nil {
		return err
	}
	result.Token = token.Marshal()
	result.TokenIDs = []string{local.ID.String(), remote.ID.String()}
	out := json.NewEncoder(os.Stdout)
	out.Encode(result)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	client.WatchX509Context(ctx, &watcher{out: out, first: true})
	return nil
}

func runEcho(ctx context.Context, args []string) error {
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(args[0])))
	if err != nil {
		return err
	}
	defer source.Close()
	config := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeID(spiffeid.RequireFromString(args[1])))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		return err
	}
	fmt.Println("listening", listener.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go echo(conn)
	}
}

func echo(conn net.Conn) {
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		fmt.Fprintln(os.Stderr, "refused:", err)
		return
	}
	fmt.Fprint(conn, line)
}

func runDial(ctx context.Context, args []string) error {
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(args[0])))
	if err != nil {
		return err
	}
	defer source.Close()
	config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(spiffeid.RequireFromString(args[2])))
	conn, err := tls.Dial("tcp", args[1], config)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintln(conn, "hello")
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	fmt.Print("said ", line)
	return nil
}
