package oncelog_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"oncelog.dev/oncelog"
)

func Example() {
	ctx := context.Background()
	place, err := os.MkdirTemp("", "oncelog-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(place)
	store, err := oncelog.Open(ctx, place, &oncelog.Options{LiveDir: place})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	orders, err := store.Scope("order-service")
	if err != nil {
		log.Fatal(err)
	}
	for _, id := range []string{"m-1", "m-2", "m-1"} {
		claim, err := orders.Begin(ctx, id, oncelog.BeginOptions{Lease: 30 * time.Second})
		if err != nil {
			log.Fatal(err)
		}
		if claim.Verdict == oncelog.Fresh {
			// Process the message here. Where that fails, claim.Abandon() lets the next worker have it.
			if _, err := claim.Complete(ctx, nil, oncelog.AckDisk); err != nil {
				log.Fatal(err)
			}
		}
		fmt.Println(id, claim.Verdict)
	}
	// Output:
	// m-1 fresh
	// m-2 fresh
	// m-1 duplicate
}
