#include <iterator>
#include <string>
#include <vector>

#include "fuzz.h"
#include "patches.h"
#include "sample_store.h"

using namespace oncelog;
using oncelog::fuzzing::Input;
using oncelog::fuzzing::SampleStore;

/// Damages the store's shared memory (`live`, a filter, an index) while nobody has it open, in the same boot. What is
/// in the log must come out right or be refused. Hints whose bits are gone may hide a record: that is known, and
/// verify() and rebuild_hints() are there for it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const SampleStore sample;
  Input input(data, size);
  SampleStore::Files files = sample.files();
  std::vector<std::string> names;
  for (const auto& [name, bytes] : files) {
    if (name == "live" || name.starts_with("filter-") || name.starts_with("index-")) names.push_back(name);
  }
  const std::string& name = names[input.up_to(names.size() - 1)];
  const auto what = input.number<std::uint8_t>();
  if (what == 0) {
    files.erase(name);
  } else if (what == 1) {
    files[name].resize(input.up_to(files[name].size()));
  } else {
    fuzzing::patch(input, files[name], what % 2 == 0 ? 512 : 4096);
  }
  sample.put(files);
  fuzzing::allowed([&] { fuzzing::ask_everything(sample.open()); });
  return 0;
}
