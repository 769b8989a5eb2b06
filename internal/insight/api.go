package insight

import (
	"fmt"
	"time"

	"github.com/coredns-headless/headless/internal/output"
)

// Version is that of the interface: it grows when something in it is taken away or means something else.
const Version = 1

// Status is what a server serves, and how fresh that is.
type Status struct {
	Version  int       `json:"version"`
	Server   string    `json:"server"` // the versions of headless, CoreDNS and Go
	Now      time.Time `json:"now"`
	Started  time.Time `json:"started"`
	Zones    []string  `json:"zones"`
	Source   string    `json:"source"`
	Options  []string  `json:"options"`
	State    string    `json:"state"` // synced, snapshot (which stands in until all is listed) or waiting (it answers SERVFAIL)
	Serial   uint32    `json:"serial"`
	Headless int       `json:"headless"` // Services that are headless, and shown
	// Staleness is how many seconds ago the API server last said something of the resource of which it is longest ago. It
	// is null if files are served, or nothing has been heard.
	Staleness *float64 `json:"staleness_seconds"`
	// Failing is for how many seconds a resource, that for which it is longest, could not be listed or watched; null if all are.
	Failing   *float64   `json:"failing_seconds"`
	Resources []Resource `json:"resources"`
	Holds     Holds      `json:"holds"`
	Snapshot  *Snapshot  `json:"snapshot"` // null without the option
}

// Summary says in some words whether what the server answers is fresh.
func (s *Status) Summary() string {
	text, ok := map[string]string{
		"synced": "in sync", "snapshot": "answers from its snapshot, until the API server has been listed",
		"waiting": "answers SERVFAIL, until the API server has been listed",
	}[s.State]
	if !ok {
		text = fmt.Sprintf("in the state %q", s.State)
	}
	if s.Failing != nil {
		text += fmt.Sprintf(", but not all of the cluster could be watched for %.0f s", *s.Failing)
	} else if s.Staleness != nil {
		text += fmt.Sprintf(", last heard of the API server %.0f s ago", *s.Staleness)
	}
	if s.Holds.Now > 0 {
		text += ", holds " + output.Count(s.Holds.Now, "endpoint")
	}
	return text
}

// Resource is how fresh one resource is.
type Resource struct {
	Name    string   `json:"name"`
	Objects int      `json:"objects"`
	Synced  bool     `json:"synced"`
	Heard   *float64 `json:"heard_seconds_ago"`  // null if it is not watched, or has not been heard of
	Listed  *float64 `json:"listed_seconds_ago"` // the same
	Failing *float64 `json:"failing_seconds"`    // for how long it could not be listed or watched; null if it is
}

// Holds are the endpoints that are served though no EndpointSlice lists them.
type Holds struct {
	Now   int            `json:"now"`
	Total int            `json:"total"`
	Ended map[string]int `json:"ended"` // by the reason
}

// Snapshot is that which stands in for the API server after a start.
type Snapshot struct {
	Served    bool       `json:"served"`
	Confirmed *time.Time `json:"confirmed"` // up to when the file is; null without a file that is fit to use
}

// Top is who asks what fails, and why. Each query counts one, and half after the half-life.
type Top struct {
	Version  int            `json:"version"`
	Now      time.Time      `json:"now"`
	HalfLife float64        `json:"half_life_seconds"`
	Memory   int            `json:"memory_octets"`
	Dropped  uint64         `json:"dropped"` // counts that were left out because two queries met
	Seconds  []Second       `json:"seconds"` // the latest last
	Reasons  []ReasonShown  `json:"reasons"`
	Names    []NameShown    `json:"names"`
	Clients  []ClientShown  `json:"clients"`
	Search   []ClientShown  `json:"search"` // those with the most queries that look like steps of a search list
	Unlisted UnlistedCounts `json:"unlisted"`
}

// UnlistedCounts are how often a name, or a client, that the server does not know was counted at most. What limit leaves out
// may have more.
type UnlistedCounts struct {
	Names   float64 `json:"names"`
	Clients float64 `json:"clients"`
}

