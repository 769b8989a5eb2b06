package headless

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
)

// notifier tells secondaries which zones have changed (RFC 1996). Each secondary is told by itself, so
// that none waits for another.
type notifier struct {
	ctx         context.Context //nolint:containedctx // of all that runs, which ends with it
	end         context.CancelFunc
	running     sync.WaitGroup
	secondaries []*secondary
}

// secondary is who is told of some zones.
type secondary struct {
	zones []string
	tell  func(ctx context.Context, zone string) error
	name  string

	mu      sync.Mutex // guards the fields below
	waiting []string   // zones that it is to be told of, each once
	isBusy  bool       // somebody goes through waiting
	warned  time.Time  // of it, in the log
}

// newNotifier returns a notifier of the secondaries that t names for some zones, or nil if it names none.
func newNotifier(t *transfer.Transfer, zones []string) *notifier {
	n := &notifier{secondaries: secondariesOf(t, zones)}
	if len(n.secondaries) == 0 {
		return nil
	}
	n.ctx, n.end = context.WithCancel(context.Background())
	return n
}

// stop returns when nobody is told any more.
func (n *notifier) stop() {
	n.end()
	n.running.Wait()
}

// changed lets the secondaries of a zone know that it has changed, if they have not been told of the
// change before.
func (n *notifier) changed(zone string) {
	for _, s := range n.secondaries {
		if !slices.Contains(s.zones, zone) {
			continue
		}
		s.mu.Lock()
		if !slices.Contains(s.waiting, zone) {
			s.waiting = append(s.waiting, zone)
		}
		starts := !s.isBusy
		s.isBusy = true
		s.mu.Unlock()
		if starts {
			n.running.Go(func() { s.tellAll(n.ctx) })
		}
	}
}

// tellAll tells s of all that it is to be told, until there is no more.
func (s *secondary) tellAll(ctx context.Context) {
	for {
		s.mu.Lock()
		if s.isBusy = len(s.waiting) > 0 && ctx.Err() == nil; !s.isBusy {
			s.mu.Unlock()
			return
		}
		zone := s.waiting[0]
		s.waiting = slices.Delete(s.waiting, 0, 1)
		s.mu.Unlock()
		err := s.tell(ctx, zone)
		if ctx.Err() == nil {
			s.note(err)
		}
	}
}

// note counts a notification, and logs an error unless there has been one of late.
func (s *secondary) note(err error) {
	if err == nil {
		notifications.WithLabelValues("accepted").Inc()
		return
	}
	notifications.WithLabelValues("failed").Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.warned) >= warnEvery {
		s.warned = now
		log.Warningf("secondary %s: not notified: %v", s.name, err)
	}
}

const (
	notifyTries   = 3
	notifyTimeout = 2 * time.Second // of each
	// warnEvery is the least time between two warnings of one secondary.
	warnEvery = 10 * time.Minute
)

// secondariesOf returns those that t names for zones. The transfer plugin keeps them to itself, and notifies
// one after the other, so that each waits for those before it that are down: they are read from its fields.
// Should these have other names one day, it notifies them all itself.
func secondariesOf(t *transfer.Transfer, zones []string) (list []*secondary) {
	stanzas := reflect.ValueOf(t).Elem().FieldByName("xfrs")
	byAddr := make(map[string]*secondary)
	for _, zone := range zones {
		to, source, ok := stanzaOf(stanzas, zone)
		if !ok {
			log.Warning("this version of the transfer plugin does not say whom it notifies: one secondary that is down delays the others")
			tell := func(_ context.Context, zone string) error { return t.Notify(zone) }
			return []*secondary{{zones: zones, tell: tell, name: "of the transfer plugin"}}
		}
		for _, addr := range to {
			if addr == "*" {
				continue
			}
			key := fmt.Sprint(addr, " from ", source)
			if byAddr[key] == nil {
				byAddr[key] = &secondary{name: addr, tell: notification(addr, source)}
				list = append(list, byAddr[key])
			}
			byAddr[key].zones = append(byAddr[key].zones, zone)
		}
	}
	return list
}

// stanzaOf returns what the stanza of the transfer plugin says that is for a zone: of several, that of the
// longest zone it is in. ok is false if these are not what they were in CoreDNS 1.15.
func stanzaOf(stanzas reflect.Value, zone string) (to []string, source net.IP, ok bool) {
	if stanzas.Kind() != reflect.Slice {
		return nil, nil, false
	}
	longest := ""
	for i := range stanzas.Len() {
		stanza := reflect.Indirect(stanzas.Index(i))
		if stanza.Kind() != reflect.Struct {
			return nil, nil, false
		}
		zones, zonesOK := textsOf(stanza.FieldByName("Zones"))
		addrs, addrsOK := textsOf(stanza.FieldByName("to"))
		from := stanza.FieldByName("source")
		if !zonesOK || !addrsOK || !from.IsValid() || from.Type() != reflect.TypeFor[net.IP]() {
			return nil, nil, false
		}
		if match := plugin.Zones(zones).Matches(zone); len(match) > len(longest) {
			longest, to, source = match, addrs, net.IP(from.Bytes())
		}
	}
	return to, source, true
}

// textsOf returns the elements of a slice of strings.
func textsOf(v reflect.Value) (texts []string, ok bool) {
	if v.Kind() != reflect.Slice || v.Type().Elem().Kind() != reflect.String {
		return nil, false
	}
	for i := range v.Len() {
		texts = append(texts, v.Index(i).String())
	}
	return texts, true
}

// notification returns what notifies the secondary at addr, from source if that is set, and waits for its
// answer.
func notification(addr string, source net.IP) func(ctx context.Context, zone string) error {
	client := &dns.Client{Timeout: notifyTimeout}
	if source != nil {
		client.Dialer = &net.Dialer{LocalAddr: &net.UDPAddr{IP: source}, Timeout: notifyTimeout}
	}
	return func(ctx context.Context, zone string) (err error) {
		m := new(dns.Msg)
		m.SetNotify(zone)
		for try := 0; try < notifyTries && ctx.Err() == nil; try++ {
			var reply *dns.Msg
			reply, _, err = client.ExchangeContext(ctx, m, addr)
			if err == nil && reply.Rcode == dns.RcodeSuccess {
				return nil
			}
			if err == nil {
				return fmt.Errorf("of %s: it answers %s", zone, dns.RcodeToString[reply.Rcode])
			}
		}
		return fmt.Errorf("of %s: %w", zone, err)
	}
}
