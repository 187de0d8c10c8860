// An order service that gets each message at least once, and takes each payment once. Run it twice: the second time
// everything is a duplicate.
//
//	go run ./examples/order-service STORE
//
// Its handler is written against four methods, as handlers usually are, and knows nothing of oncelog. The payment it
// makes is claimed instead, which keeps its result and its correlation with the id.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"oncelog.dev/oncelog"
)

type message struct {
	id, order string
	cents     int
}

// idempotency is what the handler is written against.
type idempotency interface {
	IsProcessed(id string) (bool, error)
	MarkProcessed(id string) error
	AcquireLock(key string, ttl time.Duration) (bool, error)
	ReleaseLock(key string) error
}

var errBusy = errors.New("another worker has the order; deliver the message again later")

type service struct {
	seen     idempotency
	payments *oncelog.Scope
}

// handle processes a message of an order under the order's lock.
func (s *service) handle(ctx context.Context, m message) (err error) {
	locked, err := s.seen.AcquireLock("order/"+m.order, 30*time.Second)
	if err != nil {
		return err
	}
	if !locked {
		return errBusy
	}
	defer func() {
		if released := s.seen.ReleaseLock("order/" + m.order); err == nil {
			err = released
		}
	}()
	// Under the lock, so that nobody marks the message between this and MarkProcessed.
	if done, err := s.seen.IsProcessed(m.id); done || err != nil {
		return err
	}
	receipt, err := s.pay(ctx, m)
	if err != nil {
		return err
	}
	fmt.Printf("message %s: order %s, %s\n", m.id, m.order, receipt)
	return s.seen.MarkProcessed(m.id)
}

// pay takes the payment of an order once, whichever messages ask for it.
func (s *service) pay(ctx context.Context, m message) (string, error) {
	amount := fmt.Sprint(m.cents)
	claim, err := s.payments.Begin(ctx, m.order, oncelog.BeginOptions{
		Lease:    30 * time.Second,
		Patience: 5 * time.Second,
		Attributes: &oncelog.Attributes{
			Correlation: "order " + m.order,
			Fingerprint: oncelog.Fingerprint([]byte(amount)),
		},
	})
	if err != nil {
		return "", err
	}
	defer claim.Abandon()
	switch claim.Verdict {
	case oncelog.Fresh:
		// The payment provider gets the token, and refuses one that is lower than another it has seen.
		receipt := fmt.Sprintf("paid %s cents", amount)
		done, err := claim.Complete(ctx, &oncelog.Attributes{Result: []byte(receipt)}, oncelog.AckDisk)
		if err == nil && !done.InTime {
			err = errors.New("the claim of the payment was lost")
		}
		return receipt, err
	case oncelog.Duplicate:
		if claim.Record == nil {
			return "", errBusy // Its retention has just ended.
		}
		return string(claim.Record.Result) + " before", nil
	case oncelog.Conflict:
		return "refused: it was paid with another amount", nil
	default:
		return "", errBusy
	}
}

// report prints what belongs to an order, and the figures that a monitor would scrape.
func report(ctx context.Context, store *oncelog.Store, order string) error {
	err := store.Correlated(ctx, "order "+order, func(r *oncelog.Record) bool {
		fmt.Printf("order %s: %s %s: %s\n", order, r.Scope, r.ID, r.Result)
		return true
	})
	if err != nil {
		return err
	}
	metrics, err := store.Metrics()
	if err != nil {
		return err
	}
	for _, line := range strings.Split(metrics, "\n") {
		if strings.HasPrefix(line, "oncelog_ids") || strings.HasPrefix(line, "oncelog_process_decisions_total{") {
			fmt.Println(line)
		}
	}
	return nil
}

func run(ctx context.Context, place string) error {
	debug := log.New(os.Stderr, "debug: ", 0)
	store, err := oncelog.Open(ctx, place, &oncelog.Options{
		OnDecision: func(d oncelog.Decision) { debug.Printf("%s %q is %v", d.Scope, d.ID, d.Verdict) },
		OnEvent:    func(kind oncelog.EventKind, sentence string) { log.Printf("%v: %s", kind, sentence) },
	})
	if err != nil {
		return err
	}
	defer store.Close()
	seen, err := oncelog.NewIdempotencyStore(ctx, store, "order-service")
	if err != nil {
		return err
	}
	payments, err := store.Scope("payments")
	if err != nil {
		return err
	}
	s := &service{seen, payments}
	// As a broker would: m-1 is delivered twice, order 17 is sent under two ids, and once with another amount.
	for _, m := range []message{{"m-1", "17", 1250}, {"m-1", "17", 1250}, {"m-2", "17", 1250}, {"m-3", "18", 300}, {"m-4", "17", 9}} {
		if err := s.handle(ctx, m); err != nil {
			return fmt.Errorf("message %s: %w", m.id, err)
		}
	}
	// Now the messages may be acknowledged to the broker.
	if err := store.Sync(ctx); err != nil {
		return err
	}
	return report(ctx, store, "17")
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: order-service STORE")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}
