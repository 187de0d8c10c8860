#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include <oncelog/error.h>
#include <oncelog/record.h>

#include "csv.h"
#include "fuzz.h"
#include "id_extractor.h"
#include "line_reader.h"

using namespace oncelog::tool;
using nlohmann::json;
using oncelog::kMaxIdBytes;
using oncelog::fuzzing::Input;
using oncelog::fuzzing::require;

namespace {

/// What a plain reading of the text gives for one value: its text, none, or unknown, where the second parser says less
/// than the first.
struct Expected {
  bool unknown = false;
  std::optional<std::string> text = std::nullopt;
  std::optional<double> number = std::nullopt;  // One that is not whole: known as far as a double goes.
};

/// Receives what nlohmann's parser says of an error.
class Reasons : public nlohmann::detail::json_sax_dom_parser<json> {
 public:
  explicit Reasons(json& document) : json_sax_dom_parser(document, false) {}

  template <typename Exception>
  bool parse_error(std::size_t, const std::string&, const Exception& error) {
    beyond_double = error.id == 406;
    return false;
  }

  bool beyond_double = false;  // A number: valid, but more than it can hold.
};

/// RFC 6901, again: nothing when it is no pointer.
std::optional<std::vector<std::string>> tokens_of(std::string_view pointer) {
  std::vector<std::string> tokens;
  if (pointer.empty()) return tokens;
  if (pointer[0] != '/') return std::nullopt;
  for (std::size_t i = 0; i < pointer.size(); ++i) {
    if (pointer[i] == '/') {
      tokens.emplace_back();
    } else if (pointer[i] != '~') {
      tokens.back() += pointer[i];
    } else {
      if (i + 1 == pointer.size() || (pointer[i + 1] != '0' && pointer[i + 1] != '1')) return std::nullopt;
      tokens.back() += pointer[++i] == '0' ? '~' : '/';
    }
  }
  return tokens;
}

const json* value_at(const json& root, const std::vector<std::string>& tokens) {
  const json* at = &root;
  for (const std::string& token : tokens) {
    if (at->is_object()) {
      const auto found = at->find(token);
      if (found == at->end()) return nullptr;
      at = &*found;
    } else if (at->is_array()) {
      const bool digits = !token.empty() && token.find_first_not_of("0123456789") == std::string::npos;
      if (!digits || (token.size() > 1 && token[0] == '0') || token.size() > 9) return nullptr;
      const std::size_t index = std::strtoul(token.c_str(), nullptr, 10);
      if (index >= at->size()) return nullptr;
      at = &(*at)[index];
    } else {
      return nullptr;
    }
  }
  return at;
}

bool has_half_a_pair(std::string_view text) {
  for (std::size_t at = text.find("\\u"); at != std::string_view::npos; at = text.find("\\u", at + 1)) {
    if (at + 3 < text.size() && (text[at + 2] | 0x20) == 'd' &&
        std::string_view("89abcdefABCDEF").find(text[at + 3]) != std::string_view::npos) {
      return true;
    }
  }
  return false;
}

/// As its header says: the last of equal keys, unescaped; numbers by value; no null, object or array.
std::vector<Expected> expected_json(std::string_view text, const std::vector<std::vector<std::string>>& pointers) {
  json root;
  Reasons reasons(root);
  // A NUL is the end of the text to nlohmann's parser, and nowhere allowed to the grammar.
  const bool has_nul = text.find('\0') != std::string_view::npos;
  const bool valid = !has_nul && json::sax_parse(text, &reasons);
  std::vector<Expected> out;
  for (const auto& pointer : pointers) {
    Expected expected;
    if (!valid) {
      // The text may be valid to others, or become invalid only after this place.
      expected.unknown = !has_nul && (reasons.beyond_double || has_half_a_pair(text));
    } else if (const json* const value = value_at(root, pointer)) {
      if (value->is_string()) {
        expected.text = value->get<std::string>();
      } else if (value->is_boolean()) {
        expected.text = value->get<bool>() ? "true" : "false";
      } else if (value->is_number_integer()) {
        expected.text = value->is_number_unsigned() ? std::to_string(value->get<std::uint64_t>())
                                                    : std::to_string(value->get<std::int64_t>());
      } else if (value->is_number()) {
        expected.number = value->get<double>();
      }
    }
    out.push_back(std::move(expected));
  }
  return out;
}

/// RFC 4180 as Python's csv reads it, a character at a time.
Expected expected_csv(std::string_view record, char delimiter, unsigned number) {
  if (record.ends_with('\r')) record.remove_suffix(1);
  if (record.starts_with("\xef\xbb\xbf")) record.remove_prefix(3);
  std::vector<std::optional<std::string>> fields(1, std::string());
  enum class In { begin, bare, quoted, quote } in = In::begin;
  for (const char c : record) {
    if (in == In::quoted) {
      if (c == '"') {
        in = In::quote;
      } else {
        *fields.back() += c;
      }
    } else if (in == In::quote && c == '"') {
      *fields.back() += '"';
      in = In::quoted;
    } else if (c == delimiter) {
      fields.emplace_back(std::string());
      in = In::begin;
    } else if (in == In::begin && c == '"') {
      in = In::quoted;
    } else {
      *fields.back() += c;
      in = In::bare;
    }
  }
  if (in == In::quoted) fields.back().reset();
  return {false, number <= fields.size() ? fields[number - 1] : std::nullopt};
}

Expected expected_field(std::string_view line, std::optional<char> delimiter, unsigned number) {
  std::vector<std::string> fields;
  std::string field;
  for (const char c : line) {
    const bool ends = delimiter ? c == *delimiter : c == ' ' || c == '\t' || c == '\n';
    if (!ends) {
      field += c;
    } else {
      if (delimiter || !field.empty()) fields.push_back(field);
      field.clear();
    }
  }
  if (delimiter || !field.empty()) fields.push_back(field);
  return {false, number <= fields.size() ? std::optional(fields[number - 1]) : std::nullopt};
}

/// Compares an id with the values that it is to be made of.
void check_id(const std::optional<std::string_view>& id, const std::vector<Expected>& values, std::string_view line) {
  require(!id || (!id->empty() && id->size() <= kMaxIdBytes), "an id has a length that a store takes");
  for (const Expected& value : values) {
    if (value.unknown) return;
  }
  std::string joined;
  for (const Expected& value : values) {
    if (value.number) {
      if (values.size() > 1) return;
      if (!id) {
        require(line.size() > kMaxIdBytes / 2 || std::abs(*value.number) < 1e-300, "a number is an id");
        return;
      }
      require(std::strtod(std::string(*id).c_str(), nullptr) == *value.number, "a number's id is its value");
      require(id->find_first_not_of("-.0123456789") == std::string_view::npos, "a number's id is in plain decimals");
      const bool point = id->find('.') != std::string_view::npos;
      require(!point || (!id->ends_with('0') && !id->ends_with('.')), "a number has one text");
      return;
    }
    if (!value.text || value.text->empty() || value.text->size() > kMaxIdBytes) {
      require(!id, "where a value is missing, empty or too long there is no id");
      return;
    }
    if (values.size() == 1) {
      joined = *value.text;
    } else {
      joined.append(std::to_string(value.text->size())).append(1, ':').append(*value.text).append(1, ',');
    }
  }
  require(id.has_value() == (joined.size() <= kMaxIdBytes), "there is an id unless it is too long");
  require(!id || *id == joined, "the id is made of its values");
}

/// A line as LineReader delivers it: bytes that may be read, but do not count, follow.
std::optional<std::string> extract(IdExtractor& extractor, std::string_view line, char padding) {
  std::string padded(line);
  padded.append(LineReader::kPadding, padding);
  const auto id = extractor.extract(std::string_view(padded).substr(0, line.size()));
  std::optional<std::string> copy;
  if (id) copy.emplace(*id);
  extractor.forget();
  return copy;
}

void check_source(const IdSource& source, std::string_view line, const std::vector<Expected>& values, char line_end) {
  IdExtractor extractor(source, line_end);
  const auto id = extract(extractor, line, '\0');
  require(id == extract(extractor, line, '"') && id == extract(extractor, line, '1'),
          "neither what follows a line nor the line before it changes its id");
  check_id(id, values, line);
}

void check_json(Input& input) {
  std::vector<std::string> pointers;
  std::vector<std::vector<std::string>> tokens;
  bool all_valid = true;
  for (std::size_t count = 1 + input.number<std::uint8_t>() % 2; count != 0; --count) {
    pointers.emplace_back(input.line());
    const auto taken = tokens_of(pointers.back());
    all_valid = all_valid && taken.has_value();
    if (taken) tokens.push_back(*taken);
  }
  const std::string_view line = input.text(1 << 16);
  const JsonPointers source{pointers};
  try {
    const IdExtractor extractor(source, '\0');
    require(all_valid, "what is no pointer is refused");
  } catch (const oncelog::Error& error) {
    require(!all_valid && error.code() == oncelog::ErrorCode::invalid_argument, "a pointer is taken");
    return;
  }
  std::string_view text = line;
  if (text.ends_with('\0')) text.remove_suffix(1);
  check_source(source, line, expected_json(text, tokens), '\0');
}

void check_csv_records(std::string_view bytes, char delimiter, std::size_t step) {
  // However the bytes come in, records end at the same places.
  CsvRecords whole(delimiter);
  CsvRecords parts(delimiter);
  std::size_t begin = 0;
  std::size_t fed = 0;
  while (begin < bytes.size()) {
    const std::size_t end = whole.end(bytes.substr(begin));
    std::size_t found = std::string_view::npos;
    while (found == std::string_view::npos && fed < bytes.size()) {
      const std::string_view chunk = bytes.substr(fed, step);
      found = parts.end(chunk);
      fed += found == std::string_view::npos ? chunk.size() : found;
    }
    require((end == std::string_view::npos) == (found == std::string_view::npos), "a record ends, or does not");
    if (end == std::string_view::npos) return;
    begin += end;
    require(begin == fed, "a record ends at one place");
  }
}

void check_fields(Input& input, bool csv) {
  Fields fields;
  fields.csv = csv;
  const auto delimiter = static_cast<char>(input.number<std::uint8_t>());
  const bool usual = input.number<std::uint8_t>() % 2 == 0;
  if (usual && csv) {
    fields.delimiter = ',';
  } else if (!usual && delimiter != '"' && delimiter != '\n' && delimiter != '\r') {
    fields.delimiter = delimiter;
  }
  for (std::size_t count = 1 + input.number<std::uint8_t>() % 2; count != 0; --count) {
    fields.numbers.push_back(1 + input.number<std::uint8_t>() % 6);
  }
  const std::string_view line = input.text(1 << 16);
  std::string_view text = line;
  if (text.ends_with('\0')) text.remove_suffix(1);
  const char used = fields.delimiter.value_or(',');
  std::vector<Expected> values;
  for (const unsigned number : fields.numbers) {
    values.push_back(csv ? expected_csv(text, used, number) : expected_field(text, fields.delimiter, number));
  }
  check_source(fields, line, values, '\0');
  if (csv) check_csv_records(line, used, 1 + static_cast<unsigned char>(delimiter) % 7);
}

void check_whole(Input& input) {
  const std::string_view both = input.text(1 << 16);
  IdExtractor extractor(WholeLine{}, '\n');
  const std::string_view first = both.substr(0, both.find('\n'));
  const std::string_view second = first.size() == both.size() ? "" : both.substr(first.size() + 1);
  const auto id = extract(extractor, first, '\0');
  const auto other = extract(extractor, second, '\0');
  require(id && !id->empty() && id->size() <= kMaxIdBytes, "a line is always an id");
  std::string_view second_line = second;
  if (second_line.ends_with('\n')) second_line.remove_suffix(1);
  require((*id == *other) == (first == second_line), "other lines are other ids");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  switch (input.number<std::uint8_t>() % 8) {
    case 0:
      check_whole(input);
      break;
    case 1:
      check_fields(input, false);
      break;
    case 2:
    case 3:
      check_fields(input, true);
      break;
    default:
      check_json(input);
  }
  return 0;
}
