// Both ends of the SPIFFE Workload API over go-spiffe, and TLS between them and us.
//
//	peer client ADDRESS AUDIENCE   what the Workload API there gives, checked by go-spiffe, as one JSON line; then one line
//	                               for each update, until stdin ends
//	peer server SOCKET             a Workload API of a trust domain of its own; takes "renew", "withdraw", "federate PEM-AS-BASE64"
//	                               and "jwt TOKEN AUDIENCE" on stdin
//	peer echo ADDRESS ID           an mTLS server with the identity that the Workload API there gives, for this caller
//	peer dial ADDRESS HOST:PORT ID an mTLS client, for this server
package main

import (
	"context"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: peer client|server|echo|dial ADDRESS …"))
	}
	ctx := context.Background()
	commands := map[string]func(context.Context, []string) error{
		"client": runClient,
		"server": runServer,
		"echo":   runEcho,
		"dial":   runDial,
	}
	run, ok := commands[os.Args[1]]
	if !ok {
		fail(fmt.Errorf("no command %q", os.Args[1]))
	}
	if err := run(ctx, os.Args[2:]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
