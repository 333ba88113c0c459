#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

/// Runs a fuzz target over a corpus without libFuzzer: each file as it is, cut at
/// sixteen places, and with single bytes altered at places spread over it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr std::size_t kCuts = 16;
constexpr std::size_t kAlterations = 64;

void run(const std::string& input) {
  // A copy of exactly this size, so that a sanitizer sees a read past its end.
  const std::vector<std::uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

void replay(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string input(std::istreambuf_iterator<char>(file), {});
  run(input);
  for (std::size_t i = 0; i < kCuts; ++i) run(input.substr(0, input.size() * i / kCuts));
  for (std::size_t i = 0; i < std::min(kAlterations, input.size()); ++i) {
    std::string altered = input;
    char& byte = altered[input.size() * i / std::min(kAlterations, input.size())];
    byte = static_cast<char>(byte ^ (1 << (i % 8)));
    run(altered);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    std::printf("%s\n", path.c_str());
    std::fflush(stdout);
    replay(path);
  }
  std::printf("%zu files\n", files.size());
  return files.empty() ? 1 : 0;
}
