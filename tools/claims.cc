#include "claims.h"

#include <iterator>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "ndjson.h"
#include "output.h"
#include "printable.h"
#include "timestamp.h"

namespace oncelog::tool {
namespace {

std::string_view name_of(OrphanPolicy orphans) {
  switch (orphans) {
    case OrphanPolicy::free_at_once:
      return "free_at_once";
    case OrphanPolicy::free_after_lease:
      return "free_after_lease";
    case OrphanPolicy::keep:
      return "keep";
  }
  return "unknown";
}

void append_text(std::string& out, const ClaimInfo& claim) {
  fmt::format_to(std::back_inserter(out), "{} {} {} {} {} {} {}\n", claim.token, claim.owner.process,
                 claim.owner_alive ? "alive" : "dead", format_time(claim.owner.deadline), name_of(claim.orphans),
                 claim.scope.empty() ? "-" : printable(claim.scope), printable(claim.id));
}

void append_json(std::string& out, const ClaimInfo& claim) {
  fmt::format_to(std::back_inserter(out),
                 "{{\"token\":{},\"process\":{},\"alive\":{},\"deadline\":\"{}\",\"orphans\":\"{}\",", claim.token,
                 claim.owner.process, claim.owner_alive, format_time(claim.owner.deadline), name_of(claim.orphans));
  if (claim.scope.empty()) {
    append_member(out, "lock", claim.id);
  } else {
    append_member(out, "scope", claim.scope);
    out += ',';
    append_member(out, "id", claim.id);
  }
  out += "}\n";
}

}  // namespace

int run_claims(const ClaimsOptions& options) {
  Output output = standard_output();
  std::string lines;
  for (const ClaimInfo& claim : open_for_reading(options.store).claims()) {
    options.json ? append_json(lines, claim) : append_text(lines, claim);
  }
  output.write(lines);
  return 0;
}

}  // namespace oncelog::tool
