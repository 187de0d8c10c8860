#include "json_finder.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/error.h>

using namespace oncelog::tool;

namespace {

/// The value at the pointer as it is written; "(other)" for null and what has parts; nothing where there is none. The
/// text lies between bytes that would close it, so that a read beyond its end shows.
std::optional<std::string> find(std::string_view pointer, std::string_view text) {
  std::string padded(text);
  padded += "\"}]}0\"}]}0123456789";
  const auto value = JsonFinder(pointer).find(std::string_view(padded).substr(0, text.size()));
  if (!value) return std::nullopt;
  return value->type == JsonType::other ? "(other)" : std::string(value->raw);
}

bool is_valid(const std::string& text) {
  return find("", text).has_value();
}

constexpr const char* kInvalid[] = {"",
                                    " ",
                                    "01",
                                    "-01",
                                    "00",
                                    "-",
                                    "+1",
                                    ".5",
                                    "1.",
                                    "1.e5",
                                    "1e",
                                    "1e+",
                                    "0x1",
                                    "1-2",
                                    "7x",
                                    "- 1",
                                    "NaN",
                                    "Infinity",
                                    "tru",
                                    "trues",
                                    "True",
                                    "nul",
                                    "nulll",
                                    "\"",
                                    "\"a",
                                    "\"\\\"",
                                    "\"\\x41\"",
                                    "\"\\u12\"",
                                    "\"\\u12g4\"",
                                    "\"a\nb\"",
                                    "\"a\tb\"",
                                    "'a'",
                                    "[",
                                    "]",
                                    "[1",
                                    "[1,",
                                    "[1,]",
                                    "[,1]",
                                    "[1 2]",
                                    "[1}",
                                    "{",
                                    "}",
                                    "{]",
                                    "{\"a\"",
                                    "{\"a\":",
                                    "{\"a\":1",
                                    "{\"a\":1,",
                                    "{\"a\":1,}",
                                    "{,}",
                                    "{1:2}",
                                    "{a:1}",
                                    "{\"a\" 1}",
                                    "{\"a\":1 \"b\":2}",
                                    "{\"a\":1}}",
                                    "{} {}",
                                    "1 2",
                                    "[]]",
                                    "{\"a\":1}x",
                                    "\"a\"b",
                                    "/*c*/1",
                                    "\x0b 1"};

}  // namespace

TEST_CASE("a JSON pointer leads to the value that RFC 6901 says") {
  const std::string text =
      R"({"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8,"~1":9})";
  CHECK(find("", text) == "(other)");
  CHECK(find("/foo", text) == "(other)");
  CHECK(find("/foo/0", text) == "bar");
  CHECK(find("/foo/1", text) == "baz");
  CHECK(find("/", text) == "0");
  CHECK(find("/a~1b", text) == "1");
  CHECK(find("/c%d", text) == "2");
  CHECK(find("/e^f", text) == "3");
  CHECK(find("/g|h", text) == "4");
  CHECK(find("/i\\j", text) == "5");
  CHECK(find("/k\"l", text) == "6");
  CHECK(find("/ ", text) == "7");
  CHECK(find("/m~0n", text) == "8");
  CHECK(find("/~01", text) == "9");
}

TEST_CASE("array indices are digits without leading zeros, and the end of an array is no element") {
  const std::string text = R"([["a","b"],"c"])";
  CHECK(find("/0/1", text) == "b");
  CHECK(find("/1", text) == "c");
  for (const char* none :
       {"/2", "/00", "/01", "/-", "/+1", "/1 ", "/-1", "/0/2", "/1/0", "/1e0", "/", "/18446744073709551616"}) {
    CAPTURE(none);
    CHECK(find(none, text) == std::nullopt);
  }
  CHECK(find("/0", R"({"0":"key"})") == "key");
  CHECK(find("/01", R"({"01":"key"})") == "key");
}

