#include <csignal>

#include <oncelog/oncelog.h>

// stopped_writer DIR: stops itself in the middle of a transaction, as an operator's SIGSTOP may stop any process. Until
// it goes on nobody can write to the store's data.mdb.
int main(int, char** argv) {
  using namespace oncelog;
  const Store store = Store::open(argv[1]);
  store.transact([](Transaction& tx) {
    tx.put("t", "key", "value");
    std::raise(SIGSTOP);
  });
  return 0;
}
