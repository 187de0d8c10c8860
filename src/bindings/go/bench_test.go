package oncelog_test

import (
	"fmt"
	"testing"
	"time"

	"oncelog.dev/oncelog"
)

const batch = 1000

// benchmarkIDs are made before the clock runs: a round's ids are new ones.
func benchmarkIDs(b *testing.B, rounds int) [][]string {
	ids := make([][]string, rounds)
	for round := range ids {
		ids[round] = make([]string, batch)
		for i := range ids[round] {
			ids[round][i] = fmt.Sprintf("order-%016d", round*batch+i)
		}
	}
	return ids
}

// perID runs one round for each of b.N, and reports what an id of it costs.
func perID(b *testing.B, rounds int, run func(*oncelog.Scope, []string)) {
	store := openStore(b, &oncelog.Options{ExpectedIDs: 10_000_000})
	orders := must[*oncelog.Scope](b)(store.Scope("orders"))
	ids := benchmarkIDs(b, rounds)
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	for i := 0; i < b.N; i++ {
		run(orders, ids[i%rounds])
	}
	took := time.Since(start)
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*batch), "ns/id")
}

func BenchmarkContains1000Singly(b *testing.B) {
	perID(b, 1, func(orders *oncelog.Scope, ids []string) {
		for _, id := range ids {
			if known, err := orders.Contains(id); known || err != nil {
				b.Fatal(known, err)
			}
		}
	})
}

func BenchmarkContains1000InABatch(b *testing.B) {
	perID(b, 1, func(orders *oncelog.Scope, ids []string) {
		if known, err := orders.ContainsBatch(ids); known[0] || err != nil {
			b.Fatal(known[0], err)
		}
	})
}

func BenchmarkMark1000FreshSingly(b *testing.B) {
	perID(b, b.N, func(orders *oncelog.Scope, ids []string) {
		for _, id := range ids {
			if marked, err := orders.Mark(background, id, nil, oncelog.AckHost); err != nil || marked.Verdict != oncelog.Fresh {
				b.Fatal(marked, err)
			}
		}
	})
}

func BenchmarkMark1000FreshInABatch(b *testing.B) {
	perID(b, b.N, func(orders *oncelog.Scope, ids []string) {
		marked, err := orders.MarkBatch(background, ids, nil, oncelog.AckHost)
		if err != nil || marked[batch-1].Verdict != oncelog.Fresh {
			b.Fatal(marked, err)
		}
	})
}