TEST_CASE("what is no JSON pointer is refused") {
  for (const char* pointer : {"a", "a/b", "/~", "/a~2", "/~/a"}) {
    CAPTURE(pointer);
    CHECK_THROWS_AS(JsonFinder{pointer}, oncelog::Error);
  }
}

TEST_CASE("keys are compared unescaped") {
  CHECK(find("/messageId", R"({"message\u0049d":"x"})") == "x");
  CHECK(find("/schl\xc3\xbcssel", R"({"schl\u00fcssel":"x"})") == "x");
  CHECK(find("/\xf0\x9f\x98\x80", R"({"\ud83d\uDE00":"x"})") == "x");
  CHECK(find("/a~1b", R"({"a\/b":"x"})") == "x");
  CHECK(find("/\\u0061", R"({"\u0061":"x"})") == std::nullopt);
  CHECK(find("/a", R"({"\ud83d":"x","a":"y"})") == "y");
}

TEST_CASE("of a key that is there twice the last one counts, wherever on the path it is") {
  CHECK(find("/a", R"({"a":1,"b":0,"a":2})") == "2");
  CHECK(find("/a", R"({"a":1,"\u0061":2})") == "2");
  CHECK(find("/a/b", R"({"a":{"b":1,"b":2},"a":{"b":3}})") == "3");
  CHECK(find("/a/b", R"({"a":{"b":1},"a":{"c":2}})") == std::nullopt);
  CHECK(find("/a/b", R"({"a":{"b":1},"a":7})") == std::nullopt);
  CHECK(find("/a", R"({"a":1,"a":null})") == "(other)");
  CHECK(find("/a", R"({"a":1,"b":{"a":2},"c":[{"a":3}]})") == "1");
  CHECK(find("/a/0/b", R"({"a":[{"b":1},{"b":2}]})") == "1");
}

TEST_CASE("only exactly one valid JSON text has values") {
  for (const char* text : {"0", "-0", "0.0", "10", "1e5", "1E+5", "-1.50e-05", "\"\"", "true", "false", "null", "[]",
                           "{}", " [ ] ", "\t{\r\n}\n", R"("\"\\\/\b\f\n\r\t\u12aF")", R"([1,"a",[{}],{"a":[]}])"}) {
    CAPTURE(text);
    CHECK(is_valid(text));
  }
  for (const char* text : kInvalid) {
    CAPTURE(text);
    CHECK_FALSE(is_valid(text));
  }
  CHECK_FALSE(is_valid(std::string("\"a\0b\"", 5)));
  CHECK_FALSE(is_valid(std::string("1\0", 2)));
}

TEST_CASE("what is before the fault in an invalid text is not found") {
  CHECK(find("/a", R"({"a":"x","b":[{"c":1},{"d":2})") == std::nullopt);
  CHECK(find("/a", R"({"a":"x"}{"a":"y"})") == std::nullopt);
  CHECK(find("/a", R"({"a":"x",})") == std::nullopt);
}

TEST_CASE("nesting may be deeper than any stack") {
  constexpr std::size_t kDepth = 1'000'000;
  const std::string deep = std::string(kDepth, '[') + std::string(kDepth, ']');
  CHECK(find("/a", "{\"b\":" + deep + ",\"a\":1}") == "1");
  CHECK_FALSE(is_valid(deep.substr(1)));
}

