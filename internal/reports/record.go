package reports

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"mtasts-server/tlsrpt"
)

// maxRecord is longer than the longest record: a mail, and what is said of it.
const maxRecord = tlsrpt.MaxMessageSize + 1<<20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeArrival prints a record: what is said of the data, as a line of JSON, and then
// the data as it came.
func encodeArrival(a *Arrival) ([]byte, error) {
	head := *a
	head.Data = nil
	line, err := json.Marshal(&head)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	record := make([]byte, 8, 8+len(line)+1+len(a.Data))
	record = append(append(append(record, line...), '\n'), a.Data...)
	if len(record) > maxRecord {
		return nil, fmt.Errorf("spool: %d bytes are too much", len(a.Data))
	}
	binary.BigEndian.PutUint32(record, uint32(len(record)-8))
	binary.BigEndian.PutUint32(record[4:], crc32.Checksum(record[8:], castagnoli))
	return record, nil
}

// decodeArrival reads a record, and says how long it was; with an error too, where what
// stands behind it can be read.
func decodeArrival(r io.Reader) (*Arrival, int64, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxRecord { // zeros are what a power cut may leave, by the million
		return nil, 0, fmt.Errorf("a record of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, 0, err
	}
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return nil, int64(n) + 8, errors.New("the checksum is wrong")
	}
	line, data, found := bytes.Cut(body, []byte("\n"))
	a := &Arrival{}
	if err := json.Unmarshal(line, a); err != nil || !found {
		return nil, int64(n) + 8, errors.New("it is no record")
	}
	a.Data = data
	return a, int64(n) + 8, nil
}
