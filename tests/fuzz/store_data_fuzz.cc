#include <string>

#include "fuzz.h"
#include "patches.h"
#include "sample_store.h"

using namespace oncelog;
using oncelog::fuzzing::Input;
using oncelog::fuzzing::require;
using oncelog::fuzzing::SampleStore;

/// Damages data.mdb: verify() and repair() must come through whatever it holds, and what is saved must be what was
/// there. LMDB itself trusts its pages; so the store is only opened when verify() finds their structure sound.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const SampleStore sample;
  Input input(data, size);
  SampleStore::Files files = sample.files();
  const bool without_shared_memory = input.number<std::uint8_t>() % 2 == 0;
  if (without_shared_memory) {
    std::erase_if(files, [](const auto& file) { return !file.first.ends_with(".mdb"); });
  }
  auto& bytes = files["data.mdb"];
  fuzzing::patch(input, bytes);
  const bool damaged = bytes != sample.files().at("data.mdb");
  sample.put(files);

  VerifyReport report;
  const bool verified = fuzzing::allowed([&] { report = verify(sample.dir()); });
  require(damaged || (verified && report.sound()), "a sound store is found to be sound");
  require(report.problems.size() <= report.problem_count, "every problem is counted");
  for (const Problem& problem : report.problems) {
    require(!problem.where.empty() && !problem.sentence.empty() && !problem.meaning.empty() && !problem.remedy.empty(),
            "a problem says where it is, what it means and what to do");
  }

  const auto into = sample.parent() / "repaired";
  std::filesystem::remove_all(into);
  RepairReport repaired;
  const bool saved = fuzzing::allowed([&] { repaired = repair(sample.dir(), into); });
  require(damaged || (saved && repaired.complete()), "a sound store is saved as a whole");
  if (saved) {
    require(verify(into).sound(), "what was repaired is sound");
    const fuzzing::StillHost host;
    const Store store = StoreAccess::open(into, {}, host);
    store.scan({}, [&](const Record& record) {
      require(SampleStore::is_known(record.id) && (record.scope == "orders" || record.scope == "mails" || damaged),
              "what was saved was there");
      return true;
    });
    require(!store.scope("orders").contains("marked by nobody"), "an id that nobody marked is not known");
  }
  if (verified && report.sound()) fuzzing::allowed([&] { fuzzing::ask_everything(sample.open()); });
  return 0;
}
