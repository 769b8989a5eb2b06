package load

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/miekg/dns"
)

// Pack returns a query for a name and type from a client that has a buffer of edns bytes; 0 is one without EDNS. Its ID is 0.
func Pack(name string, qtype uint16, edns uint16) ([]byte, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.Id = 0
	if edns > 0 {
		m.SetEdns0(edns, false)
	}
	return m.Pack()
}

// Expect is the shape of a correct reply.
type Expect struct {
	Rcode     int
	Answers   Range // records in the answer section
	Authority Range // and so on
	Extra     Range // without the OPT record
	Truncated bool

	// Foreign is for a server with habits of its own, of which the answer section alone is looked at, and that only if the reply is
	// not truncated.
	Foreign bool
}

// Range is from Min to Max.
type Range struct{ Min, Max int }

// Exactly returns the range of one number.
func Exactly(n int) Range { return Range{n, n} }

// anyNumber is what a section may have; one without the OPT record that is looked for has -1 beside it.
var anyNumber = Range{-1, 1 << 16}

func (r Range) has(n int) bool { return r.Min <= n && n <= r.Max }

// The header of a message, and some of its flags.
const (
	headerSize = 12

	flagResponse  = 1 << 15
	flagTruncated = 1 << 9
	maskRcode     = 1<<4 - 1
)

// Check returns what is wrong with the reply to a query, nil if it has the shape. It looks at the header and at the question,
// which has to be that of the query, letter by letter; it does not compare IDs.
func (e Expect) Check(query, reply []byte) error {
	question := questionOf(query)
	if len(reply) < headerSize+len(question) {
		return fmt.Errorf("%d bytes are no reply", len(reply))
	}
	flags := binary.BigEndian.Uint16(reply[2:])
	opt := 0
	if binary.BigEndian.Uint16(query[10:]) > 0 {
		opt = 1
	}
	count := func(at int) int { return int(binary.BigEndian.Uint16(reply[at:])) }
	if e.Foreign {
		e.Authority, e.Extra, e.Truncated = anyNumber, anyNumber, isTruncated(reply)
		if e.Truncated {
			e.Answers = anyNumber
		}
	}
	switch {
	case flags&flagResponse == 0:
		return fmt.Errorf("not a reply")
	case int(flags&maskRcode) != e.Rcode:
		return fmt.Errorf("%s, want %s", dns.RcodeToString[int(flags&maskRcode)], dns.RcodeToString[e.Rcode])
	case isTruncated(reply) != e.Truncated:
		return fmt.Errorf("TC is %v, want %v (%d answers)", !e.Truncated, e.Truncated, count(6))
	case count(4) != 1 || !bytes.Equal(question, reply[headerSize:headerSize+len(question)]):
		return fmt.Errorf("another question: %q, want %q", reply[headerSize:headerSize+len(question)], question)
	case !e.Answers.has(count(6)):
		return fmt.Errorf("%d answers, want %v", count(6), e.Answers)
	case !e.Authority.has(count(8)):
		return fmt.Errorf("%d records of authority, want %v", count(8), e.Authority)
	case !e.Extra.has(count(10) - opt):
		return fmt.Errorf("%d additional records, want %v", count(10)-opt, e.Extra)
	}
	return nil
}

// isTruncated reports whether a reply, of at least a header, says that it is truncated.
func isTruncated(reply []byte) bool { return binary.BigEndian.Uint16(reply[2:])&flagTruncated != 0 }

// questionOf returns the name, type and class in the question of a packed query.
func questionOf(query []byte) []byte {
	end := headerSize
	for query[end] != 0 {
		end += 1 + int(query[end])
	}
	return query[headerSize : end+1+4]
}
