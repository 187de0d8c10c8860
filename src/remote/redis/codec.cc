#include "remote/redis/codec.h"

#include <fmt/format.h>

#include "base/error.h"

namespace oncelog::internal::remote {
namespace {

constexpr std::size_t kRunBytes = 40;
constexpr std::size_t kAttemptBytes = 20;
constexpr std::int64_t kMaxExact = std::int64_t{1} << 53;

Time time_of(std::int64_t us) {
  return Time{std::chrono::microseconds{us}};
}

std::uint64_t token_in(Unpacker& in) {
  const std::uint64_t epoch = in.number(4);
  const std::uint64_t counter = in.number(8);
  in.expect(epoch < std::uint64_t{1} << (64 - kCounterBits) && counter < std::uint64_t{1} << kCounterBits);
  return token_of(epoch, counter);
}

void take_attributes(Unpacker& in, Record& record) {
  record.fingerprint = in.number(8);
  record.source.partition = static_cast<std::uint32_t>(in.number(4));
  record.source.offset = in.number(8);
  const std::size_t source = in.number(2);
  const std::size_t correlation = in.number(2);
  in.expect(source <= kMaxSourceBytes && correlation <= kMaxCorrelationBytes);
  record.source.name = in.bytes(source);
  record.correlation = in.bytes(correlation);
  record.result = in.rest();
  in.expect(record.result.size() <= kMaxResultBytes);
}

}  // namespace

void put(std::string& out, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = bytes; i > 0; --i) out += static_cast<char>((value >> (8 * (i - 1))) & 0xffu);
}

void Unpacker::expect(bool holds) const {
  if (!holds) throw Error(ErrorCode::corrupt, fmt::format("a {} on the server is not as oncelog writes it", what_));
}

std::string_view Unpacker::bytes(std::size_t count) {
  expect(count <= left_.size());
  const std::string_view taken = left_.substr(0, count);
  left_.remove_prefix(count);
  return taken;
}

std::uint64_t Unpacker::number(std::size_t count) {
  std::uint64_t value = 0;
  for (const char c : bytes(count)) value = (value << 8) | static_cast<unsigned char>(c);
  return value;
}

std::int64_t Unpacker::small_number() {
  const std::uint64_t value = number(8);
  expect(value < static_cast<std::uint64_t>(kMaxExact));
  return static_cast<std::int64_t>(value);
}

Head unpacked_head(std::string_view record) {
  Unpacker in(record, "record");
  const std::string_view state = in.bytes(1);
  in.expect(state == "P" || state == "F");
  Head head;
  head.forgotten = state == "F";
  head.time_us = in.small_number();
  head.lsn = Lsn{static_cast<std::uint64_t>(in.small_number()) * 8};
  in.expect(head.time_us <= kMaxTimeUs && head.lsn.value != 0);
  return head;
}

Record unpacked_record(std::string_view packed) {
  const Head head = unpacked_head(packed);
  Record record;
  record.processed_at = time_of(head.time_us);
  record.lsn = head.lsn;
  record.forgotten = head.forgotten;
  Unpacker in(packed.substr(kHeadBytes), "record");
  if (in.at_end()) return record;
  token_in(in);
  in.bytes(kAttemptBytes);
  if (!in.at_end()) take_attributes(in, record);
  return record;
}

std::string packed_attributes(const Attributes* given) {
  std::string out;
  if (given == nullptr) return out;
  const Attributes& all = *given;
  const bool none = all.fingerprint == 0 && all.source.name.empty() && all.correlation.empty() && all.result.empty();
  if (none) return out;
  out.reserve(24 + all.source.name.size() + all.correlation.size() + all.result.size());
  put(out, all.fingerprint, 8);
  put(out, all.source.partition, 4);
  put(out, all.source.offset, 8);
  put(out, all.source.name.size(), 2);
  put(out, all.correlation.size(), 2);
  return out.append(all.source.name).append(all.correlation).append(all.result);
}

StoredClaim unpacked_claim(std::string_view packed) {
  Unpacker in(packed, "claim");
  StoredClaim claim;
  claim.owner.deadline = time_of(in.small_number());
  claim.token = token_in(in);
  in.bytes(kAttemptBytes);
  claim.owner.process = static_cast<std::int32_t>(in.number(4));
  const std::uint64_t orphans = in.number(1);
  claim.fingerprint = in.number(8);
  in.expect(in.at_end() && claim.token != 0 && orphans <= static_cast<std::uint64_t>(OrphanPolicy::keep));
  claim.orphans = static_cast<OrphanPolicy>(orphans);
  return claim;
}

ShardState unpacked_state(std::string_view packed) {
  Unpacker in(packed, "state");
  ShardState state;
  state.time_us = in.small_number();
  state.lsn = Lsn{static_cast<std::uint64_t>(in.small_number()) * 8};
  state.token = token_in(in);
  state.since_us = in.small_number();
  state.forgotten = Lsn{static_cast<std::uint64_t>(in.small_number()) * 8};
  state.run = in.rest();
  in.expect(state.run.size() == kRunBytes);
  return state;
}

}  // namespace oncelog::internal::remote
