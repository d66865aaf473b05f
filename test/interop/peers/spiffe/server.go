package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	domain = "go.example"
	self   = "spiffe://go.example/peer"
	other  = "spiffe://go.example/second"
)

type server struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	root      *x509.Certificate
	rootKey   *ecdsa.PrivateKey
	jwtKey    *ecdsa.PrivateKey
	mutex     sync.Mutex
	withdrawn bool
	federated map[string][]byte
	changed   chan struct{}
}

func runServer(_ context.Context, args []string) error {
	s, err := newServer()
	if err != nil {
		return err
	}
	network, address := "unix", args[0]
	if args[0] == "tcp" {
		network, address = "tcp", "127.0.0.1:0"
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	g := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(g, s)
	go g.Serve(listener)
	fmt.Println("listening", listener.Addr())
	fmt.Println("root", base64.StdEncoding.EncodeToString(s.root.Raw))
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 1<<20)
	for input.Scan() {
		words := strings.Fields(input.Text())
		switch words[0] {
		case "jwt":
			s.checkToken(words[1], words[2])
			continue
		case "withdraw":
			s.update(func() { s.withdrawn = true })
		case "federate":
			der, err := base64.StdEncoding.DecodeString(words[2])
			if err != nil {
				return err
			}
			s.update(func() { s.federated[words[1]] = der })
		case "renew":
			s.update(func() {})
		}
	}
	g.Stop()
	return nil
}

func newServer() (*server, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	jwtKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{Organization: []string{"go"}},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: domain}},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &server{
		root:      root,
		rootKey:   rootKey,
		jwtKey:    jwtKey,
		federated: map[string][]byte{},
		changed:   make(chan struct{}),
	}, nil
}

func (s *server) update(change func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *server) checkToken(token, audience string) {
	bundles := jwtbundle.NewSet(jwtbundle.FromJWTAuthorities(
		spiffeid.RequireTrustDomainFromString(domain),
		map[string]crypto.PublicKey{"go-key": s.jwtKey.Public()}))
	if _, err := jwtsvid.ParseAndValidate(token, bundles, []string{audience}); err != nil {
		fmt.Println("token refused")
		return
	}
	fmt.Println("token good")
}

func (s *server) issue(id string) (*workload.X509SVID, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	uri, err := url.Parse(id)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Country: []string{"US"}, Organization: []string{"go"}},
		URIs:                  []*url.URL{uri},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(30 * time.Minute),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.root, key.Public(), s.rootKey)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &workload.X509SVID{SpiffeId: id, X509Svid: der, X509SvidKey: pkcs8, Bundle: s.root.Raw}, nil
}

func checkHeader(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if values := md.Get("workload.spiffe.io"); len(values) != 1 || values[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing")
	}
	return nil
}

func (s *server) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	if err := checkHeader(stream.Context()); err != nil {
		return err
	}
	for {
		s.mutex.Lock()
		changed, withdrawn := s.changed, s.withdrawn
		federated := map[string][]byte{}
		for id, der := range s.federated {
			federated[id] = der
		}
		s.mutex.Unlock()
		if withdrawn {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		response := &workload.X509SVIDResponse{FederatedBundles: federated}
		for index, id := range []string{self, other} {
			svid, err := s.issue(id)
			if err != nil {
				return err
			}
			svid.Hint = []string{"internal", "external"}[index]
			response.Svids = append(response.Svids, svid)
		}
		if err := stream.Send(response); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (s *server) FetchJWTSVID(ctx context.Context, request *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	if err := checkHeader(ctx); err != nil {
		return nil, err
	}
	id := request.SpiffeId
	if id == "" {
		id = self
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.ES256,
		Key:       jose.JSONWebKey{Key: s.jwtKey, KeyID: "go-key"},
	}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Subject:  id,
		Audience: request.Audience,
		IssuedAt: jwt.NewNumericDate(time.Now()),
		Expiry:   jwt.NewNumericDate(time.Now().Add(time.Minute)),
	}).Serialize()
	if err != nil {
		return nil, err
	}
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: id, Svid: token}}}, nil
}

func (s *server) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream workload.SpiffeWorkloadAPI_FetchJWTBundlesServer) error {
	if err := checkHeader(stream.Context()); err != nil {
		return err
	}
	document, err := jwtbundle.FromJWTAuthorities(
		spiffeid.RequireTrustDomainFromString(domain),
		map[string]crypto.PublicKey{"go-key": s.jwtKey.Public()}).Marshal()
	if err != nil {
		return err
	}
	if err := stream.Send(&workload.JWTBundlesResponse{Bundles: map[string][]byte{"spiffe://" + domain: document}}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (s *server) ValidateJWTSVID(ctx context.Context, _ *workload.ValidateJWTSVIDRequest) (*workload.ValidateJWTSVIDResponse, error) {
	if err := checkHeader(ctx); err != nil {
		return nil, err
	}
	return &workload.ValidateJWTSVIDResponse{SpiffeId: self, Claims: &structpb.Struct{}}, nil
}
