#ifndef ONCELOG_C_H
#define ONCELOG_C_H

/// @file
/// oncelog for C, and for every language that can call C: what the C++ headers offer, behind a binary interface that
/// stays. It is in the same library, liboncelog. oncelog.h is the manual: what the words mean, what is guaranteed, and
/// what breaks. This header says what is particular to C.
///
/// @code{.c}
/// oncelog_error* error = NULL;
/// oncelog_store* store = NULL;
/// oncelog_scope* orders = NULL;
/// oncelog_claim* claim = NULL;
/// const oncelog_options options = {.size = sizeof options, .retention_ms = 24 * 3600 * 1000};
/// if (oncelog_open("/var/lib/orders/seen", &options, &store, &error) != ONCELOG_OK) goto failed;
/// if (oncelog_store_scope(store, "order-service", 13, NULL, &orders, &error) != ONCELOG_OK) goto failed;
/// if (oncelog_begin(orders, id, id_bytes, 30000, NULL, 0, &claim, &error) != ONCELOG_OK) goto failed;
/// if (oncelog_claim_verdict(claim) == ONCELOG_FRESH) {
///   process(message);
///   if (oncelog_claim_complete(claim, NULL, ONCELOG_ACK_DISK, NULL, NULL, &error) != ONCELOG_OK) goto failed;
/// }
/// @endcode
///
/// **Results.** A function that can fail returns an oncelog_code, and its last parameter is `error`. Where `error` is
/// not null, a failing call stores a new oncelog_error there, which the caller frees; a call that succeeds leaves it
/// alone. Other outputs are stored by a call that succeeds, and left alone by one that fails. Where a parameter is
/// described as optional, it may be null; any other null pointer is ONCELOG_INVALID_ARGUMENT. Only the functions that
/// return no code must not be given a null handle, except those that free.
///
/// **Errors.** Every function with an `error` may return ONCELOG_INVALID_ARGUMENT for an argument outside its limits,
/// ONCELOG_FORKED, and ONCELOG_OUT_OF_MEMORY. A function's comment names the others; "those of `Scope::mark`" refers to
/// the C++ headers.
///
/// **Texts** are bytes with a length. They need no end and may hold NUL, and are read during the call only. A null
/// pointer with length 0 is the empty text. Paths and addresses alone are C strings.
///
/// **Structs** begin with their size, which the caller sets: `oncelog_options options = {.size = sizeof options};`. In
/// every field of a struct that the caller fills, zero is the default. So a program runs with a library that is older
/// or newer than its header: what a shorter struct does not have is at its default, and what a longer one has beyond
/// those fields that the library knows must be zero, or the call is ONCELOG_UNSUPPORTED. Of a struct that the library
/// fills, it fills what `size` has room for, and zeroes what it does not know. The size of one that the library hands
/// out says which fields are there.
///
/// **Handles** (store, scope, claim, batch of claims, lock) belong to the caller, who frees each once, in any order.
/// Each keeps its store open. The last one on a store flushes and closes it, and cannot report an error: call
/// oncelog_sync() before if you want to know. A function that frees accepts null.
///
/// **Memory** that a function hands out is one block, however much it points to, and is freed by oncelog_free(), except
/// where the comment says that it belongs to a handle.
///
/// **Threads.** Functions on a store or a scope may be called from many threads at once. A claim, a batch of claims, a
/// lock and an error are for one thread at a time, a transaction for the thread that its function is called on. No
/// handle may be freed while a call uses it. A thread must not be cancelled (pthread_cancel) within a call.
///
/// **Processes.** A store may be open in many processes at once. After fork() a child must not use a store of its
/// parent: calls there are ONCELOG_FORKED. Handles may be freed there, and what they hold stays the parent's.
///
/// **Callbacks** get the `user` pointer of the call. They must return: no longjmp() out of them. An exception of C++
/// that derives from std::exception may leave one, and becomes ONCELOG_EXCEPTION; any other ends the process. They may
/// use the store, and free its handles, but not the scope, claim or batch that the call was made on.
///
/// **Costs** are those of the C++ functions. Ids and answers of a batch, which is one call, are copied once more.
///
/// **Compatibility.** Functions, constants and the fields of structs are only ever added. Symbols carry the version
/// that they came with (`ONCELOG_0.1`).

#include <stddef.h>
#include <stdint.h>

#include <oncelog/version.h>

