#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/e2e/program.h"
#include "tests/support/catch.h"

using namespace reelfolio::test;

namespace {

constexpr const char* kDecodingGraph =
    "version: 1\n"
    "stages:\n"
    "  scenes: {use: split_scenes, from: inputs}\n"
    "  frames: {use: sample_frames, from: scenes, per_scene: 2}\n"
    "  pages: {use: render_pages, from: inputs, dpi: 300, max_pixels: 100000000}\n"
    "  pictures: {use: read_images, from: inputs}\n";

Outcome run_quietly(const std::string& graph, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"run", graph, "-q", "-o", "-"});
  return run_program({arguments});
}

/// One page of `side` points.
std::string square_page(int side) {
  return "%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
         "2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n"
         "3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 " +
         std::to_string(side) + " " + std::to_string(side) +
         "] >>\nendobj\ntrailer << /Size 4 /Root 1 0 R >>\n%%EOF\n";
}

/// A sound (AST) of one block of 72 MB, behind whose head FFmpeg is when it asks for memory. Nothing of it is
/// on the disk.
std::filesystem::path sound_of_one_block(const TempFolder& folder) {
  constexpr std::uint32_t kChannels = 3;
  constexpr std::uint32_t kChannelBytes = 24'000'000;
  std::string head;
  const auto add = [&](std::uint32_t number, int bytes) {  // the most significant one first
    for (int i = bytes - 1; i >= 0; --i) head += static_cast<char>((number >> (8 * i)) & 0xFFU);
  };
  head += "STRM";
  add(32 + kChannels * kChannelBytes, 4);
  add(1, 2);   // PCM
  add(16, 2);  // bits
  add(kChannels, 2);
  add(0, 2);
  add(48000, 4);              // samples a second
  add(kChannelBytes / 2, 4);  // samples
  head.append(40, '\0');
  head += "BLCK";
  add(kChannelBytes, 4);
  head.append(24, '\0');
  std::filesystem::path path = folder.write("a-large.ast", head);
  std::filesystem::resize_file(path, head.size() + kChannels * kChannelBytes);
  return path;
}

/// The lines of a run over `large` and then a small page, each with 64 MiB: `large` fails alone.
std::vector<nlohmann::json> lines_of_64_mib(const TempFolder& folder, const std::filesystem::path& large,
                                            const std::string& more_stages = "") {
  const std::string graph =
      folder.write("graph.yaml", kDecodingGraph + more_stages + "limits: {input_memory: 64MiB}\n");
  const std::string small = folder.write("b-small.pdf", square_page(72));
  const Outcome outcome = run_quietly(graph, {large.string(), small});
  CHECK(outcome.status == 3);
  auto lines = json_lines(outcome.out);
  REQUIRE(lines.size() == 3);
  CHECK(lines[0]["status"] == "failed");
  REQUIRE(lines[0]["errors"].size() >= 1);
  CHECK(lines[0]["errors"][0]["code"] == "memory.limit");
  CHECK(lines[2]["status"] == "ok");
  return lines;
}

}  // namespace

TEST_CASE("isolation: the same bytes with and without, for any number of decoders") {
  const TempFolder folder;
  const std::string graph = folder.write("graph.yaml", kDecodingGraph);
  const Outcome isolated = run_quietly(graph, {kInbox});
  CHECK(isolated.status == 0);
  CHECK(json_lines(isolated.out).size() > 10);
  CHECK(run_quietly(graph, {kInbox, "--no-isolation"}).out == isolated.out);
  CHECK(run_quietly(graph, {kInbox, "--decoders", "3"}).out == isolated.out);
}

TEST_CASE("isolation: an input over its memory limit fails alone") {
#if defined(__SANITIZE_ADDRESS__)
  return;  // address space cannot be limited there
#endif
  const TempFolder folder;
  const auto lines = lines_of_64_mib(folder, folder.write("a-large.pdf", square_page(2000)));
  CHECK(lines[0]["errors"][0]["stage"] == "pages");
}

TEST_CASE("isolation: a video over its memory limit says so, whatever FFmpeg makes of it") {
#if defined(__SANITIZE_ADDRESS__)
  return;  // address space cannot be limited there
#endif
  const TempFolder folder;
  // One frame takes 72 MB as it is. Nothing of it is on the disk.
  const std::filesystem::path large =
      folder.write("a-large.y4m", "YUV4MPEG2 W8000 H6000 F25:1 Ip A1:1 C420jpeg\nFRAME\n");
  std::filesystem::resize_file(large,
                               std::filesystem::file_size(large) + std::uintmax_t{8000} * 6000 * 3 / 2);
  CHECK(lines_of_64_mib(folder, large)[0]["media"] == "video");
}

TEST_CASE("isolation: a sound over its memory limit says so, whatever FFmpeg makes of it") {
#if defined(__SANITIZE_ADDRESS__)
  return;  // address space cannot be limited there
#endif
  const TempFolder folder;
  const auto lines =
      lines_of_64_mib(folder, sound_of_one_block(folder), "  clips: {use: split_audio, from: inputs}\n");
  CHECK(lines[0]["errors"][0]["stage"] == "clips");
}
