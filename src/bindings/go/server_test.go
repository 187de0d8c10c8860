package oncelog_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"oncelog.dev/oncelog"
)

// onServers runs a test with two handles on a store of each server that the environment names.
func onServers(t *testing.T, test func(t *testing.T, store, other *oncelog.Store)) {
	for variable, name := range map[string]string{"ONCELOG_TEST_REDIS": "prefix", "ONCELOG_TEST_POSTGRESQL": "schema"} {
		t.Run(variable, func(t *testing.T) {
			address := os.Getenv(variable)
			if address == "" {
				t.Skip(variable + " names no server")
			}
			mark := "?"
			if strings.Contains(address, "?") {
				mark = "&"
			}
			address += mark + name + "=go_" + strings.ToLower(strings.Split(t.Name(), "/")[0])
			var stores [2]*oncelog.Store
			for i := range stores {
				stores[i] = must[*oncelog.Store](t)(oncelog.Open(background, address, &oncelog.Options{Retention: time.Hour}))
				t.Cleanup(stores[i].Close)
			}
			test(t, stores[0], stores[1])
		})
	}
}

func TestHandlesOnAServerShareItsIDs(t *testing.T) {
	onServers(t, func(t *testing.T, store, other *oncelog.Store) {
		orders := must[*oncelog.Scope](t)(store.Scope("orders"))
		again := must[*oncelog.Scope](t)(other.Scope("orders"))
		ctx, cancel := context.WithCancel(background)
		defer cancel()
		same(t, "the first", oncelog.Fresh, must[oncelog.Marked](t)(orders.Mark(ctx, "m-1", nil, oncelog.AckDefault)).Verdict)
		same(t, "another", oncelog.Duplicate, must[oncelog.Marked](t)(again.Mark(ctx, "m-1", nil, oncelog.AckDefault)).Verdict)
		claim := begin(t, orders, "m-2")
		same(t, "kept alive", true, must[bool](t)(claim.KeepAlive(ctx, time.Hour)))
		same(t, "held", oncelog.InProgress, begin(t, again, "m-2").Verdict)
		same(t, "completed", true, must[oncelog.Completed](t)(claim.Complete(ctx, nil, oncelog.AckDefault)).InTime)
		same(t, "known", []bool{true, true, false}, must[[]bool](t)(again.ContainsBatch([]string{"m-1", "m-2", "m-3"})))

		once := must[oncelog.OnceResult](t)(orders.Once(ctx, "o-1", oncelog.OnceOptions{}, gives("page 7")))
		same(t, "ran", true, once.Ran)
		once = must[oncelog.OnceResult](t)(again.Once(ctx, "o-1", oncelog.OnceOptions{}, never))
		same(t, "the result", "page 7", string(once.Result))
	})
}

func TestATransactionOnAServerIsThereOrNot(t *testing.T) {
	onServers(t, func(t *testing.T, store, other *oncelog.Store) {
		orders := must[*oncelog.Scope](t)(store.Scope("orders"))
		failed := errors.New("no")
		work := func(tx *oncelog.Tx) error {
			if _, err := tx.Mark(orders, "t-1", nil); err != nil {
				return err
			}
			return failed
		}
		err := store.Transact(background, work)
		if strings.HasPrefix(t.Name(), "TestATransactionOnAServerIsThereOrNot/ONCELOG_TEST_REDIS") {
			if !errors.Is(err, oncelog.ErrUnsupported) {
				t.Error(err)
			}
			return
		}
		same(t, "rolled back", failed, err)
		same(t, "absent", false, must[bool](t)(orders.Contains("t-1")))
		failed = nil
		same(t, "committed", nil, store.Transact(background, work))
		same(t, "there", true, must[bool](t)(must[*oncelog.Scope](t)(other.Scope("orders")).Contains("t-1")))
	})
}