#ifdef __cplusplus
extern "C" {
#endif

// --- What all calls share.

/// What a call returns: one of the constants below.
typedef int32_t oncelog_code;

/// The codes. But for the first and the last four they are those of oncelog::ErrorCode, which says what to do.
enum {
  ONCELOG_OK = 0,                 ///< It has succeeded.
  ONCELOG_INVALID_ARGUMENT = 1,   ///< An argument is outside its range, or the call is not possible here.
  ONCELOG_NOT_FOUND = 2,          ///< There is no store, and the options forbid creating one.
  ONCELOG_NOT_A_STORE = 3,        ///< The path holds something that is not an oncelog store.
  ONCELOG_NEWER_FORMAT = 4,       ///< The store was written by a later format version.
  ONCELOG_OPTIONS_MISMATCH = 5,   ///< An option contradicts the store, or this process's first handle on it.
  ONCELOG_LIVE_DIR_MISMATCH = 6,  ///< The store is open with another live_dir.
  ONCELOG_IN_USE = 7,             ///< Something else uses the store in a way that excludes this.
  ONCELOG_NO_PERMISSION = 8,      ///< The directory or a file in it cannot be written, or has a foreign owner.
  ONCELOG_UNSUPPORTED = 9,        ///< The file system, the server, the engine or this library's version cannot do it.
  ONCELOG_READ_ONLY = 10,         ///< A write was asked of a store that was opened read_only.
  ONCELOG_FULL = 11,              ///< The disk, the LMDB map or a structure's limit is full.
  ONCELOG_TOO_MANY_READERS = 12,  ///< More threads read at once than max_readers.
  ONCELOG_CORRUPT = 13,           ///< Stored bytes contradict their checksum or their format.
  ONCELOG_FORKED = 14,            ///< A store was used in a child of the process that opened it.
  ONCELOG_IO = 15,                ///< Any other failure of the operating system, of LMDB or of a server.
  ONCELOG_OUT_OF_MEMORY = 100,    ///< Memory could not be had.
  ONCELOG_EXCEPTION = 101,        ///< An exception of C++ that is no oncelog::Error, such as one from a callback.
  ONCELOG_ROLLED_BACK = 102,      ///< The function that oncelog_transact() called has returned nonzero.
  ONCELOG_WORK_FAILED = 103       ///< The function that oncelog_once() called has returned nonzero.
};

/// The code's name, such as "options_mismatch"; "ok" for ONCELOG_OK, "unknown" for a number that is no code. The string
/// is static.
ONCELOG_API const char* oncelog_code_name(oncelog_code code);

/// What went wrong. Belongs to the caller of the call that failed.
typedef struct oncelog_error oncelog_error;

/// What the call returned. ONCELOG_OK when `error` is null.
ONCELOG_API oncelog_code oncelog_error_code(const oncelog_error* error);
/// One sentence that names the path concerned and, where there is one, the way out. UTF-8, with the bytes of paths as
/// they are. Empty when `error` is null. Valid as long as the error.
ONCELOG_API const char* oncelog_error_sentence(const oncelog_error* error);
/// The file or directory concerned; empty when there is none. Valid as long as the error.
ONCELOG_API const char* oncelog_error_path(const oncelog_error* error);
/// What the caller's function has returned, for ONCELOG_ROLLED_BACK and ONCELOG_WORK_FAILED; 0 for other codes and when
/// `error` is null.
ONCELOG_API int oncelog_error_returned(const oncelog_error* error);
/// Frees it.
ONCELOG_API void oncelog_error_free(oncelog_error* error);

/// Frees a block of memory that a call has handed out.
ONCELOG_API void oncelog_free(const void* memory);

/// The library's version, such as "0.1.0", which may differ from the header's ONCELOG_VERSION.
ONCELOG_API const char* oncelog_version(void);

/// Bytes and how many.
typedef struct oncelog_text {
  const char* data;  ///< Null only where there are none.
  size_t size;       ///< How many bytes; a NUL behind them is not counted.
} oncelog_text;

/// What the store decides on an id: one of the constants below. One byte, so that many of them are an array of bytes.
typedef uint8_t oncelog_verdict;

/// The verdicts, as oncelog::Verdict.
enum {
  ONCELOG_FRESH = 0,        ///< Not processed within the retention; now marked or claimed.
  ONCELOG_DUPLICATE = 1,    ///< Processed before, and its retention is not over.
  ONCELOG_IN_PROGRESS = 2,  ///< Claimed by another worker, which may still fail.
  ONCELOG_CONFLICT = 3,     ///< Processed before, or claimed, with another payload.
  ONCELOG_TOO_OLD = 4       ///< Not known, but older than all that is remembered.
};

/// The verdict's name, such as "in_progress"; "unknown" for a number that is no verdict. The string is static.
ONCELOG_API const char* oncelog_verdict_name(oncelog_verdict verdict);

/// What a mark waits for: one of the constants below.
typedef uint8_t oncelog_ack;

/// The acknowledgements, as oncelog::Ack.
enum {
  ONCELOG_ACK_DEFAULT = 0,  ///< What oncelog_options.ack says; there it means ONCELOG_ACK_HOST.
  ONCELOG_ACK_HOST = 1,     ///< Until it survives the death of every process on the host.
  ONCELOG_ACK_DISK = 2      ///< Until it survives a power failure.
};

/// What a caller knows of a message besides its id, as oncelog::Attributes. Everything is optional.
typedef struct oncelog_attributes {
  size_t size;                ///< sizeof(oncelog_attributes).
  oncelog_text correlation;   ///< Joins the records of one business transaction; up to 1024 bytes.
  oncelog_text result;        ///< The answer to give to a duplicate; up to 1 MiB.
  oncelog_text source_name;   ///< The topic or queue, up to 255 bytes; empty when no source is known.
  uint64_t source_offset;     ///< The place in the partition.
  uint64_t fingerprint;       ///< Of the payload, by oncelog_fingerprint(); 0 is none.
  int64_t sent_at_us;         ///< The message's own timestamp, in microseconds since 1970; 0 is none.
  uint32_t source_partition;  ///< The partition of the topic or queue.
  uint32_t reserved;          ///< Zero.
} oncelog_attributes;

/// A fingerprint of a payload: its 64-bit XXH3 hash, never 0. Any thread.
ONCELOG_API uint64_t oncelog_fingerprint(const void* payload, size_t payload_bytes);

/// What a mark answers, as oncelog::Marked.
typedef struct oncelog_marked {
  size_t size;              ///< sizeof(oncelog_marked).
  uint64_t lsn;             ///< Of the record that stands for the id; 0 where there is none.
  oncelog_verdict verdict;  ///< What was decided.
  uint8_t redelivered;      ///< 1 when the earlier record came from the source that the caller has given, else 0.
  uint8_t reserved[6];      ///< Zero.
} oncelog_marked;

/// One processed message, as oncelog::Record. Each text is followed by a NUL.
typedef struct oncelog_record {
  size_t size;                ///< The bytes of the struct that are there.
  oncelog_text scope;         ///< The scope's name.
  oncelog_text id;            ///< The message's id.
  oncelog_text correlation;   ///< As given; empty when unset.
  oncelog_text result;        ///< As given; empty when unset.
  oncelog_text source_name;   ///< As given; empty when unset.
  uint64_t source_offset;     ///< As given; 0 when unset.
  uint64_t fingerprint;       ///< As given; 0 when unset.
  int64_t processed_at_us;    ///< When it was marked, in microseconds since 1970, UTC, by the store's clock.
  uint64_t lsn;               ///< The record's address.
  uint32_t source_partition;  ///< As given; 0 when unset.
  uint8_t forgotten;          ///< 1 for the note that an id was made fresh again, which only oncelog_scan() shows.
  uint8_t reserved[3];        ///< Zero.
} oncelog_record;

/// Receives a record, which is valid during the call. A nonzero return ends the visits.
typedef int (*oncelog_record_visitor)(const oncelog_record* record, void* user);

/// Many ids in one of three forms. The first that is there counts:
///
/// 1. `pointers` and `lengths`: id i is the `lengths[i]` bytes at `pointers[i]`.
/// 2. `data` and `ends`: the ids lie one after the other in `data`, and id i ends before `ends[i]`. For languages whose
///    memory may hold no pointers, and for columns (Arrow's offsets, from the second one on).
/// 3. `data` and `width`: id i is the `width` bytes at `data + i * width`. With `padded`, NULs at its end are not part
///    of it, as in numpy's fixed-width bytes.
typedef struct oncelog_ids {
  size_t size;                  ///< sizeof(oncelog_ids).
  size_t count;                 ///< How many ids. Nothing else is read when it is 0.
  const void* const* pointers;  ///< Where each id is.
  const size_t* lengths;        ///< How many bytes each id has.
  const void* data;             ///< All ids.
  const uint64_t* ends;         ///< Where each id ends in `data`, ascending.
  size_t width;                 ///< The bytes of each id, where all have the same.
  uint8_t padded;               ///< 1 to leave out the NULs at the ends of ids of one width, else 0.
  uint8_t reserved[7];          ///< Zero.
} oncelog_ids;

// --- Options and hooks.

/// One decision on an id, as oncelog::Decision. Valid during the call.
typedef struct oncelog_decision {
  size_t size;               ///< The bytes of the struct that are there.
  oncelog_text scope;        ///< The scope's name.
  oncelog_text id;           ///< The id as the caller gave it.
  oncelog_text correlation;  ///< As the caller gave it; empty when unset.
  int64_t first_seen_us;     ///< When the earlier record of a duplicate or conflict was made, as processed_at_us; or 0.
  oncelog_verdict verdict;   ///< What was decided.
  uint8_t reserved[7];       ///< Zero.
} oncelog_decision;

/// Called for each decision on an id, on the deciding thread; see oncelog::DecisionHook. It holds no lock then.
typedef void (*oncelog_decision_hook)(const oncelog_decision* decision, void* user);

/// What can happen to a store: one of the constants below.
typedef uint8_t oncelog_event_kind;

/// The kinds, as oncelog::StoreEventKind.
enum {
  ONCELOG_BUCKET_DROPPED_EARLY = 0,  ///< max_bytes made the store forget ids before their retention was over.
  ONCELOG_CLOCK_FAULT = 1,           ///< The wall clock is ahead of the boot clock.
  ONCELOG_FLUSH_FAILED = 2,          ///< A group commit failed. Marks are refused until one succeeds.
  ONCELOG_FLUSH_RECOVERED = 3,       ///< A group commit succeeded after that.
  ONCELOG_MEMORY_DAMAGED = 4,        ///< The shared memory or hints on disk were damaged, and were rebuilt.
  ONCELOG_SERVER_FORGOT = 5,         ///< A shared store's server has lost what it had answered before.
  ONCELOG_NEAR_LEFT_OUT = 6,         ///< The near tier cannot be used; the server is asked instead.
  ONCELOG_NEAR_IN_USE = 7            ///< The near tier is in use again after that.
};

/// The kind's name, such as "flush_failed"; "unknown" for a number that is no kind. The string is static.
ONCELOG_API const char* oncelog_event_kind_name(oncelog_event_kind kind);

/// Called for each event, on a thread of the library's, one at a time; see oncelog::StoreEventHook. `sentence` is valid
/// during the call.
typedef void (*oncelog_event_hook)(oncelog_event_kind kind, const char* sentence, void* user);

/// For oncelog_options.max_bytes: no cap, also where one is stored.
#define ONCELOG_NO_CAP UINT64_MAX

/// How to open a store. Zero is the default of each field. The first part is as oncelog::Options, which explains each.
///
/// Of a store at an address, retention_ms, ack, never_create, read_only, the hooks and the last part hold, as
/// oncelog::remote::Options. What has no meaning for the store at hand is ONCELOG_INVALID_ARGUMENT when it is set.
typedef struct oncelog_options {
  size_t size;                       ///< sizeof(oncelog_options).
  int64_t retention_ms;              ///< 1 ms to 100 years; 0: as stored, or 24 hours.
  uint32_t buckets;                  ///< 2 to 14; 0: as stored, or 8.
  oncelog_ack ack;                   ///< What marks wait for; default: the host.
  uint8_t never_create;              ///< 1: where there is no store, ONCELOG_NOT_FOUND.
  uint8_t read_only;                 ///< 1: accept no marks.
  uint8_t allow_foreign_owner;       ///< 1: open a store whose files belong to neither this user nor root.
  uint8_t allow_network_filesystem;  ///< 1: open a store on NFS, SMB, FUSE and the like.
  uint8_t reserved[7];               ///< Zero.

  oncelog_decision_hook on_decision;  ///< Called for each decision; may be null.
  oncelog_event_hook on_event;        ///< Called for what happens to the store; may be null.
  void* user;                         ///< What the hooks get.
  /// Called once with `user` when no hook will be called any more: after the store has closed, on whichever thread
  /// closes it, or before oncelog_open() returns where that fails or there are no hooks. May be null. Not called where
  /// this struct is refused for its size.
  void (*free_user)(void* user);

  uint64_t max_bytes;         ///< Caps data.mdb, 1 MiB at least; 0: as stored. See ONCELOG_NO_CAP.
  const char* live_dir;       ///< Where the shared memory goes; null: the store chooses.
  uint64_t expected_ids;      ///< Ids per retention; 0: as stored, or a million.
  int64_t flush_interval_ms;  ///< How often the background commits, 1 ms to 1 hour; 0: 50 ms.
  uint64_t ring_bytes;        ///< Of the shared ring, a power of two; 0: as stored, or 16 MiB.
  uint64_t map_bytes;         ///< The most that data.mdb can grow to; 0: 256 GiB.
  uint32_t max_claims;        ///< Claims and locks held at once; 0: as stored, or 32,768.
  uint32_t max_readers;       ///< Threads that may read at once; 0: 1024.

  int64_t timeout_ms;          ///< The longest that a call waits for the server, 1 ms to 1 hour; 0: 5 seconds.
  uint32_t connections;        ///< Connections that may be open at once, 1 to 1000; 0: 8.
  uint32_t reserved2;          ///< Zero.
  const char* near_directory;  ///< A directory for the near tier; null: none.
  int64_t
      near_staleness_ms;  ///< How long what another host forgot may be a duplicate here; 0: a minute; -1: not at all.
} oncelog_options;

/// What the owner's death and the lease's expiry do to a claim: one of the constants below.
typedef uint8_t oncelog_orphan_policy;

/// The policies, as oncelog::OrphanPolicy.
enum {
  ONCELOG_FREE_AT_ONCE = 0,      ///< The owner's death frees it at once, and so does the expiry of its lease.
  ONCELOG_FREE_AFTER_LEASE = 1,  ///< The expiry of its lease frees it; the owner's death before that does not.
  ONCELOG_KEEP = 2               ///< It stays until an operator frees it, or the host reboots.
};

/// How a scope handle works.
typedef struct oncelog_scope_options {
  size_t size;                    ///< sizeof(oncelog_scope_options).
  oncelog_orphan_policy orphans;  ///< Of the claims that this handle takes.
  uint8_t reserved[7];            ///< Zero.
} oncelog_scope_options;

// --- The store.

/// A processed-message log; see oncelog::Store.
typedef struct oncelog_store oncelog_store;
/// One logical consumer's id space; see oncelog::Scope.
typedef struct oncelog_scope oncelog_scope;
/// The right to process one message; see oncelog::Claim.
typedef struct oncelog_claim oncelog_claim;
/// Claims of many ids; see oncelog::ClaimBatch.
typedef struct oncelog_claim_batch oncelog_claim_batch;
/// A named lock; see oncelog::Lock.
typedef struct oncelog_lock oncelog_lock;
/// Effects and marks that commit together; see oncelog::Transaction.
typedef struct oncelog_transaction oncelog_transaction;

/// Opens the store in a directory, creating it unless the options forbid that, or the shared one at an address
/// (`postgresql://`, `redis://`, `redis+unix://`, `redis+cluster://`; see remote.h). `options` is optional.
///
/// An address needs the library oncelog-remote. Where the program is not linked to it, it is loaded: liboncelog-remote
/// of the same major version, as the dynamic linker finds it. ONCELOG_UNSUPPORTED says so where it is absent. A program
/// that is linked to liboncelog.a must be linked to all of liboncelog-remote.a (`--whole-archive`).
///
/// Errors: those of `Store::open`, and of `remote::open`.
ONCELOG_API oncelog_code oncelog_open(const char* directory_or_address, const oncelog_options* options,
                                      oncelog_store** store, oncelog_error** error);
/// Frees the handle. Scopes and claims from it stay usable.
ONCELOG_API void oncelog_store_free(oncelog_store* store);

/// The id space of that name, 1 to 255 bytes. `options` is optional. Errors: those of `Store::scope`.
ONCELOG_API oncelog_code oncelog_store_scope(const oncelog_store* store, const void* name, size_t name_bytes,
                                             const oncelog_scope_options* options, oncelog_scope** scope,
                                             oncelog_error** error);

/// The names of all scopes that were ever used, oldest first, each followed by a NUL. The caller frees `names`, an
/// array of `count`. Errors: those of `Store::scopes`.
ONCELOG_API oncelog_code oncelog_store_scopes(const oncelog_store* store, const oncelog_text** names, size_t* count,
                                              oncelog_error** error);

/// Stores the LSN below which every record is on disk: what may be acknowledged to a broker. Some nanoseconds.
ONCELOG_API oncelog_code oncelog_durable(const oncelog_store* store, uint64_t* lsn, oncelog_error** error);
/// Returns when the record at `lsn` is on disk, flushing now. Errors: those of `Store::wait`.
ONCELOG_API oncelog_code oncelog_wait(const oncelog_store* store, uint64_t lsn, oncelog_error** error);
/// Returns when every mark that returned before is on disk. Errors: those of `Store::sync`.
ONCELOG_API oncelog_code oncelog_sync(const oncelog_store* store, oncelog_error** error);
/// Stores the moment since when every processed id is remembered, in microseconds since 1970.
ONCELOG_API oncelog_code oncelog_known_since(const oncelog_store* store, int64_t* time_us, oncelog_error** error);

/// Who holds a claim or lock.
typedef struct oncelog_owner {
  size_t size;          ///< sizeof(oncelog_owner).
  int64_t deadline_us;  ///< When the lease expires, in microseconds since 1970: an estimate by the wall clock.
  int32_t process;      ///< The process's id.
  uint32_t reserved;    ///< Zero.
} oncelog_owner;

/// A claim or lock that is held, as oncelog::ClaimInfo. Each text is followed by a NUL.
typedef struct oncelog_claim_info {
  size_t size;                    ///< The bytes of the struct that are there.
  oncelog_text scope;             ///< Empty for a lock.
  oncelog_text id;                ///< Its first 56 bytes; of a lock, its name's.
  int64_t deadline_us;            ///< As oncelog_owner.deadline_us.
  uint64_t token;                 ///< Its fencing token.
  int32_t process;                ///< Its owner's process id.
  uint8_t owner_alive;            ///< 1 when that process is alive, else 0.
  oncelog_orphan_policy orphans;  ///< What the owner's death and the lease's expiry do to it.
  uint8_t reserved[2];            ///< Zero.
} oncelog_claim_info;

/// Receives a claim or lock, which is valid during the call. A nonzero return ends the visits.
typedef int (*oncelog_claim_visitor)(const oncelog_claim_info* claim, void* user);

/// For operators: visits what is claimed and locked now, by ascending token. Errors: those of `Store::claims`.
ONCELOG_API oncelog_code oncelog_claims(const oncelog_store* store, oncelog_claim_visitor visitor, void* user,
                                        oncelog_error** error);

/// Reclaims the space of all that is past its retention, now. `buckets` and `blocks` are optional, and receive what was
/// dropped and deleted. Errors: those of `Store::expire`.
ONCELOG_API oncelog_code oncelog_expire(const oncelog_store* store, uint64_t* buckets, uint64_t* blocks,
                                        oncelog_error** error);

/// Which records oncelog_scan() visits.
typedef struct oncelog_scan_range {
  size_t size;         ///< sizeof(oncelog_scan_range).
  oncelog_text scope;  ///< Only this scope's; empty: all.
  int64_t since_us;    ///< Processed at or after, in microseconds since 1970; 0: from the oldest on.
  int64_t until_us;    ///< Processed before; 0: to the newest.
} oncelog_scan_range;

/// Visits all live records of the range, oldest first. `range` is optional. Pins no space. Errors: those of
/// `Store::scan`.
ONCELOG_API oncelog_code oncelog_scan(const oncelog_store* store, const oncelog_scan_range* range,
                                      oncelog_record_visitor visitor, void* user, oncelog_error** error);

/// Visits all live records of a correlation over all scopes, oldest first. Errors: those of `Store::correlated`.
ONCELOG_API oncelog_code oncelog_correlated(const oncelog_store* store, const void* correlation,
                                            size_t correlation_bytes, oncelog_record_visitor visitor, void* user,
                                            oncelog_error** error);

/// Which figures oncelog_metrics() prints, as oncelog::MetricsOf.
enum {
  ONCELOG_HOST_AND_PROCESS = 0,  ///< The host's, and those of the process that asks.
  ONCELOG_HOST = 1               ///< Host figures only, for monitors.
};

/// The store's figures in Prometheus' text format; see oncelog::Metrics. The caller frees `text`, which ends with a
/// NUL; `text_bytes` is optional and does not count that. Errors: those of `Store::metrics`.
ONCELOG_API oncelog_code oncelog_metrics(const oncelog_store* store, int32_t of, const char** text, size_t* text_bytes,
                                         oncelog_error** error);

/// One thing that is wrong, for a person to read, as oncelog::Problem. All strings end with a NUL.
typedef struct oncelog_problem {
  size_t size;           ///< The bytes of the struct that are there.
  const char* kind;      ///< What it is about, such as "record".
  const char* where;     ///< For example "page 17 of data.mdb".
  const char* sentence;  ///< What is wrong there.
  const char* meaning;   ///< What that does to answers.
  const char* remedy;    ///< What to do.
} oncelog_problem;

/// Receives a problem, which is valid during the call. A nonzero return ends the visits.
typedef int (*oncelog_problem_visitor)(const oncelog_problem* problem, void* user);

/// Finds out whether the store is sound; see `Store::verify`. With `deep` nonzero, filter and index are looked at, too.
/// `problems` receives how many there are. Of these, the first 1000 are visited at the end. `visitor` is optional.
/// Errors: those of `Store::verify`.
ONCELOG_API oncelog_code oncelog_verify(const oncelog_store* store, int deep, oncelog_problem_visitor visitor,
                                        void* user, uint64_t* problems, oncelog_error** error);

/// Copies the store into the new or empty directory while it is used; see `Store::backup`. `below` and `bytes` are
/// optional: marks whose LSN is below the first are in the copy, and its data.mdb has the second's size. Errors: those
/// of `Store::backup`.
ONCELOG_API oncelog_code oncelog_backup(const oncelog_store* store, const char* directory, uint64_t* below,
                                        uint64_t* bytes, oncelog_error** error);

/// Makes a store in the new or empty directory of a backup; see backup.h. With `allow_foreign_owner` nonzero, also of
/// one whose files belong to neither this user nor root. `below` and `bytes` are as in oncelog_backup(). Errors: those
/// of `restore`.
ONCELOG_API oncelog_code oncelog_restore(const char* backup, const char* directory, int allow_foreign_owner,
                                         uint64_t* below, uint64_t* bytes, oncelog_error** error);

/// What oncelog_import() has done with the records, as oncelog::Imported.
typedef struct oncelog_imported {
  size_t size;        ///< sizeof(oncelog_imported).
  uint64_t imported;  ///< Are processed here now, since they were processed there.
  uint64_t known;     ///< Were processed here already, and are left as they were.
  uint64_t claimed;   ///< Are claimed here, and left out. Import them again later.
  uint64_t expired;   ///< Are past the retention of this store, and left out.
  uint64_t redated;   ///< Of those imported: lay in the future by this store's clock, and have its present.
} oncelog_imported;

/// Takes over what was processed in another store: `records` is an array of `count` structs of the first one's size,
/// whose `lsn` is not looked at. Their texts need no NUL behind them. `imported` is optional. Errors: those of
/// `Store::import`, which says what holds after one.
ONCELOG_API oncelog_code oncelog_import(const oncelog_store* store, const oncelog_record* records, size_t count,
                                        oncelog_imported* imported, oncelog_error** error);

/// How oncelog_repair() and oncelog_rebuild_hints() read a store, as oncelog::RepairOptions. Zero is the default of
/// each field.
typedef struct oncelog_repair_options {
  size_t size;                       ///< sizeof(oncelog_repair_options).
  const char* live_dir;              ///< Where the shared memory is; null: where it was noted last.
  int64_t retention_ms;              ///< The new store's, where the damaged one's is lost; 0: 24 hours.
  uint64_t map_bytes;                ///< As in oncelog_options. Only for oncelog_rebuild_hints().
  uint32_t max_readers;              ///< As in oncelog_options. Only for oncelog_rebuild_hints().
  uint32_t buckets;                  ///< The new store's, where the damaged one's are lost; 0: 8.
  uint8_t allow_foreign_owner;       ///< As in oncelog_options.
  uint8_t allow_network_filesystem;  ///< As in oncelog_options. Only for oncelog_rebuild_hints().
  uint8_t reserved[6];               ///< Zero.
} oncelog_repair_options;

/// What oncelog_repair() has saved, as oncelog::RepairReport.
typedef struct oncelog_repair_report {
  size_t size;                  ///< sizeof(oncelog_repair_report).
  uint64_t records;             ///< Records saved; their checksums hold.
  uint64_t from_shared_memory;  ///< Of these, those that were never flushed or were lost from the log.
  uint64_t scopes;              ///< Scopes saved.
  uint64_t entries;             ///< Entries of user tables saved.
  uint64_t end;                 ///< The LSN where the new store's log ends.
  uint64_t problems;            ///< How many parts could not be saved; 0: everything was saved.
  int64_t known_since_us;       ///< Of the new store, in microseconds since 1970.
} oncelog_repair_report;

/// Makes a new store in the new or empty directory `into` of all that is whole in the one in `directory`, which must
/// not be open in any process and is only read. `options`, `visitor` and `report` are optional. What could not be saved
/// is visited at the end, the first 1000 of it. Errors: those of `repair`, which says what is saved.
ONCELOG_API oncelog_code oncelog_repair(const char* directory, const char* into, const oncelog_repair_options* options,
                                        oncelog_problem_visitor visitor, void* user, oncelog_repair_report* report,
                                        oncelog_error** error);

/// Rebuilds the filter and the index of the store from its log. No process may have the store open. `options` is
/// optional. Errors: those of `rebuild_hints`.
ONCELOG_API oncelog_code oncelog_rebuild_hints(const char* directory, const oncelog_repair_options* options,
                                               oncelog_error** error);

// --- Stores in memory, for unit tests of consumers; see testing.h.

/// A clock that stands still until a test moves it. Any thread.
typedef struct oncelog_clock oncelog_clock;

/// A new clock at that time, in microseconds since 1970; 0: in 2019. The caller frees it, whenever it likes: a store
/// keeps its clock.
ONCELOG_API oncelog_code oncelog_clock_new(int64_t now_us, oncelog_clock** clock, oncelog_error** error);
/// What the clock shows, in microseconds since 1970.
ONCELOG_API int64_t oncelog_clock_now(const oncelog_clock* clock);
/// That many microseconds pass.
ONCELOG_API void oncelog_clock_advance(oncelog_clock* clock, int64_t by_us);
/// Frees the handle.
ONCELOG_API void oncelog_clock_free(oncelog_clock* clock);

/// A new store in memory, gone with its last handle. `options` is optional; those of retention_ms, ack, on_decision,
/// max_claims and the user pointer have an effect. `clock` is optional: without one, time stands still. Errors:
/// ONCELOG_INVALID_ARGUMENT for an option outside its range or of a store at an address.
ONCELOG_API oncelog_code oncelog_open_in_memory(const oncelog_options* options, const oncelog_clock* clock,
                                                oncelog_store** store, oncelog_error** error);

// --- The scope: one id.

/// The scope's name, followed by a NUL. Valid as long as this handle. `name_bytes` is optional.
ONCELOG_API const char* oncelog_scope_name(const oncelog_scope* scope, size_t* name_bytes);
/// Frees the handle. Claims from it stay usable.
ONCELOG_API void oncelog_scope_free(oncelog_scope* scope);

/// Stores 1 in `known` when the id was processed within the retention, else 0. Takes no lock. Another thread may mark
/// the id right after. Errors: those of `Scope::contains`.
ONCELOG_API oncelog_code oncelog_contains(const oncelog_scope* scope, const void* id, size_t id_bytes, uint8_t* known,
                                          oncelog_error** error);
/// As oncelog_contains(), for an id that was processed as part of this correlation.
ONCELOG_API oncelog_code oncelog_contains_correlated(const oncelog_scope* scope, const void* id, size_t id_bytes,
                                                     const void* correlation, size_t correlation_bytes, uint8_t* known,
                                                     oncelog_error** error);

/// Stores the record of an id that was processed within the retention, or null. The caller frees it. Errors: those of
/// `Scope::find`.
ONCELOG_API oncelog_code oncelog_find(const oncelog_scope* scope, const void* id, size_t id_bytes,
                                      const oncelog_record** record, oncelog_error** error);

/// Marks the id as processed unless it is already: for each id exactly one caller gets ONCELOG_FRESH within the
/// retention. `attributes` is optional. Errors and cost: those of `Scope::mark`, which says whether the id is marked
/// after an error.
ONCELOG_API oncelog_code oncelog_mark(const oncelog_scope* scope, const void* id, size_t id_bytes,
                                      const oncelog_attributes* attributes, oncelog_ack ack, oncelog_marked* marked,
                                      oncelog_error** error);

/// Claims the id for `lease_ms` from now, to process it and then mark it. Waits up to `patience_ms` while another one
/// holds it. `attributes` is optional. The caller frees the claim, whatever the verdict. Errors and cost: those of
/// `Scope::begin`.
ONCELOG_API oncelog_code oncelog_begin(const oncelog_scope* scope, const void* id, size_t id_bytes, int64_t lease_ms,
                                       const oncelog_attributes* attributes, int64_t patience_ms, oncelog_claim** claim,
                                       oncelog_error** error);

/// How oncelog_once() runs its function, as oncelog::OnceOptions. Zero is the default of each field.
typedef struct oncelog_once_options {
  size_t size;                           ///< sizeof(oncelog_once_options).
  int64_t lease_ms;                      ///< How long the id is claimed at a time, 1 ms to 100 years; 0: 30 seconds.
  int64_t max_runtime_ms;                ///< How long the lease is renewed, 1 ms to 100 years; 0: an hour.
  int64_t patience_ms;                   ///< How long to wait while another runs the id; 0: 30 seconds; -1: not at all.
  const oncelog_attributes* attributes;  ///< Kept in the record; null: none. Without a result.
  uint8_t no_keep_alive;                 ///< 1: the lease is not renewed while the function runs.
  uint8_t reserved[7];                   ///< Zero.
} oncelog_once_options;

/// What oncelog_once() answers, as oncelog::OnceResult.
typedef struct oncelog_once_result {
  size_t size;              ///< The bytes of the struct that are there.
  oncelog_text result;      ///< The result that stands for the id, followed by a NUL; otherwise empty.
  uint64_t lsn;             ///< The record's; 0 where there is none.
  oncelog_verdict verdict;  ///< ONCELOG_FRESH: this call ran the function, and its result stands.
  uint8_t ran;              ///< 1 when this call ran the function. With another verdict the id was lost meanwhile.
  uint8_t reserved[6];      ///< Zero.
} oncelog_once_result;

/// One run of a function within oncelog_once(): where its result goes.
typedef struct oncelog_once_run oncelog_once_run;

/// What oncelog_once() calls. Returns 0 when the work is done; anything else frees the id. `run` is valid during the
/// call.
typedef int (*oncelog_once_work)(oncelog_once_run* run, void* user);

/// Within the function: sets its result, which is copied, instead of one that was set before. Without a call the result
/// is empty. A result beyond the limits of `Attributes::result` is refused by oncelog_once() when the function returns.
ONCELOG_API oncelog_code oncelog_once_set_result(oncelog_once_run* run, const void* result, size_t result_bytes,
                                                 oncelog_error** error);

/// Runs `work` once for the id within the retention, over all threads and processes. Later callers get its result
/// without a run; one that comes meanwhile waits for it. Stores the answer, which the caller frees by oncelog_free().
/// `options` is optional. Where `work` returns nonzero, the id is free again, nothing is stored, and the code is
/// ONCELOG_WORK_FAILED: oncelog_error_returned() is what it has returned. Errors and cost: those of `Scope::once`,
/// which says when the work may be done twice.
ONCELOG_API oncelog_code oncelog_once(const oncelog_scope* scope, const void* id, size_t id_bytes,
                                      const oncelog_once_options* options, oncelog_once_work work, void* user,
                                      const oncelog_once_result** result, oncelog_error** error);

/// Waits until the id is unclaimed, for up to `patience_ms`; takes no claim. Stores 1 in `unclaimed` if it is, else 0.
/// Errors: those of `Scope::wait_until_free`.
ONCELOG_API oncelog_code oncelog_wait_until_free(const oncelog_scope* scope, const void* id, size_t id_bytes,
                                                 int64_t patience_ms, uint8_t* unclaimed, oncelog_error** error);

/// For operators: makes a processed id fresh again. `known` is optional, and receives 1 when it was a duplicate, else
/// 0. ONCELOG_ACK_DEFAULT is ONCELOG_ACK_DISK here. Errors: those of `Scope::forget`.
ONCELOG_API oncelog_code oncelog_forget(const oncelog_scope* scope, const void* id, size_t id_bytes, oncelog_ack ack,
                                        uint8_t* known, oncelog_error** error);

/// For operators: frees a claimed id, whoever holds it. `claimed` is optional, and receives 1 when there was a claim,
/// else 0. Errors: those of `Scope::release`.
ONCELOG_API oncelog_code oncelog_release(const oncelog_scope* scope, const void* id, size_t id_bytes, uint8_t* claimed,
                                         oncelog_error** error);

// --- The scope: many ids. Each is one call, whose arrays have an element for each id; they may be null when there are
// no ids.

/// oncelog_contains() for many ids at once, at a fifth to a half of the cost of each.
ONCELOG_API oncelog_code oncelog_contains_batch(const oncelog_scope* scope, const oncelog_ids* ids, uint8_t* known,
                                                oncelog_error** error);

/// oncelog_find() for many ids at once. Stores one array in `records`: for each id its record, or null. The caller
/// frees the array, and with it all records.
ONCELOG_API oncelog_code oncelog_find_batch(const oncelog_scope* scope, const oncelog_ids* ids,
                                            const oncelog_record* const** records, oncelog_error** error);

/// oncelog_mark() for many ids at once, in order. `attributes` is optional: an array of structs of the first one's
/// size. The other arrays are optional as well. Each id is marked atomically, the batch is not; `Scope::mark` says what
/// holds after an error.
ONCELOG_API oncelog_code oncelog_mark_batch(const oncelog_scope* scope, const oncelog_ids* ids,
                                            const oncelog_attributes* attributes, oncelog_ack ack,
                                            oncelog_verdict* verdicts, uint64_t* lsns, uint8_t* redelivered,
                                            oncelog_error** error);

/// oncelog_begin() for many ids at once, without attributes or patience. After an error nothing is claimed. The caller
/// frees the batch.
ONCELOG_API oncelog_code oncelog_begin_batch(const oncelog_scope* scope, const oncelog_ids* ids, int64_t lease_ms,
                                             oncelog_claim_batch** batch, oncelog_error** error);

// --- Claims.

/// What oncelog_begin() decided; ONCELOG_FRESH when the claim was taken.
ONCELOG_API oncelog_verdict oncelog_claim_verdict(const oncelog_claim* claim);
/// 1 while this handle holds the claim, else 0. Does not detect that the lease has expired: call oncelog_claim_renew().
ONCELOG_API int oncelog_claim_held(const oncelog_claim* claim);
/// The fencing token, to be passed to whatever the work writes to; 0 when nothing was taken.
ONCELOG_API uint64_t oncelog_claim_token(const oncelog_claim* claim);
/// 1 when the duplicate came from the source that its record came from, else 0.
ONCELOG_API int oncelog_claim_redelivered(const oncelog_claim* claim);
/// The record of a duplicate or conflict; null for the other verdicts, and when it has expired since. Belongs to the
/// claim: valid until that is freed.
ONCELOG_API const oncelog_record* oncelog_claim_record(const oncelog_claim* claim);
/// Fills in who holds the id, when the verdict is ONCELOG_IN_PROGRESS, and returns 1. Returns 0 otherwise, and for an
/// owner whose `size` cannot be that of one.
ONCELOG_API int oncelog_claim_owner(const oncelog_claim* claim, oncelog_owner* owner);

/// Marks the id as processed and ends the claim, atomically. `attributes` is optional; those that are unset keep what
/// was given to oncelog_begin(). `in_time` is optional, and receives 1 when the id was marked; 0 when the claim was
/// lost, and nothing was marked. `lsn` is optional, and receives the record's, or 0. Errors: those of
/// `Claim::complete`, which says when the claim is still held after one.
ONCELOG_API oncelog_code oncelog_claim_complete(oncelog_claim* claim, const oncelog_attributes* attributes,
                                                oncelog_ack ack, uint8_t* in_time, uint64_t* lsn,
                                                oncelog_error** error);

/// Sets the lease to expire `lease_ms` from now. `held` is optional, and receives 0 when the claim is not held or was
/// lost, else 1. Errors: those of `Claim::renew`.
ONCELOG_API oncelog_code oncelog_claim_renew(oncelog_claim* claim, int64_t lease_ms, uint8_t* held,
                                             oncelog_error** error);

/// Renews the lease now, and has the store's background renew it while this handle holds the claim, for no longer than
/// `most_ms` from now. `held` is as in oncelog_claim_renew(). Errors: those of `Claim::keep_alive`.
ONCELOG_API oncelog_code oncelog_claim_keep_alive(oncelog_claim* claim, int64_t most_ms, uint8_t* held,
                                                  oncelog_error** error);

/// Frees the id at once. Nothing happens when the claim is not held.
ONCELOG_API void oncelog_claim_abandon(oncelog_claim* claim);
/// Abandons the claim if it is held, and frees the handle.
ONCELOG_API void oncelog_claim_free(oncelog_claim* claim);

/// The verdict for each id in order; see oncelog::ClaimBatch::verdicts. Belongs to the batch: valid until
/// oncelog_claim_batch_abandon_from() is called or the batch is freed. `count` is optional.
ONCELOG_API const oncelog_verdict* oncelog_claim_batch_verdicts(const oncelog_claim_batch* batch, size_t* count);

/// Marks all ids that are held and ends their claims. `newest` is optional, and receives the highest LSN over the
/// batch, records of duplicates included, or 0. `late` is optional, and receives how many ids were lost. See
/// oncelog::ClaimBatch::complete for what may be acknowledged. Errors: those of that.
ONCELOG_API oncelog_code oncelog_claim_batch_complete(oncelog_claim_batch* batch, size_t* late, uint64_t* newest,
                                                      oncelog_error** error);

/// Releases the ids from `position` on and truncates the batch to those before it.
ONCELOG_API void oncelog_claim_batch_abandon_from(oncelog_claim_batch* batch, size_t position);
/// Releases all ids that are held.
ONCELOG_API void oncelog_claim_batch_abandon(oncelog_claim_batch* batch);
/// Releases all ids that are held, and frees the handle.
ONCELOG_API void oncelog_claim_batch_free(oncelog_claim_batch* batch);

// --- Locks.

/// A named lock of the store, for `lease_ms` from now. Waits up to `patience_ms` while another one holds it, and then
/// stores a handle that does not. The caller frees the handle. Errors: those of `Store::lock`.
ONCELOG_API oncelog_code oncelog_lock_acquire(const oncelog_store* store, const void* name, size_t name_bytes,
                                              int64_t lease_ms, int64_t patience_ms, oncelog_lock** lock,
                                              oncelog_error** error);

/// 1 while this handle holds the lock, else 0. Does not detect that the lease has expired: call oncelog_lock_renew().
ONCELOG_API int oncelog_lock_held(const oncelog_lock* lock);
/// The fencing token; 0 when nothing was taken.
ONCELOG_API uint64_t oncelog_lock_token(const oncelog_lock* lock);
/// As oncelog_claim_owner(), when the lock was not taken.
ONCELOG_API int oncelog_lock_owner(const oncelog_lock* lock, oncelog_owner* owner);
/// As oncelog_claim_renew().
ONCELOG_API oncelog_code oncelog_lock_renew(oncelog_lock* lock, int64_t lease_ms, uint8_t* held, oncelog_error** error);
/// Frees the lock at once. Nothing happens when it is not held.
ONCELOG_API void oncelog_lock_release(oncelog_lock* lock);
/// Releases the lock if it is held, and frees the handle.
ONCELOG_API void oncelog_lock_free(oncelog_lock* lock);

// --- Transactions and tables.

/// What oncelog_transact() calls. Returns 0 to commit, anything else to roll back. `transaction` is valid during the
/// call, on its thread.
typedef int (*oncelog_work)(oncelog_transaction* transaction, void* user);

/// Runs `work` and commits what it did with the transaction, fsynced: effects and marks together, or neither. Where
/// `work` returns nonzero, nothing is committed and the code is ONCELOG_ROLLED_BACK. Where a call with the transaction
/// has failed, nothing is committed whatever `work` returns, and the code and the error are those of the first that
/// failed. Errors and cost: those of `Store::transact`, which says what must not be done meanwhile.
ONCELOG_API oncelog_code oncelog_transact(const oncelog_store* store, oncelog_work work, void* user,
                                          oncelog_error** error);

/// As oncelog_mark(), with the commit. The LSN of what is fresh is not known yet: 0. Errors of this and of all calls
/// with a transaction: those of oncelog::Transaction. Each makes the transaction unusable.
ONCELOG_API oncelog_code oncelog_transaction_mark(oncelog_transaction* transaction, const oncelog_scope* scope,
                                                  const void* id, size_t id_bytes, const oncelog_attributes* attributes,
                                                  oncelog_marked* marked, oncelog_error** error);

/// Ends a claim with this commit. `owned` receives 0 when the claim was lost, and nothing will be marked for it; 1 when
/// the transaction owns the claim now, so that a rollback frees it. `attributes` is optional.
ONCELOG_API oncelog_code oncelog_transaction_complete(oncelog_transaction* transaction, oncelog_claim* claim,
                                                      const oncelog_attributes* attributes, uint8_t* owned,
                                                      oncelog_error** error);

/// Sets the value of a key in a user table. Table: 1 to 63 bytes without NUL; key: 1 to 447 bytes.
ONCELOG_API oncelog_code oncelog_transaction_put(oncelog_transaction* transaction, const void* table,
                                                 size_t table_bytes, const void* key, size_t key_bytes,
                                                 const void* value, size_t value_bytes, oncelog_error** error);

/// Stores what the table holds under the key, this transaction's own writes included; null when there is no such key.
/// Belongs to the transaction: valid until its next write.
ONCELOG_API oncelog_code oncelog_transaction_get(oncelog_transaction* transaction, const void* table,
                                                 size_t table_bytes, const void* key, size_t key_bytes,
                                                 const void** value, size_t* value_bytes, oncelog_error** error);

/// Removes a key. `was_there` is optional, and receives 1 when it was there, else 0.
ONCELOG_API oncelog_code oncelog_transaction_erase(oncelog_transaction* transaction, const void* table,
                                                   size_t table_bytes, const void* key, size_t key_bytes,
                                                   uint8_t* was_there, oncelog_error** error);

/// Receives an entry of a user table, which is valid during the call. A nonzero return ends the visits.
typedef int (*oncelog_entry_visitor)(const void* key, size_t key_bytes, const void* value, size_t value_bytes,
                                     void* user);

/// Visits the entries from key `from` on, in the order of their keys' bytes. The visitor must not write to the
/// transaction. An empty `from` is the first key.
ONCELOG_API oncelog_code oncelog_transaction_scan(oncelog_transaction* transaction, const void* table,
                                                  size_t table_bytes, const void* from, size_t from_bytes,
                                                  oncelog_entry_visitor visitor, void* user, oncelog_error** error);

/// The connection of PostgreSQL in which the transaction runs, a `PGconn*`, as oncelog::remote::connection; null on
/// other engines. Belongs to the store.
ONCELOG_API void* oncelog_transaction_connection(oncelog_transaction* transaction);

/// Stores the value of a user table's key as of the newest commit, followed by a NUL; null when there is no such key.
/// The caller frees it. Takes no lock. Errors: those of `Store::get`.
ONCELOG_API oncelog_code oncelog_get(const oncelog_store* store, const void* table, size_t table_bytes, const void* key,
                                     size_t key_bytes, const void** value, size_t* value_bytes, oncelog_error** error);

/// Visits the entries of a user table from key `from` on, in the order of their keys' bytes, as of one commit, whose
/// pages are pinned meanwhile. An empty `from` is the first key. Errors: those of `Store::scan_table`.
ONCELOG_API oncelog_code oncelog_scan_table(const oncelog_store* store, const void* table, size_t table_bytes,
                                            const void* from, size_t from_bytes, oncelog_entry_visitor visitor,
                                            void* user, oncelog_error** error);

// --- Patterns of AMQP topic exchanges; see topic.h.

/// 1 when a message with this routing key goes to a subscription with this pattern, else 0. Any thread.
ONCELOG_API int oncelog_topic_matches(const void* pattern, size_t pattern_bytes, const void* key, size_t key_bytes);

/// Stores a routing key that both patterns match, followed by a NUL; null when there is none. The caller frees it.
/// `key_bytes` is optional. Any thread. Errors: ONCELOG_INVALID_ARGUMENT for a pattern of more than 255 bytes.
ONCELOG_API oncelog_code oncelog_topic_overlaps(const void* a, size_t a_bytes, const void* b, size_t b_bytes,
                                                const char** key, size_t* key_bytes, oncelog_error** error);

#ifdef __cplusplus
}
#endif

#endif
