package oncelog

import (
	"context"
	"time"
)

// OnceOptions say how Once runs its function. The zero value of each field is its default.
type OnceOptions struct {
	Lease       time.Duration // How long the id is claimed at a time, 1 ms to 100 years; 0: 30 s.
	NoKeepAlive bool          // Do not renew the lease while the function runs.
	MaxRuntime  time.Duration // How long the lease is renewed, 1 ms to 100 years; 0: an hour.
	Patience    time.Duration // How long to wait while another one runs the id; 0: 30 s; negative: not at all. See Forever.
	Attributes  *Attributes   // Kept in the record; optional. Without a Result.
	Ack         Ack           // What the mark waits for.
}

// OnceResult is what Once answers.
type OnceResult struct {
	// Fresh: this call ran the function, and its result stands. Duplicate: another call's does. InProgress: there is none
	// yet, as another one holds the id, or this call has lost it. Conflict, TooOld: as Begin decides.
	Verdict Verdict
	Ran     bool   // Whether this call ran the function. With another verdict than Fresh its result was dropped.
	Result  []byte // What stands for the id, when the verdict is Fresh or Duplicate.
	LSN     LSN    // The record's; 0 where there is none.
}

func (o *OnceOptions) withDefaults() OnceOptions {
	with := *o
	if with.Lease == 0 {
		with.Lease = 30 * time.Second
	}
	if with.MaxRuntime == 0 {
		with.MaxRuntime = time.Hour
	}
	if with.Patience == 0 {
		with.Patience = 30 * time.Second
	}
	return with
}

// Once runs work once for the id within the retention, over all goroutines and processes. Later callers get its result
// without a run; one that comes meanwhile waits for it. An error of work frees the id and is returned as it is; so does a
// panic. A process that dies, or a lease that expires, lets another one run it again: the effect is done at least once.
//
// The context ends the wait, and is given to work. What work has returned without an error is marked even where the
// context has ended meanwhile, since the work is done. Do not ask for the same id within work: it would wait for itself.
func (s *Scope) Once(
	ctx context.Context, id string, options OnceOptions, work func(context.Context) ([]byte, error),
) (OnceResult, error) {
	if options.Attributes != nil && len(options.Attributes.Result) != 0 {
		return OnceResult{}, &Error{Code: ErrInvalidArgument, Sentence: "the result of Once is what its function returns"}
	}
	with := options.withDefaults()
	for {
		claim, err := s.Begin(ctx, id, BeginOptions{with.Lease, with.Patience, with.Attributes})
		switch {
		case err != nil:
			return OnceResult{}, err
		case claim.Verdict == Fresh:
			return s.runOnce(ctx, id, claim, &with, work)
		case claim.Record != nil:
			return onceOf(claim.Record, claim.Verdict), nil
		case claim.Verdict == Duplicate, claim.Verdict == Conflict && claim.Owner == nil:
			// The record has expired since the decision, so the id is fresh again.
		default:
			return OnceResult{Verdict: claim.Verdict}, nil
		}
	}
}

func (s *Scope) runOnce(
	ctx context.Context, id string, claim *Claim, with *OnceOptions, work func(context.Context) ([]byte, error),
) (OnceResult, error) {
	defer claim.Abandon()
	if !with.NoKeepAlive {
		// A claim that is lost already is noticed when it is completed.
		if _, err := claim.KeepAlive(ctx, with.MaxRuntime); err != nil {
			return OnceResult{}, err
		}
	}
	result, err := work(ctx)
	if err != nil {
		return OnceResult{}, err
	}
	done, err := claim.Complete(context.Background(), &Attributes{Result: result}, with.Ack)
	if err != nil {
		return OnceResult{}, err
	}
	if done.InTime {
		return OnceResult{Fresh, true, result, done.LSN}, nil
	}
	// Whoever has taken the id decides what stands for it.
	late := OnceResult{Verdict: InProgress}
	record, err := s.Find(id)
	if err != nil {
		return OnceResult{}, err
	}
	if record != nil {
		late = onceOf(record, Duplicate)
	}
	late.Ran = true
	return late, nil
}

func onceOf(record *Record, verdict Verdict) OnceResult {
	once := OnceResult{Verdict: verdict, LSN: record.LSN}
	if verdict == Duplicate { // The result of a conflict answers another payload.
		once.Result = record.Result
	}
	return once
}
