#include "bindings/c/records.h"

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <optional>

#include "base/error.h"
#include "bindings/c/call.h"
#include "bindings/c/structs.h"

namespace oncelog::internal::c {
namespace {

constexpr std::array kTexts{&oncelog_record::scope, &oncelog_record::id, &oncelog_record::correlation,
                            &oncelog_record::result, &oncelog_record::source_name};

char* allocate(std::size_t bytes) {
  return static_cast<char*>(::operator new(bytes));
}

/// Has the text lie at `at`, with a NUL behind it, and `at` behind that.
void move_text(oncelog_text& text, char*& at) {
  char* const begin = at;
  at = std::copy_n(text.data, text.size, at);
  *at++ = '\0';
  text.data = begin;
}

std::size_t text_bytes(const oncelog_record& record) {
  std::size_t bytes = 0;
  for (const auto text : kTexts) bytes += (record.*text).size + 1;
  return bytes;
}

void move_texts(oncelog_record& record, char*& at) {
  for (const auto text : kTexts) move_text(record.*text, at);
}

}  // namespace

oncelog_record view(const Record& record) {
  oncelog_record shown = {};
  shown.size = sizeof shown;
  shown.scope = view(record.scope);
  shown.id = view(record.id);
  shown.correlation = view(record.correlation);
  shown.result = view(record.result);
  shown.source_name = view(record.source.name);
  shown.source_offset = record.source.offset;
  shown.fingerprint = record.fingerprint;
  shown.processed_at_us = us_of(record.processed_at);
  shown.lsn = record.lsn.value;
  shown.source_partition = record.source.partition;
  shown.forgotten = record.forgotten ? 1 : 0;
  return shown;
}

Record record_of(const oncelog_record* given) {
  const oncelog_record known = known_part(given, "oncelog_record");
  check_reserved(known.reserved, sizeof known.reserved, "oncelog_record");
  if (known.forgotten > 1) refuse("oncelog_record.forgotten is neither 0 nor 1");
  Record record;
  record.scope = text(known.scope, "oncelog_record.scope");
  record.id = text(known.id, "oncelog_record.id");
  record.correlation = text(known.correlation, "oncelog_record.correlation");
  record.result = text(known.result, "oncelog_record.result");
  record.source = {std::string(text(known.source_name, "oncelog_record.source_name")), known.source_partition,
                   known.source_offset};
  record.fingerprint = known.fingerprint;
  record.processed_at = time_of(known.processed_at_us);
  record.forgotten = known.forgotten == 1;
  return record;
}

const char* block_of(std::string_view text) {
  char* const block = allocate(text.size() + 1);
  *std::copy(text.begin(), text.end(), block) = '\0';
  return block;
}

const oncelog_record* block_of(const Record& record) {
  const oncelog_record shown = view(record);
  char* const block = allocate(sizeof shown + text_bytes(shown));
  auto* const copy = std::construct_at(reinterpret_cast<oncelog_record*>(block), shown);
  char* at = block + sizeof shown;
  move_texts(*copy, at);
  return copy;
}

const oncelog_once_result* block_of(const OnceResult& result) {
  oncelog_once_result shown = {};
  shown.size = sizeof shown;
  shown.result = view(result.result);
  shown.lsn = result.lsn.value;
  shown.verdict = static_cast<oncelog_verdict>(result.verdict);
  shown.ran = result.ran ? 1 : 0;
  char* const block = allocate(sizeof shown + shown.result.size + 1);
  auto* const copy = std::construct_at(reinterpret_cast<oncelog_once_result*>(block), shown);
  char* at = block + sizeof shown;
  move_text(copy->result, at);
  return copy;
}

const oncelog_record* const* block_of(std::span<const std::optional<Record>> found) {
  std::size_t records = 0;
  std::size_t bytes = 0;
  for (const auto& one : found) {
    if (!one) continue;
    ++records;
    bytes += text_bytes(view(*one));
  }
  // The array, the records, their texts.
  const std::size_t of_array = found.size() * sizeof(const oncelog_record*);
  char* const block = allocate(of_array + records * sizeof(oncelog_record) + bytes);
  auto* const array = reinterpret_cast<const oncelog_record**>(block);
  auto* record = reinterpret_cast<oncelog_record*>(block + of_array);
  char* at = block + of_array + records * sizeof(oncelog_record);
  for (std::size_t i = 0; i < found.size(); ++i) {
    oncelog_record* const place = found[i] ? record++ : nullptr;
    std::construct_at(array + i, place);
    if (place != nullptr) move_texts(*std::construct_at(place, view(*found[i])), at);
  }
  return array;
}

const oncelog_text* block_of(const std::vector<std::string>& texts) {
  std::size_t bytes = texts.size() * sizeof(oncelog_text);
  char* at = nullptr;
  for (const auto& text : texts) bytes += text.size() + 1;
  char* const block = allocate(bytes);
  auto* const array = reinterpret_cast<oncelog_text*>(block);
  at = block + texts.size() * sizeof(oncelog_text);
  for (std::size_t i = 0; i < texts.size(); ++i) move_text(*std::construct_at(array + i, view(texts[i])), at);
  return array;
}

}  // namespace oncelog::internal::c

void oncelog_free(const void* memory) {
  ::operator delete(const_cast<void*>(memory));
}