// ReasonShown is how often names were denied for one reason.
type ReasonShown struct {
	Reason  string  `json:"reason"`
	Count   float64 `json:"count"`
	Meaning string  `json:"meaning"`
	Fix     string  `json:"fix"`
}

// NameShown is a name that fails.
type NameShown struct {
	Name       string  `json:"name"`
	Type       string  `json:"type"`
	Reason     string  `json:"reason"`
	Count      float64 `json:"count"`
	Over       float64 `json:"over"` // by how much the count may be too great
	SearchStep bool    `json:"search_step"`
	Ago        float64 `json:"seconds_ago"`
	Clients    []Who   `json:"clients"` // some that asked, the last one first
}

// ClientShown is a client whose queries fail.
type ClientShown struct {
	Client      Who     `json:"client"`
	Count       float64 `json:"count"`
	Over        float64 `json:"over"`
	SearchSteps float64 `json:"search_steps"` // at most over too few
	Reason      string  `json:"reason"`       // of the last query
	Name        string  `json:"name"`         // of the last query, "" if it is not known any more
	Ago         float64 `json:"seconds_ago"`
}

// Who is a client, as far as it is known now.
type Who struct {
	Address   string `json:"address"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Node      string `json:"node"`
	Zone      string `json:"zone"`
}

// Services are headless Services.
type Services struct {
	Version  int           `json:"version"`
	Total    int           `json:"total"`    // of the server
	Matching int           `json:"matching"` // of these, those that were asked for
	Services []ServiceLine `json:"services"` // the first of these
}

// ServiceLine is a headless Service at a glance.
type ServiceLine struct {
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
	Gone        bool   `json:"gone"` // it is not there any more, or not headless; only in changes
	Ready       int    `json:"ready"`
	NotReady    int    `json:"not_ready"`
	Terminating int    `json:"terminating"`
	Held        int    `json:"held"`
	// Dots has a letter for each of the first endpoints: r, n, t and h, for the four states.
	Dots string `json:"dots"`
}

// Service is a headless Service with its endpoints.
type Service struct {
	Version   int            `json:"version"`
	Service   ServiceLine    `json:"service"`
	Endpoints []EndpointLine `json:"endpoints"` // the first of them
}

// EndpointLine is an endpoint.
type EndpointLine struct {
	Address  string   `json:"address"`
	State    string   `json:"state"` // ready, not_ready, terminating or held
	Names    []string `json:"names"` // the labels that name it below its Service
	Zones    []string `json:"zones"` // the topology zones that it is in, if they are kept
	ForZones []string `json:"for_zones"`
	ForNodes []string `json:"for_nodes"`
	Answers  bool     `json:"answers"` // its own name has its address
}

// Explanation is why a name has the records that it has, or none.
type Explanation struct {
	Version int    `json:"version"`
	Asked   string `json:"asked"`
	Name    string `json:"name"` // the FQDN that was meant
	Type    string `json:"type"`
	Zone    string `json:"zone"`    // "" if the name is in none that is served here
	Outcome string `json:"outcome"` // records, cname, denied, elsewhere or waiting
	// Records are those of the answer, as lines of a zone file: the first of Total.
	Records []string `json:"records"`
	Total   int      `json:"total"`
	Reason  string   `json:"reason"`
	Cause   string   `json:"cause"`
	Fix     string   `json:"fix"`
	Chain   []Step   `json:"chain"`
	Service *Service `json:"service"` // of the name, if it is a headless one; else null
}

// Step is one on the way from the zone to the records: the last one may be where it ends.
type Step struct {
	OK   bool   `json:"ok"`
	What string `json:"what"`
	Text string `json:"text"`
}

// Changes are Services that have changed, in one event of the stream.
type Changes struct {
	Version  int           `json:"version"`
	Services []ServiceLine `json:"services"`
}

// Failure is why a request failed.
type Failure struct {
	Version int    `json:"version"`
	Error   string `json:"error"`
}
