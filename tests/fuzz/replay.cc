#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "fuzz.h"

/// Stands in for libFuzzer where it is not built in: gives a target each file of the folders that are named, once, in
/// the order of their names. An input that the target refuses ends the process; its name is then the last line.
int main(int count, char** arguments) {
  std::size_t inputs = 0;
  for (int i = 1; i < count; ++i) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(arguments[i])) files.push_back(entry.path());
    std::ranges::sort(files);
    for (const auto& path : files) {
      std::printf("%s\n", path.filename().c_str());
      std::fflush(stdout);
      std::ifstream file(path, std::ios::binary);
      std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
      if (file.bad()) return 1;
      bytes.shrink_to_fit();  // So that the sanitizers see a read past the end.
      LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
      ++inputs;
    }
  }
  std::printf("%zu inputs\n", inputs);
  return inputs != 0 ? 0 : 1;
}