TEST_CASE("it agrees with a parser of another make on texts that are cut, joined and damaged") {
  const std::uint32_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  const auto below = [&](std::size_t limit) { return random() % limit; };
  // None of them makes a number that is too large for the other one's doubles.
  const std::vector<std::string> pieces{
      "{",  "}",   "[",    "]",    ",",    ":", "\"a\"", "\"b\"",    "\"\\u0061\"", "1",
      "-0", "1.5", "2E-1", "true", "null", " ", "\n",    "\"a\\n\"", "{\"a\":",     "\"long enough for two words\"",
      "01", "tru", "\\",   "\"",   "\x01"};
  const nlohmann::json::json_pointer pointer("/a");
  std::size_t valid = 0;
  for (int round = 0; round != 200'000; ++round) {
    std::string text;
    for (std::size_t count = 1 + below(9); count != 0; --count) text += pieces[below(pieces.size())];
    if (below(4) == 0) text = "{\"b\":[{\"a\":2}],\"a\":" + text + "}";
    const auto parsed = nlohmann::json::parse(text, nullptr, false);
    std::optional<std::string> wanted;
    if (!parsed.is_discarded() && parsed.is_object() && parsed.contains("a")) {
      const auto& value = parsed["a"];
      wanted = value.is_null() || value.is_structured() ? "(other)" : value.is_string() ? "string" : "scalar";
    }
    auto got = find("/a", text);
    if (got && *got != "(other)") {
      got = !parsed.is_discarded() && parsed["a"].is_string() ? "string" : "scalar";
    }
    valid += !parsed.is_discarded();
    CAPTURE(text);
    REQUIRE(got == wanted);
    REQUIRE(is_valid(text) == !parsed.is_discarded());
  }
  CHECK(valid > 1000);
}

TEST_CASE("a string's characters are what its escapes stand for, and half a surrogate pair is none") {
  const auto unescaped = [](std::string_view raw) {
    std::string out;
    return append_unescaped(out, raw) ? std::optional(out) : std::nullopt;
  };
  CHECK(unescaped("plain") == "plain");
  CHECK(unescaped(R"(\"\\\/\b\f\n\r\t)") == "\"\\/\b\f\n\r\t");
  CHECK(unescaped(R"(\u0041\u00e9\u20AC\ud83d\ude00!)") == "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80!");
  CHECK(unescaped(R"(a\u0000b)") == std::string("a\0b", 3));
  for (const char* half :
       {R"(\ud83d)", R"(\ude00)", R"(\ud83dx)", R"(\ud83d\n)", R"(\ud83d\u0041)", R"(\ude00\ud83d)"}) {
    CAPTURE(half);
    CHECK(unescaped(half) == std::nullopt);
  }
}

TEST_CASE("numbers have the same plain decimals exactly when they are equal") {
  const auto decimals = [](std::string_view number) { return plain_decimals(number, 1024); };
  for (const char* one : {"1", "1.0", "1e0", "1.000E-0", "10e-1", "0.1e1", "0.0001e+4", "100000e-5"}) {
    CAPTURE(one);
    CHECK(decimals(one) == "1");
  }
  for (const char* zero : {"0", "-0", "0.0", "-0.000", "0e999999999999999999999", "0E-5"}) {
    CAPTURE(zero);
    CHECK(decimals(zero) == "0");
  }
  CHECK(decimals("-7") == "-7");
  CHECK(decimals("-70e-1") == "-7");
  CHECK(decimals("4711") == "4711");
  CHECK(decimals("47.110") == "47.11");
  CHECK(decimals("0.10") == "0.1");
  CHECK(decimals("1e-3") == "0.001");
  CHECK(decimals("1.5e3") == "1500");
  CHECK(decimals("12.34e1") == "123.4");
  // Not equal as doubles are.
  CHECK(decimals("9007199254740993") == "9007199254740993");
  CHECK(decimals("9007199254740992") == "9007199254740992");
  CHECK(decimals("9007199254740993.0") == "9007199254740993");
  CHECK(decimals("123456789012345678901234567890123456789") == "123456789012345678901234567890123456789");
  CHECK(decimals("0.30000000000000000001") == "0.30000000000000000001");
  CHECK(decimals("1e400")->size() == 401);
  CHECK(decimals("1e1023")->size() == 1024);
  for (const char* long_one : {"1e1024", "1e-1023", "-1e1023", "1e99999999999999999999", "1e-99999999999999999999"}) {
    CAPTURE(long_one);
    CHECK(decimals(long_one) == std::nullopt);
  }
}
