/// Source coordinates: tell the broker's redelivery of one delivery from a second message with the same id, which its
/// sender may want to hear of.
///
///   source STORE

#include <oncelog/oncelog.h>

#include <cstdint>
#include <iostream>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: source STORE\n";
    return 2;
  }
  const auto store = oncelog::Store::open(argv[1]);
  const auto orders = store.scope("order-service");

  // As Kafka numbers them: a topic, a partition in it, an offset in that.
  const auto consume = [&](std::uint32_t partition, std::uint64_t offset) {
    const oncelog::Marked marked =
        orders.mark("message-1", {.source = {.name = "orders", .partition = partition, .offset = offset}});
    std::cout << "orders/" << partition << '/' << offset << ": " << to_string(marked.verdict);
    if (marked == oncelog::Verdict::duplicate) {
      std::cout << (marked.redelivered ? ", delivered again" : ", sent again");
    }
    std::cout << '\n';
  };
  consume(3, 17);
  consume(3, 17);
  consume(3, 18);

  const auto record = orders.find("message-1");
  std::cout << "processed from " << record->source.name << '/' << record->source.partition << '/'
            << record->source.offset << '\n';
}
