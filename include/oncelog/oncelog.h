#pragma once

/// @file
/// All of oncelog, and its manual.

/// @mainpage oncelog
///
/// oncelog is an embedded log of processed messages, for consumers that get messages at least once. A consumer asks it
/// "have I processed this id?" and records "I have now". All threads and processes of one host share a store.
///
/// This page is the manual: what the words mean, what is guaranteed, how to use it, what breaks and what to do about
/// it. Each function's own comment states its units, cost, errors and thread safety.
///
/// - @ref concepts
/// - @ref guarantees
/// - @ref consumer
/// - @ref patterns
/// - @ref errors
/// - @ref threads
/// - @ref caveats
/// - @ref sizing
/// - @ref operation
/// - @ref limits
///
/// @section concepts Concepts
///
/// - A **store** is a directory. Its data.mdb, an LMDB file, is the truth. Everything else in it is shared memory,
///   which is derived from data.mdb and rebuilt when it is missing (except marks that were never flushed). See
///   oncelog::Store.
/// - A **scope** is the id space of one logical consumer, usually a service. The same id in two scopes is two messages.
///   All instances of a service share its scope. See oncelog::Scope.
/// - An **id** is 1 to 1024 bytes of any kind, compared byte for byte. The sender chooses it; it must be the same in
///   every copy of a message.
/// - A **verdict** is the answer to mark() and begin(): `fresh`, `duplicate`, `in_progress`, `conflict` or `too_old`.
///   See oncelog::Verdict. Verdicts are values; what a caller cannot expect is an exception, oncelog::Error.
/// - A **record** is what the store keeps of a processed message: scope, id, time, and optionally a correlation, a
///   payload fingerprint, a result and the place it came from. See oncelog::Record and oncelog::Attributes.
/// - The **retention** is how long an id stays a duplicate: until exactly `processed_at + retention`. After that it is
///   fresh. It is fixed when the store is created. Time is cut into **buckets**, which only decide when space comes
///   back.
/// - A **claim** is the right to process one message, from begin() to complete(). At most one holder has an id at a
///   time. A claim has a **lease**: when it expires, another worker may take the claim over. An oncelog::OrphanPolicy
///   decides what the holder's death and the lease's expiry do. See oncelog::Claim.
/// - A **fencing token** is a number that grows with each claim and lock taken in the store, over reboots as well. Pass
///   it to whatever the work writes to, so that it can refuse the writes of a late holder.
/// - An **LSN** (log sequence number) is a record's address in the store's endless stream of records. LSNs grow, and
///   never change. Store::durable() is the line below which every record is on disk. See oncelog::Lsn.
/// - An **ack** says what a mark waits for. With Ack::host, the default, it returns once the mark survives the death of
///   every process on the host. With Ack::disk it returns once the mark survives a power failure. See oncelog::Ack.
/// - A **group commit** (flush) writes what all threads and processes have marked to data.mdb, with one fsync. It
///   happens every flush interval, and at once when somebody waits.
/// - **Hints** are the filter and the index in shared memory. They may name a record that does not exist; they never
///   miss one that does. The stored id decides, byte for byte.
/// - Store::known_since() is the moment since when every processed id is remembered. It is the retention's edge, or
///   later: when Options::max_bytes has made the store forget early, or after a wall clock that ran ahead for a while.
///
/// @section guarantees Guarantees
///
/// 1. **One fresh answer.** Within the retention, over all threads, processes and restarts, mark() answers `fresh` for
///    an id exactly once, unless Scope::forget makes it fresh again. Of all callers of begin(), at most one holds the
///    id at a time.
/// 2. **`kill -9` loses nothing acknowledged**, whichever processes it hits and when. Claims of dead processes are free
///    at once, unless they were taken with another OrphanPolicy. A transaction is there as a whole or not at all.
/// 3. **A power failure loses nothing below durable().** It can take marks above it, in ordinary work those of the last
///    1.5 flush intervals. Their messages are processed again, never skipped.
/// 4. **Nothing is forgotten early.** An id is a duplicate for its whole retention, whatever the clocks do while the
///    host runs. The one exception is asked for: Options::max_bytes. known_since() then says how far back the store
///    remembers.
/// 5. **A full disk loses nothing.** Marks are refused with ErrorCode::full until there is space. Checks go on.
/// 6. **data.mdb is enough.** While the store is closed, every other file may be deleted: marks that were never flushed
///    are gone, the rest is rebuilt from the log.
/// 7. **Checks do not disturb.** They take no lock. For an id that is not known they make no system call.
///
/// @section consumer The consumer loop
///
/// Begin, process, complete, wait until the record is on disk, and only then acknowledge the message to the broker:
///
/// @code{.cpp}
/// const auto store = oncelog::Store::open("/var/lib/orders/seen", {.retention = 24h});
/// const auto orders = store.scope("order-service");
///
/// void on_delivery(const Message& message) {
///   oncelog::Claim claim = orders.begin(message.id, 30s);
///   switch (claim.verdict()) {
///     case oncelog::Verdict::fresh:
///       process(message);  // If it throws, ~Claim frees the id for the next delivery.
///       if (claim.complete({}, oncelog::Ack::disk)) return acknowledge(message);
///       return give_back(message);  // The lease expired and another worker took over.
///     case oncelog::Verdict::duplicate:
///       if (claim.record()) store.wait(claim.record()->lsn);
///       return acknowledge(message);
///     case oncelog::Verdict::in_progress:
///       return give_back(message);  // Its holder may still fail: the broker has to deliver it again.
///     case oncelog::Verdict::conflict:
///     case oncelog::Verdict::too_old:
///       return dead_letter(message);
///   }
/// }
/// @endcode
///
/// - **fresh**: the message is this caller's to process. Call Claim::renew() when the work takes longer than the lease.
/// - **duplicate**: it was processed. Its record may be newer than the last fsync, so wait for it as well.
/// - **in_progress**: another worker holds it. Give it back to the broker, with a delay if the broker has one. Or pass
///   begin() some `patience`, which waits for the holder.
/// - **conflict**: the id was processed with another payload. Only with Attributes::fingerprint. A sender reuses ids:
///   nobody but a person can decide.
/// - **too_old**: the id is not known, but the message is older than all that is remembered. Only with
///   Attributes::sent_at. It may have been processed.
///
/// An exception means that nothing is known about the message: do not acknowledge it. See @ref errors.
///
/// Waiting for each record costs an fsync for each. A fast consumer completes many messages, remembers the highest LSN
/// (Completed::lsn, Marked::lsn), and acknowledges all of them once `store.durable() > lsn`. store.wait(lsn) waits for
/// that; store.sync() waits for everything so far.
///
/// The calls in short:
///
/// | call | what it does |
/// | --- | --- |
/// | `scope.contains(id)`, `scope.find(id)` | whether the id is known, and its record; takes no lock |
/// | `scope.mark(id)` | `fresh` for exactly one caller, `duplicate` for all others until the retention ends |
/// | `scope.begin(id, lease)` | claims the id; `claim.complete()` marks it, `claim.abandon()` frees it |
/// | `scope.once(id, options, work)` | runs `work` once; every caller gets the result of that run |
/// | the same with spans | many ids at once, at a fifth to a half of the cost of each |
/// | `scope.mark(id, Ack::disk)` | returns when the mark is on disk; Options::ack makes that the default |
/// | `store.durable()` | the line below which every record is on disk |
/// | `store.wait(lsn)`, `store.sync()` | wait for one record; wait for everything so far |
/// | `store.transact(work)` | effects and marks in one commit |
/// | `store.scan(range, visitor)`, `store.scopes()` | all live records in order; the names of all scopes |
/// | `store.metrics()`, `store.expire()` | figures, also for Prometheus; give space back now instead of soon |
///
/// @section patterns Patterns
///
/// Each has a program in tools/examples, which `ninja -C build` builds; tools/README.md lists them.
///
/// @subsection pattern_mark Mark, then process
///
/// @code{.cpp}
/// if (orders.mark(id) != oncelog::Verdict::fresh) return;
/// @endcode
///
/// One caller gets `fresh` and processes the message. If it dies before it is done, the message counts as processed and
/// is lost: use this only where that is acceptable, such as for notifications. It needs no claim and costs half as
/// much. Without attributes, and where nobody claims ids of the scope, the only other answer is `duplicate`.
///
/// @subsection pattern_claim Process, then mark
///
/// The consumer loop above. A holder's death frees the id. A holder whose lease expired and whose id another worker
/// took learns that from complete(), which marks nothing then. Whatever it wrote before cannot be taken back: pass
/// Claim::token() along with each write to a place that refuses smaller tokens than the largest it has seen.
///
/// @subsection pattern_batch Batches
///
/// @code{.cpp}
/// oncelog::ClaimBatch batch = orders.begin(ids, 30s);
/// const auto verdicts = batch.verdicts();
/// std::size_t done = 0;
/// for (; done < ids.size() && verdicts[done] != oncelog::Verdict::in_progress; ++done) {
///   if (verdicts[done] == oncelog::Verdict::fresh) process(messages[done]);
/// }
/// batch.abandon_from(done);  // What another worker holds, and all after it, is for a later delivery.
/// std::size_t late = 0;
/// const oncelog::Lsn lsn = batch.complete(&late);
/// if (late != 0) throw std::runtime_error("the lease was too short");  // Some ids are other workers' by now.
/// store.wait(lsn);
/// // The first `done` messages may be acknowledged.
/// @endcode
///
/// A claim in a batch costs about a third of a single one. Never hold some ids of a batch while you wait for others:
/// two workers that do so wait for each other. Scope::wait_until_free() waits and holds nothing.
///
/// @subsection pattern_transaction Effect and mark in one commit
///
/// @code{.cpp}
/// oncelog::Marked marked;
/// store.transact([&](oncelog::Transaction& tx) {
///   marked = tx.mark(payments, message.id);
///   if (marked == oncelog::Verdict::fresh) tx.put("accounts", "alice", new_balance);
/// });
/// if (marked == oncelog::Verdict::in_progress) return give_back(message);  // Claimed by another worker.
/// store.wait(marked.lsn);  // Of a duplicate. What was fresh is on disk already, and its LSN here is 0.
/// acknowledge(message);
/// @endcode
///
/// For effects that fit into the store's own tables. Both are on disk when transact() returns, or neither is, whatever
/// throws or dies. An effect elsewhere (another database, an e-mail) is not part of it: use a claim, and make the
/// effect idempotent.
///
/// @subsection pattern_business_key Business keys
///
/// A client that repeats a request gets the first answer again; another request under the same key is refused:
///
/// @code{.cpp}
/// oncelog::Claim claim = requests.begin(key, 30s, {.fingerprint = oncelog::fingerprint(body)}, 1s);
/// if (claim == oncelog::Verdict::conflict) return refuse();
/// if (claim == oncelog::Verdict::duplicate && claim.record()) {
///   store.wait(claim.record()->lsn);
///   return claim.record()->result;
/// }
/// if (!claim) return retry_later();
/// const std::string answer = process(body);
/// if (!claim.complete({.result = answer}, oncelog::Ack::disk)) return retry_later();
/// return answer;
/// @endcode
///
/// @subsection pattern_lock A single instance
///
/// @code{.cpp}
/// oncelog::Lock lock = store.lock("nightly-report", 30s);
/// if (!lock) return;
/// write_report(lock.token());  // Call lock.renew(30s) now and then, and stop when it returns false.
/// @endcode
///
/// @subsection pattern_correlation Correlation
///
/// `mark(id, {.correlation = "order-4711"})` joins the records of one business transaction over all scopes.
/// `store.correlated("order-4711")` lists them, oldest first; `scope.contains(id, "order-4711")` asks for one of them.
///
/// @subsection pattern_broadcast Broadcast and load balancing
///
/// One scope for each service, shared by the service's instances: each service processes a message once, by one of its
/// instances.
///
/// @subsection pattern_forget Processing a message again
///
/// `scope.forget(id)` makes an id fresh again. The log keeps a note of it.
///
/// @subsection pattern_too_old Messages older than the memory
///
/// `mark(id, {.sent_at = time})` answers `too_old` instead of `fresh` for an unknown id that was sent before
/// known_since(). Use it where a message can wait in a queue for longer than the retention.
///
/// @subsection pattern_source Redelivery or second message
///
/// `mark(id, {.source = {.name = "orders", .partition = 3, .offset = 17}})` notes where the broker keeps the message.
/// Of a later duplicate, `redelivered` distinguishes the broker's redelivery from a second message with the same id.
///
/// @subsection pattern_topics Overlapping subscriptions
///
/// topic::matches() and topic::overlaps() find subscriptions of one service that would get the same message twice. So
/// does `oncelog topics lint`.
///
/// @subsection pattern_log Debug log and figures
///
/// Options::on_decision is called once for each decision, on the thread that asked. Store::metrics() has the figures,
/// and Metrics::prometheus() prints them.
///
/// @section errors Errors
///
/// Everything that a caller cannot expect in ordinary work is one exception, oncelog::Error: a code to act on, a
/// sentence that names the path and, where there is one, the way out, and the path. Where a function's comment lists
/// errors, these are codes of that exception. Every function that takes an id, a name, a lease or attributes throws
/// `invalid_argument` for one outside its limits, and every use of a store throws `forked` in a child of fork().
/// std::bad_alloc is passed on.
///
/// | code | what to do |
/// | --- | --- |
/// | `full` | as the sentence says: make space on the disk, raise map_bytes or max_claims, or wait for claims to end |
/// | `io` | look at the disk. Marks are refused until a group commit succeeds; checks go on |
/// | `corrupt` | run `oncelog verify`, then `oncelog repair` or restore a backup |
/// | `in_use` | close the users that the sentence names; within a transaction, let it out of `work` and try again |
/// | `options_mismatch`, `live_dir_mismatch` | open the store with the options that the sentence names |
/// | `too_many_readers` | raise Options::max_readers |
/// | `read_only`, `forked`, `invalid_argument` | correct the program |
/// | the others | the sentence says what is wrong with the path |
///
/// When a wait for the disk fails, the answer depends on the call, and the sentence says which it is:
///
/// - Scope::mark with Ack::disk takes a fresh mark back: the id is not marked. Where that is impossible the id stays
///   marked.
/// - Claim::complete and Scope::forget stand: the id is processed, or forgotten, and is on disk once a later commit
///   succeeds.
/// - Store::wait and Store::sync change nothing. Call them again.
///
/// The failure of a commit in the background is kept: calls that accept something throw it until a commit succeeds. It
/// is tried again within a flush interval. Options::on_event reports the first failure and the recovery.
///
/// @section threads Threads, processes and fork
///
/// - Store and Scope are cheap handles: copy them, use them from many threads at once, keep a Scope longer than its
///   Store. The last handle flushes and closes. It cannot report an error, so call sync() first if you want to know.
/// - Claim, ClaimBatch, Lock and Transaction are not thread-safe: one thread at a time. The first three are movable,
///   and their destructors release what they hold.
/// - A store may be open in many processes at once. In each of them all handles on it share one engine. The first
///   handle decides on the hooks, and on flush_interval, map_bytes and max_readers. See Options.
/// - After fork() a child must not use a store of its parent; every call there throws `forked`. Open it again in the
///   child. Destroying the handles there is allowed, and releases nothing of the parent's.
/// - The library starts at least one thread for each process that has a store open for writing, and one for each event
///   hook. They take no signals.
/// - Hooks and visitors may use the store, and may destroy its last handle.
///
/// @section caveats What breaks, why, and what to do
///
/// @subsection caveats_use In use
///
/// - **contains() and then process** lets two workers process one message, as both may ask before either marks. Only
///   mark() and begin() decide.
/// - **mark() and then process** loses a message when the worker dies in between. Use begin() or transact().
/// - **Acknowledging before the record is on disk** lets a power failure forget a message that the broker will not send
///   again; a copy that comes later by another way is then processed a second time. Wait for `durable() > lsn`.
/// - **A lease shorter than the work** lets a second worker start. complete() answers false to the first, but its
///   effects are there. Choose leases for the slowest case, renew them, and check fencing tokens where you write.
/// - **A hung thread in a living process** keeps its claim until the lease expires: only the process's death frees
///   claims earlier. Do not take leases of days for work of seconds.
/// - **A reboot ends all claims and locks**, those of OrphanPolicy::keep as well, since they live in shared memory. So
///   does opening a store whose shared memory has a damaged header. Tokens keep growing.
/// - **complete() of a batch with late claims**: those ids may still be in progress with other workers. Do not
///   acknowledge them. Ask find() for each, or give all of them back.
/// - **Giving in_progress messages back at once** makes the broker deliver them in a tight loop. Delay them, or give
///   begin() some patience.
/// - **A long transaction** stops all other transactions and all flushes of the host. The ring fills meanwhile, and
///   then marks wait, too. Compute first, transact last.
/// - **A visitor of scan_table() that takes its time** pins the pages of its commit, and data.mdb grows. Collect,
///   return, then work. Store::scan pins nothing.
/// - **A hook that throws** (Options::on_decision) throws out of the call that decided. The decision stands, and a
///   claim is released. Catch inside the hook.
///
/// @subsection caveats_processes Processes
///
/// - **A process that is stopped** (SIGSTOP, a debugger, a frozen container) while it holds the store's lock or flushes
///   stops the marks of all others until it continues or dies. Checks go on. Continue it, or kill it.
/// - **A killed process's last marks** are flushed by the next process that has the store open, within about three
///   seconds (or two flush intervals more, where they are longer), or by the next that opens it. A power failure before
///   that takes them.
/// - **Containers** that share a store must share a pid namespace (`--pid`): locks and reader slots carry process ids.
///   A store that is open in another namespace is refused with `unsupported`.
/// - **Network file systems** (NFS, SMB, FUSE) lack the mmap and locks that LMDB needs, and are refused with
///   `unsupported`. Options::allow_network_filesystem insists, without any guarantee.
/// - **Opening lock.mdb of an open store by other means in the same process**, and closing it, drops LMDB's locks:
///   POSIX ties them to the process. Do not open the store's files yourself, and do not load the library twice.
/// - **An idle thread** that has looked ids up, then does nothing and does not end, keeps the space of index files that
///   have expired since. End it, or let it look something up.
/// - **A handle that only reads** still needs write access to the store's directory: LMDB's reader slots are shared
///   memory.
///
/// @subsection caveats_time Time
///
/// - **A wall clock that jumps** while the host runs never makes the store forget early. A clock that jumps ahead
///   lengthens the memory by the jump: what is marked meanwhile, and after, is kept for that much longer.
///   Options::on_event and `oncelog stat` report it. Once it has been ahead for the retention, an hour at least, it is
///   believed.
/// - **After a reboot** the first process that opens the store rebuilds the shared memory before Store::open returns:
///   from the hints that are kept on disk (Metrics::sealed_buckets), and from the log for the records that have none
///   there (Metrics::unsealed_bytes), some 5 million records a second on 2 cores. That takes memory of its own
///   meanwhile: at most a fifth of what filter and index take, in 8 buckets of one size. Open the store before you
///   subscribe.
///
/// @subsection caveats_space Space
///
/// - **data.mdb never shrinks.** Freed pages are used again. Options::max_bytes caps it, at the price of memory; a
///   backup is a compact copy. Options::map_bytes, 256 GiB unless set, is where it ends with `full`.
/// - **A burst far above expected_ids** pays for growing the index and the filter, in the background: for a while they
///   take several times the memory. Options::expected_ids, the ids of a busy retention, spares it.
/// - **After a store is deleted**, its directory in a live_dir elsewhere, or in `/dev/shm` where the store has chosen
///   that, takes memory until the next boot. Delete it as well: `oncelog stat` names it. The next store that chooses
///   `/dev/shm` deletes those whose store is gone from where it was, unless they hold unflushed marks or claims.
/// - **A host and its containers that take turns** with one store do not see the same `/dev/shm`, in which marks of a
///   killed process may wait for the disk: the next one is refused (Error::in_use) until the next boot. Give the
///   store's own directory as Options::live_dir. A systemd unit with RemoveIPC= deletes such marks, and needs the same.
/// - **Snapshots on Btrfs** undo that the shared-memory files are written in place. Put Options::live_dir elsewhere.
///
/// @subsection caveats_copies Copies and trust
///
/// - **`cp -r` of an open store** may be torn. Use Store::backup or `oncelog backup`.
/// - **A backup opened as it is** gives the fencing tokens since its making again, and calls what was processed since
///   then fresh. Use restore(). See backup.h.
/// - **A hostile data.mdb** can crash its reader. Stores of users other than you and root are refused;
///   Options::allow_foreign_owner insists. Run oncelog::verify on the directory first.
/// - **Ids are safe from chosen collisions**: the hash has a secret seed for each store. Fingerprints are not: they
///   tell payloads apart that differ by accident, not by design.
///
/// @section sizing Options worth setting
///
/// Nothing has to be set for correctness. In the order in which they matter:
///
/// - Options::retention: longer than the longest time in which a broker or a sender may repeat a message. Fixed at
///   creation.
/// - Options::expected_ids: the ids of one busy retention, so that index and filter begin at their size.
/// - Options::live_dir: a tmpfs makes the longest stall of a mark several times shorter. Stores choose `/dev/shm`
///   themselves where they can.
/// - Options::flush_interval: shorter for a smaller loss by power failure, longer for fewer fsyncs.
/// - Options::ring_bytes: larger to ride out a slow disk.
/// - Options::max_bytes: a bound on the disk, paid for with memory.
///
/// Expect 56 bytes of disk and 17 of shared memory for each id of 36 bytes; attributes take 48 bytes and their texts
/// more. A store keeps up to one bucket more than its retention. bench/README.md has all figures. They were measured on
/// a shared machine and vary with its other tenants.
///
/// @section operation Operation
///
/// - Other languages: oncelog/c.h is the same for C, in the same library.
/// - The command `oncelog` looks into a store, marks and filters ids, and repairs: tools/README.md.
/// - Metrics::prometheus() and `oncelog stat --prometheus` feed a monitor. Watch Metrics::last_error, clock_fault,
///   early_drops, and the distance from known_since to the retention's edge.
/// - Store::backup copies a store in use; restore() makes a store of a backup. See backup.h.
/// - verify() says whether a store is sound; repair() saves what is whole; rebuild_hints() makes filter and index
///   again. See verify.h and repair.h.
/// - Upgrades: a store of an earlier format is upgraded when it is opened for writing, and earlier versions refuse it
///   then. All processes must leave the old version first; a mix is refused with `in_use` or `newer_format`.
///
/// @section testing Testing a consumer
///
/// oncelog/testing.h has a store in memory, whose handles answer as any store's do, and a clock that a test moves: no
/// directory, no disk, no sleep until a lease or a retention expires.
///
/// @section limits Limits
///
/// - One host, one pid namespace, local file systems, 64-bit little-endian Linux.
/// - Ids: 1 to 1024 bytes. Scope names: 1 to 255. Correlations: up to 1024. Source names: up to 255. Lock names: 1 to
///   1024.
/// - Results: up to 1 MiB, an eighth of ring_bytes, and a thirty-second of max_bytes. So are the records of one
///   transaction together, except for the 1 MiB.
/// - User tables: names of 1 to 63 bytes without NUL, keys of 1 to 447 bytes.
/// - Retention: 1 ms to 100 years, in 2 to 14 buckets. Both are fixed when a store is created.
/// - Leases: 1 ms to 100 years. At most max_claims are held at once, 32,768 unless set, 4,194,304 at most.
/// - One transaction at a time over all processes.
/// - The first 63 scopes have counters of their own; later ones share one set. A killed process loses at most one flush
///   interval of its counts.
/// - data.mdb: up to map_bytes, 4 TiB at most.

#include <oncelog/backup.h>
#include <oncelog/claim.h>
#include <oncelog/error.h>
#include <oncelog/event.h>
#include <oncelog/metrics.h>
#include <oncelog/once.h>
#include <oncelog/options.h>
#include <oncelog/record.h>
#include <oncelog/repair.h>
#include <oncelog/scope.h>
#include <oncelog/store.h>
#include <oncelog/topic.h>
#include <oncelog/transaction.h>
#include <oncelog/verify.h>
#include <oncelog/version.h>
