package kube

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ending is why a request failed, or a watch is over.
type ending uint8

const (
	closed       ending = iota // the server ended the watch, as it does after some minutes
	silent                     // nothing came for MaxSilence, which need not mean that something is wrong
	refused                    // nobody accepts connections
	unresolved                 // the server's name has no address
	timedOut                   // nothing came back in time
	untrusted                  // the server's certificate is not to be trusted
	distrusted                 // the server takes ours for one like that, or has none of ours and wants one
	broken                     // something else between us and the server
	expired                    // the server does not have the version: everything is listed
	unsupported                // the server does not begin a watch with a list
	unauthorized               // it does not know us
	forbidden                  // it does not let us
	absent                     // it does not have the resource
	failing                    // it says that it fails
	rejected                   // it says that we do something wrong, or something that cannot be read
)

// WatchEnds are the reasons that metrics give why a watch had to begin again.
var WatchEnds = []string{"closed", "silent", "broken", "expired", "error"}

// ends says what follows from each ending.
var ends = [...]struct {
	metric  string // one of WatchEnds
	resumes bool   // a request for a watch that failed so may succeed when it is sent again
}{
	closed:       {"closed", true},
	silent:       {"silent", true},
	refused:      {"broken", true},
	unresolved:   {"broken", true},
	timedOut:     {"broken", true},
	untrusted:    {"broken", true},
	distrusted:   {"broken", true},
	broken:       {"broken", true},
	expired:      {"expired", false},
	unsupported:  {"error", false},
	unauthorized: {"error", true},
	forbidden:    {"error", true},
	absent:       {"error", false},
	failing:      {"error", true},
	rejected:     {"error", false},
}

// classify returns the ending that err tells of: from the server, from below HTTP, or nil for a
// watch that the server ended.
func classify(err error) ending {
	var status apierrors.APIStatus
	var unexpected *apierrors.UnexpectedObjectError
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	var network net.Error
	var operation *net.OpError
	switch {
	case err == nil:
		return closed
	case isVersionUnavailable(err):
		return expired
	case apierrors.IsInvalid(err):
		return unsupported
	case apierrors.IsUnauthorized(err):
		return unauthorized
	case apierrors.IsForbidden(err):
		return forbidden
	case apierrors.IsNotFound(err):
		return absent
	case errors.As(err, &status) && status.Status().Code >= http.StatusInternalServerError:
		return failing
	case errors.As(err, &status) || errors.As(err, &unexpected):
		return rejected
	case errors.Is(err, errSilent):
		return silent
	case errors.As(err, &certificate):
		return untrusted
	case errors.As(err, &operation) && operation.Op == "remote error": // so package tls tells of an alert (RFC 8446 section 6)
		return distrusted
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused
	case errors.As(err, &name):
		return unresolved
	case errors.As(err, &network) && network.Timeout():
		return timedOut
	}
	return broken
}

// isVersionUnavailable reports whether err says that the server has forgotten the version that it
// was asked for, or has not got there yet, as after the restore of a backup.
func isVersionUnavailable(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) ||
		apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}
