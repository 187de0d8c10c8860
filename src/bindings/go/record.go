package oncelog

// #include "native.h"
import "C"

import (
	"time"
	"unsafe"
)

// Verdict is what the store decides on an id.
type Verdict uint8

// The verdicts.
const (
	Fresh      Verdict = C.ONCELOG_FRESH       // Not processed within the retention; now marked or claimed.
	Duplicate  Verdict = C.ONCELOG_DUPLICATE   // Processed before, and its retention is not over.
	InProgress Verdict = C.ONCELOG_IN_PROGRESS // Claimed by another worker, which may still fail.
	Conflict   Verdict = C.ONCELOG_CONFLICT    // Processed before with another payload.
	TooOld     Verdict = C.ONCELOG_TOO_OLD     // Not known, but older than all that is remembered.
)

// String is the verdict's name, such as "in_progress".
func (v Verdict) String() string { return C.GoString(C.oncelog_verdict_name(C.oncelog_verdict(v))) }

// Ack is what a mark waits for.
type Ack uint8

// The acknowledgements.
const (
	AckDefault Ack = C.ONCELOG_ACK_DEFAULT // What Options.Ack says; there it means AckHost.
	AckHost    Ack = C.ONCELOG_ACK_HOST    // Until it survives the death of every process on the host.
	AckDisk    Ack = C.ONCELOG_ACK_DISK    // Until it survives a power failure.
)

// LSN is a record's address. LSNs grow; a record is on disk once Store.Durable is above its LSN. 0 is none.
type LSN uint64

// Source is where a message came from: a topic or queue, and the place in it.
type Source struct {
	Name      string // Up to 255 bytes; empty when no source is known.
	Partition uint32
	Offset    uint64
}

// Attributes is what a caller knows of a message besides its id. Everything is optional.
type Attributes struct {
	Correlation string    // Joins the records of one business transaction; up to 1024 bytes.
	Result      []byte    // The answer to give to a duplicate; up to 1 MiB.
	Source      Source    // Where the message came from: shows what was redelivered.
	Fingerprint uint64    // Of the payload, by Fingerprint; 0 is none. Another one for a processed id is a Conflict.
	SentAt      time.Time // The message's own timestamp; the zero time is none.
}

// Fingerprint is the 64-bit XXH3 hash of a payload, never 0.
func Fingerprint(payload []byte) uint64 {
	return uint64(C.oncelog_fingerprint(bytesAt(payload), C.size_t(len(payload))))
}

// Record is one processed message.
type Record struct {
	Scope       string
	ID          string
	Correlation string
	Result      []byte
	Source      Source
	Fingerprint uint64
	ProcessedAt time.Time // When it was marked, by the store's clock.
	LSN         LSN
	Forgotten   bool // True for the note that an id was made fresh again, which only Scan shows.
}

// Marked is what a mark answers.
type Marked struct {
	Verdict     Verdict
	Redelivered bool // Whether the earlier record came from the source that the caller has given.
	LSN         LSN  // Of the record that stands for the id; 0 where there is none.
}

func textOf(text C.oncelog_text) string { return C.GoStringN(text.data, C.int(text.size)) }

func timeOf(microseconds C.int64_t) time.Time { return time.UnixMicro(int64(microseconds)) }

// recordOf copies a record of C's.
func recordOf(record *C.oncelog_record) *Record {
	if record == nil {
		return nil
	}
	copied := &Record{
		Scope:       textOf(record.scope),
		ID:          textOf(record.id),
		Correlation: textOf(record.correlation),
		Source: Source{
			Name:      textOf(record.source_name),
			Partition: uint32(record.source_partition),
			Offset:    uint64(record.source_offset),
		},
		Fingerprint: uint64(record.fingerprint),
		ProcessedAt: timeOf(record.processed_at_us),
		LSN:         LSN(record.lsn),
		Forgotten:   record.forgotten != 0,
	}
	if record.result.size > 0 {
		copied.Result = C.GoBytes(unsafe.Pointer(record.result.data), C.int(record.result.size))
	}
	return copied
}
