#include <cstdlib>
#include <filesystem>
#include <string>

#include "tests/e2e/program.h"
#include "tests/e2e/small_inputs.h"
#include "tests/support/catch.h"

using namespace reelfolio::test;

namespace {

/// A disk of its own for a script: a file system in memory, seen by it alone and gone with it.
class SmallDisk {
 public:
  SmallDisk() {
    std::filesystem::create_directory(folder_ / "disk");
    folder_.write("g.yaml",
                  "version: 1\nstages:\n  pages: {use: render_pages, from: inputs, dpi: 30}\n"
                  "  images: {use: read_images, from: inputs}\n");
    std::filesystem::create_directory(folder_ / "in");
    for (int i = 0; i < 40; ++i) {
      const bool is_picture = i % 4 != 0;
      folder_.write("in/" + std::to_string(100 + i) + (is_picture ? ".ppm" : ".pdf"),
                    is_picture ? picture(i) : document(i, 3));
    }
  }

  /// Runs shell commands in the folder; "$run" runs the program, "disk" is the disk, of `size`. Keeps
  /// what they print.
  bool run_script(const std::string& size, const std::string& commands) {
    const std::string script = folder_.write(
        "script", "cd " + folder_.path().string() + "\nmount -t tmpfs -o size=" + size +
                      " none disk || exit 99\nrun='" REELFOLIO_BINARY_DIR "/reelfolio run g.yaml -q'\n" +
                      commands);
    for (const char* space : {"unshare -m", "unshare -rm"}) {
      const std::string out = (folder_ / "said").string();
      const int status = std::system((std::string(space) + " sh " + script + " >" + out + " 2>&1").c_str());
      said = read_file(out);
      if (status == 0) return true;
    }
    WARN("this system does not let tests mount a file system: " << said);
    return false;
  }
  std::string file(const std::string& name) const { return read_file(folder_ / name); }

  std::string said;

 private:
  TempFolder folder_;
};

}  // namespace

TEST_CASE("e2e: a full disk ends a run with 5, and with room it goes on to the same bytes") {
  SmallDisk disk;
  int full = 0;
  for (const char* size : {"8k", "40k", "72k", "104k", "10m"}) {
    CAPTURE(size);
    if (!disk.run_script(size,
                         "$run in -o - >expected\n"
                         "$run in -o disk/out.jsonl; echo first $?\n"
                         "test -e disk/out.jsonl && cp disk/out.jsonl early\n"
                         "mount -o remount,size=20m none disk\n"
                         "$run in -o disk/out.jsonl; echo second $?\n"
                         "cp disk/out.jsonl disk/out.jsonl.run.json .\n")) {
      return;
    }
    CAPTURE(disk.said);
    CHECK(contains(disk.said, "second 0"));
    CHECK(disk.file("out.jsonl") == disk.file("expected"));
    if (contains(disk.said, "first 0")) continue;
    CHECK(contains(disk.said, "first 5"));
    CHECK(contains(disk.said, "o space left on device"));
    ++full;
  }
  CHECK(full >= 2);
}

TEST_CASE("e2e: a folder that cannot be written ends a run with 5, and changes nothing of what is there") {
  SmallDisk disk;
  if (!disk.run_script("10m",
                       "$run in -o disk/out.jsonl; echo first $?\n"
                       "cp -r disk before\n"
                       "cp in/101.ppm in/99.ppm\n"
                       "mount -o remount,ro none disk\n"
                       "$run in -o disk/out.jsonl; echo old $?\n"
                       "$run in -o disk/new.jsonl; echo new $?\n"
                       "$run disk -o out.jsonl; echo inputs $?\n"
                       "$run in -o disk/out.jsonl --dry-run >plan; echo plan $?\n"
                       "diff -r before disk && echo same\n")) {
    return;
  }
  CAPTURE(disk.said);
  CHECK(contains(disk.said, "first 0"));
  CHECK(contains(disk.said, "old 5"));
  CHECK(contains(disk.said, "new 5"));
  CHECK(contains(disk.said, "ead-only file system"));
  CHECK(contains(disk.said, "plan 0"));
  CHECK(contains(disk.said, "same"));
  CHECK(contains(disk.file("plan"), "99.ppm: image, goes to images (new)"));
  CHECK(contains(disk.file("plan"), "100.pdf: pdf, done before"));
}
