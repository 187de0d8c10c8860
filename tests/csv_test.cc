#include "csv.h"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace oncelog::tool;

namespace {

std::optional<std::string> field(std::string_view record, unsigned number) {
  std::string scratch;
  const auto value = csv_field(record, ',', number, scratch);
  return value ? std::optional<std::string>(*value) : std::nullopt;
}

/// The records of a text that comes in in pieces of this size; the last one may lack its end.
std::vector<std::string> records(std::string_view text, std::size_t piece) {
  CsvRecords splitter(',');
  std::vector<std::string> found(1);
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size()))) {
    for (std::string_view bytes = text.substr(0, piece); !bytes.empty();) {
      const std::size_t end = splitter.end(bytes);
      found.back() += bytes.substr(0, end);
      if (end == std::string_view::npos) break;
      found.emplace_back();
      bytes.remove_prefix(end);
    }
  }
  return found;
}

}  // namespace

TEST_CASE("a CSV field is what stands between delimiters, without its quotes") {
  const std::string_view record = R"(plain,"quoted","a,b","say ""hi""",,"",last)";
  CHECK(field(record, 1) == "plain");
  CHECK(field(record, 2) == "quoted");
  CHECK(field(record, 3) == "a,b");
  CHECK(field(record, 4) == "say \"hi\"");
  CHECK(field(record, 5) == "");
  CHECK(field(record, 6) == "");
  CHECK(field(record, 7) == "last");
  CHECK(field(record, 8) == std::nullopt);
  CHECK(field("\"two\nlines\",x", 1) == "two\nlines");
  CHECK(field("\"two\nlines\",x", 2) == "x");
}

TEST_CASE("quotes where RFC 4180 has none are bytes like any, and one that is not closed ends in nothing") {
  CHECK(field(R"(5" pipe,x)", 1) == "5\" pipe");
  CHECK(field(R"(5" pipe,x)", 2) == "x");
  CHECK(field(R"("a"b"c,x)", 1) == "ab\"c");
  CHECK(field(R"("a"b"c,x)", 2) == "x");
  CHECK(field(R"(x,"open)", 1) == "x");
  CHECK(field(R"(x,"open)", 2) == std::nullopt);
  CHECK(field(R"("open,x)", 2) == std::nullopt);
  CHECK(field(R"(")", 1) == std::nullopt);
}

TEST_CASE("a byte order mark before a CSV record is no part of its first field") {
  const std::string mark(kByteOrderMark);
  const std::string text = mark + "\"a\nb\",c\n" + mark + "\"d\ne\"\n\xef\"f\n\"g\nh\"\n\xef\xbb\"i\n";
  const std::vector<std::string> wanted{mark + "\"a\nb\",c\n", mark + "\"d\ne\"\n", "\xef\"f\n",
                                        "\"g\nh\"\n",          "\xef\xbb\"i\n",     ""};
  for (const std::size_t piece : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{7}, text.size()}) {
    CAPTURE(piece);
    CHECK(records(text, piece) == wanted);
  }
}

TEST_CASE("a newline in quotes does not end a CSV record, however the bytes come in") {
  const std::string_view text = "a,\"b\nc\"\n\"\"\"\n\",d\ne\"\nf,g\"\"\n\"\"\nlast \"\n,\"open\n";
  const std::vector<std::string> wanted{"a,\"b\nc\"\n", "\"\"\"\n\",d\n", "e\"\n",    "f,g\"\"\n",
                                        "\"\"\n",       "last \"\n",      ",\"open\n"};
  for (const std::size_t piece : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{7}, text.size()}) {
    CAPTURE(piece);
    CHECK(records(text, piece) == wanted);
  }
}
