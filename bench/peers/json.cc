#include <fmt/format.h>

#include <iterator>

#include "results.h"

namespace oncelog::bench {
namespace {

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < ' ') {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string join(const std::vector<std::string>& parts, std::string_view between) {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += between;
    text += part;
  }
  return text;
}

std::string object(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::vector<std::string> members;
  for (const auto& [name, value] : pairs) members.push_back(json_string(name) + ": " + json_string(value));
  return fmt::format("{{{}}}", join(members, ", "));
}

std::string object(const Row& row) {
  return fmt::format(
      "{{\"peer\": {}, \"work\": {}, \"ids\": {}, \"held\": {}, \"value\": {:.6g}, \"operations\": {}, \"fresh\": {}, "
      "\"duplicate\": {}, \"wrong\": {}, \"limited\": {}, \"samples\": {}, \"max_ns\": {}, \"quantiles_ns\": [{}], "
      "\"note\": {}}}",
      json_string(row.peer), json_string(row.work), row.ids, row.held, row.value, row.operations, row.fresh,
      row.duplicate, row.wrong, row.limited, row.samples, row.max_ns, joined(row.quantiles_ns), json_string(row.note));
}

}  // namespace

std::string to_json(const Results& results) {
  std::vector<std::string> rows;
  for (const Row& row : results.rows) rows.push_back(object(row));
  return fmt::format("{{\"date\": {},\n\"facts\": {},\n\"peers\": {},\n\"shares\": [{}],\n\"rows\": [\n{}\n]}}\n",
                     json_string(results.date), object(results.facts), object(results.peers), joined(kShares),
                     join(rows, ",\n"));
}

}  // namespace oncelog::bench
