#include "timestamp.h"

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <string_view>

#include <oncelog/error.h>

using namespace oncelog::tool;
using namespace std::chrono_literals;

namespace {

const oncelog::Time kNow{std::chrono::sys_days{std::chrono::year{2026} / 3 / 1} + 12h};

std::string understood(std::string_view text) {
  return format_time(parse_time(text, kNow, "--since"));
}

}  // namespace

TEST_CASE("what people, logs and date write is a time") {
  for (const char* text : {"2026-01-02T03:04:05Z",
                           "2026-01-02T03:04:05",
                           "2026-01-02 03:04:05",
                           "2026-01-02t03:04:05z",
                           "2026-01-02T03:04:05.0Z",
                           "2026-01-02T03:04:05.000000000000Z",
                           "2026-01-02T05:04:05+02:00",
                           "2026-01-02T05:04:05+0200",
                           "2026-01-02T05:04:05+02",
                           "2026-01-01T21:34:05-05:30",
                           "2026-01-02 03:04:05+00:00",
                           "2026-01-02T03:04:05-00:00",
                           "2026-01-02 05:04:05 +0200",
                           "2026-01-02 03:04:05 UTC",
                           "@1767323045",
                           "@1767323045.000",
                           "Fri, 02 Jan 2026 03:04:05 +0000",
                           "Fri, 02 Jan 2026 05:04:05 +0200",
                           "Fri Jan  2 03:04:05 UTC 2026",
                           "Fri Jan 02 03:04:05 GMT 2026"}) {
    CAPTURE(text);
    CHECK(understood(text) == "2026-01-02T03:04:05.000000Z");
  }
  CHECK(understood("2026-01-02T03:04:05.123456789Z") == "2026-01-02T03:04:05.123456Z");
  CHECK(understood("2026-01-02T03:04:05,123456789+01:00") == "2026-01-02T02:04:05.123456Z");
  CHECK(understood("2026-01-02T03:04:05.5-00:30") == "2026-01-02T03:34:05.500000Z");
  CHECK(understood("2026-01-02") == "2026-01-02T00:00:00.000000Z");
  CHECK(understood("2026-01-02T03") == "2026-01-02T03:00:00.000000Z");
  CHECK(understood("2026-01-02T03:04") == "2026-01-02T03:04:00.000000Z");
  CHECK(understood("2026-01-02T03:04+01:00") == "2026-01-02T02:04:00.000000Z");
  CHECK(understood("2026-01-02T03+01:00") == "2026-01-02T02:00:00.000000Z");
  CHECK(understood("2016-12-31T23:59:60Z") == "2017-01-01T00:00:00.000000Z");
  CHECK(understood("@0") == "1970-01-01T00:00:00.000000Z");
  CHECK(understood("@1700000000.5") == "2023-11-14T22:13:20.500000Z");
  CHECK(understood("@-1.25") == "1969-12-31T23:59:58.750000Z");
  CHECK(understood("now") == "2026-03-01T12:00:00.000000Z");
  CHECK(understood("1h30m") == "2026-03-01T10:30:00.000000Z");
  CHECK(understood("1d12h ago") == "2026-02-28T00:00:00.000000Z");
}

TEST_CASE("what is no time is refused, with the ways to write one") {
  for (const char* text : {"",
                           "yesterday",
                           "2026",
                           "2026-01",
                           "2026-02-30",
                           "2026-13-01",
                           "2026-01-02T",
                           "2026-01-02T24:00",
                           "2026-01-02T03:60",
                           "2026-01-02T03:04:61",
                           "2026-01-02T03:04:05.",
                           "2026-01-02T03:04:05.Z",
                           "2026-01-02T03:04:05X",
                           "2026-01-02T03:04:05+",
                           "2026-01-02T03:04:05+2",
                           "2026-01-02T03:04:05+02:",
                           "2026-01-02T03:04:05+24:00",
                           "2026-01-02T03:04:05Z ",
                           "2026-01-02Z",
                           "@",
                           "@x",
                           "@1.",
                           "@1 ",
                           "@99999999999999",
                           "Fri, 02 Jan 2026",
                           "Fri, 02 Foo 2026 03:04:05 +0000",
                           "Fri Jan  2 03:04:05 CET 2026",
                           "Fri Jan  2 03:04:05 2026",
                           "Fri Jan 32 03:04:05 UTC 2026",
                           "1x"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(understood(text), oncelog::Error);
  }
}
