#include "id_extractor.h"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/error.h>
#include <oncelog/record.h>

using namespace oncelog::tool;

namespace {

std::optional<std::string> extract(const IdSource& source, std::string line, char line_end = '\n') {
  IdExtractor extractor(source, line_end);
  const std::size_t size = line.size();
  line.append(JsonFinder::kPadding, 'x');
  const auto id = extractor.extract(std::string_view(line).substr(0, size));
  return id ? std::optional<std::string>(*id) : std::nullopt;
}

std::optional<std::string> json(const std::string& value) {
  return extract(JsonPointers{{"/id"}}, "{\"id\":" + value + "}\n");
}

}  // namespace

TEST_CASE("a JSON value's id is the text that a person would ask for") {
  CHECK(json("\"order-17\"") == "order-17");
  CHECK(json("\"\\u0061\"") == "a");
  for (const char* seven : {"7", "7.0", "70e-1", "0.7E1", "\"7\""}) {
    CAPTURE(seven);
    CHECK(json(seven) == "7");
  }
  CHECK(json("\"7.0\"") == "7.0");
  CHECK(json("-0") == "0");
  CHECK(json("-1") == "-1");
  CHECK(json("9007199254740993") == "9007199254740993");
  CHECK(json("true") == "true");
  CHECK(json("false") == "false");
  for (const char* none : {"null", "{}", "[]", "[1]", "\"\"", "01", "tru", "\"\\ud800\"", "1e1024"}) {
    CAPTURE(none);
    CHECK(json(none) == std::nullopt);
  }
  CHECK(json('"' + std::string(oncelog::kMaxIdBytes, 'a') + '"') == std::string(oncelog::kMaxIdBytes, 'a'));
  CHECK(json('"' + std::string(oncelog::kMaxIdBytes + 1, 'a') + '"') == std::nullopt);
}

TEST_CASE("a line that is not UTF-8 has no JSON id, and a byte order mark before the text is skipped") {
  CHECK(extract(JsonPointers{{"/id"}}, "{\"id\":\"a\",\"x\":\"\xff\"}\n") == std::nullopt);
  CHECK(extract(JsonPointers{{"/id"}}, "\xef\xbb\xbf{\"id\":\"a\"}\n") == "a");
  CHECK(extract(JsonPointers{{"/id"}}, "{\"id\":\"a\"}\xef\xbb\xbf\n") == std::nullopt);
  CHECK(extract(JsonPointers{{""}}, "\xef\xbb\xbf\"a\"\n") == "a");
}

TEST_CASE("several values are one id that no other values make") {
  const JsonPointers two{{"/a", "/b"}};
  CHECK(extract(two, R"({"b":2,"a":"order-17"})") == "8:order-17,1:2,");
  CHECK(extract(two, R"({"a":"x,1:y","b":"z"})") == "5:x,1:y,1:z,");
  CHECK(extract(two, R"({"a":"x","b":"1:y,z"})") == "1:x,5:1:y,z,");
  CHECK(extract(two, R"({"a":"x"})") == std::nullopt);
  CHECK(extract(two, R"({"a":"x","b":""})") == std::nullopt);
  CHECK(extract(two, R"({"a":"x\n","b":"\u0061"})") == "2:x\n,1:a,");
  CHECK(extract(Fields{{2, 1}}, " a  b c\n") == "1:b,1:a,");
  CHECK(extract(Fields{{1, 3}, ','}, "a,,c\n") == "1:a,1:c,");
  CHECK(extract(Fields{{1, 2}, ','}, "a,,c\n") == std::nullopt);
  CHECK(extract(Fields{{1, 2}, std::nullopt, true}, "\"a,\"\"\",b\r\n") == "3:a,\",1:b,");
  const std::string half(oncelog::kMaxIdBytes / 2, 'a');
  CHECK(extract(Fields{{1, 2}}, half + ' ' + half) == std::nullopt);
}

TEST_CASE("a CSV record may end as RFC 4180 has it") {
  CHECK(extract(Fields{{2}, std::nullopt, true}, "a,b\r\n") == "b");
  CHECK(extract(Fields{{2}, std::nullopt, true}, "a,\"b\"\r\n") == "b");
  CHECK(extract(Fields{{2}, ';', true}, "a,b;\"c;d\"\n") == "c;d");
}

TEST_CASE("a line is its own id, unless no store would take it or it could be taken for another's stand-in") {
  CHECK(extract(WholeLine{}, "a b\n") == "a b");
  CHECK(extract(WholeLine{}, std::string("a\nb\0", 4), '\0') == "a\nb");
  const auto of_long = extract(WholeLine{}, std::string(oncelog::kMaxIdBytes + 1, 'a') + '\n');
  REQUIRE(of_long);
  CHECK(of_long->starts_with("\n1025:"));
  CHECK(of_long->size() == 6 + 32);
  CHECK(extract(WholeLine{}, "\n")->starts_with("\n0:"));
  CHECK(extract(WholeLine{}, *of_long + '\0', '\0') != of_long);
}

TEST_CASE("fields are counted from 1, and pointers are pointers") {
  CHECK_THROWS_AS(IdExtractor(Fields{{1, 0}}), oncelog::Error);
  CHECK_THROWS_AS(IdExtractor(JsonPointers{{"/a", "b"}}), oncelog::Error);
}
