#include "stages/probe.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "stages/utf8.h"
#include "tests/stages/media_fixture.h"
#include "tests/stages/picture_files.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::stages;

namespace {

InputFile probe_bytes(const std::string& bytes) {
  const MediaFolder folder;
  return probe_input(folder.write("input.mp4", bytes), "input.mp4");
}

MediaKind kind_of(const std::string& bytes) {
  return probe_bytes(bytes).media;
}

std::string little_endian(unsigned value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

std::string wav_file() {
  const std::string samples(16000, '\x10');
  return "RIFF" + little_endian(36 + 16000, 4) + "WAVEfmt " + little_endian(16, 4) + little_endian(1, 2) +
         little_endian(1, 2) + little_endian(8000, 4) + little_endian(16000, 4) + little_endian(2, 2) +
         little_endian(16, 2) + "data" + little_endian(16000, 4) + samples;
}

/// 25 frames of 16 x 16 pixels, uncompressed.
std::string y4m_file() {
  std::string file = "YUV4MPEG2 W16 H16 F25:1 Ip A1:1 C420jpeg\n";
  for (int i = 0; i < 25; ++i) file += "FRAME\n" + std::string(384, static_cast<char>(i * 9));
  return file;
}

}  // namespace

TEST_CASE("probe: content decides, not the name") {
  CHECK(kind_of(png_file(test_picture())) == MediaKind::image);
  CHECK(kind_of(jpeg_file(block_picture())) == MediaKind::image);
  CHECK(kind_of(webp_file(test_picture())) == MediaKind::image);
  CHECK(kind_of(bmp_file(test_picture())) == MediaKind::image);
  CHECK(kind_of("P3 2 1 255  1 2 3  40 50 60\n") == MediaKind::image);
  CHECK(kind_of(gif_file(1)) == MediaKind::image);
  CHECK(kind_of(gif_file(2)) == MediaKind::video);
  CHECK(kind_of(wav_file()) == MediaKind::audio);
  CHECK(kind_of(y4m_file()) == MediaKind::video);
  CHECK(kind_of("%PDF-1.7\n") == MediaKind::pdf);
  CHECK(kind_of("plain words\n") == MediaKind::text);
  const MediaFolder folder;
  for (const bool big_endian : {false, true}) {
    TiffPage page = tiff_page(test_picture());
    page.big_endian = big_endian;
    write_tiff(folder.path("t"), {page});
    CHECK(probe_input(folder.path("t"), "t").media == MediaKind::image);
  }
}

TEST_CASE("probe: a PDF header may follow other bytes, but prose may quote one") {
  CHECK(kind_of(std::string(1000, '\0') + "%PDF-1.4\n\x80") == MediaKind::pdf);
  CHECK(kind_of("junk\n%PDF-1.4\n1 0 obj\nendobj\n%%EOF\n") == MediaKind::pdf);
  CHECK(kind_of("A file that begins with %PDF-1.4 is a PDF.\n") == MediaKind::text);
  CHECK(error_code([] { kind_of(std::string(2000, '\0') + "%PDF-1.4\n\x80"); }) == "input.unsupported");
}

TEST_CASE("probe: text is UTF-8, UTF-16 or 8-bit without control characters") {
  CHECK(kind_of("Gr\xC3\xBC\xC3\x9F"
                "e \xF0\x9F\x98\x80\r\n\t") == MediaKind::text);
  CHECK(kind_of(std::string("\xEF\xBB\xBFhello", 8)) == MediaKind::text);
  CHECK(kind_of(std::string("\xFF\xFEh\0i\0\x3D\xD8\x00\xDE", 10)) == MediaKind::text);
  CHECK(kind_of(std::string("\xFE\xFF\0h\0i", 6)) == MediaKind::text);
  // A playlist: text, so nothing it names is opened.
  CHECK(kind_of("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n") == MediaKind::text);
  for (const std::string& bytes : {std::string("nul\0byte", 8), std::string("nul\0\xE9", 5),
                                   std::string("bell\x07 \xE9"), std::string("\xFF\xFEh\0\x3D\xD8", 6)}) {
    CHECK(error_code([&] { kind_of(bytes); }) == "input.unsupported");
  }
  CHECK(kind_of("latin\xE9 1") == MediaKind::text);
  CHECK(kind_of("Gr\xC3\xBC\xC3\x9F cut \xC3") == MediaKind::text);
  CHECK(kind_of(std::string("h\0i\0\r\0\n\0", 8)) == MediaKind::text);
  CHECK(kind_of("\x83\x65\x83\x58\x83\x67\n") == MediaKind::text);  // Shift JIS
  // A character across the border of two reads.
  CHECK(kind_of(std::string((1 << 18) - 1, 'a') + "\xC3\xBC") == MediaKind::text);
}

TEST_CASE("probe: noise is unsupported") {
  Sequence random(7);
  for (int round = 0; round < 20; ++round) {
    std::string noise;
    for (int i = 0; i < 5000; ++i) noise += static_cast<char>(random.next(256));
    const std::string code = error_code([&] { kind_of(noise); });
    INFO("round " << round);
    CHECK(code == "input.unsupported");
  }
}

TEST_CASE("probe: size and SHA-256 of the content") {
  const InputFile file = probe_bytes("abc");
  CHECK(file.size_bytes == 3);
  CHECK(file.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-2
  // A million times "a", also from FIPS 180-2, spans several reads.
  CHECK(probe_bytes(std::string(1'000'000, 'a')).sha256 ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("probe: what is no readable file is named for what it is") {
  const MediaFolder folder;
  CHECK(error_code([&] { probe_input(folder.path("missing"), "missing"); }) == "input.unreadable");
  CHECK(error_code([&] { probe_input(folder.write("empty", ""), "empty"); }) == "input.empty");
  CHECK(error_code([&] { probe_input(folder.path(""), "folder"); }) == "input.not_a_file");
  CHECK(error_code([&] { probe_input("/dev/zero", "zero"); }) == "input.not_a_file");
  try {
    probe_input(folder.path("missing"), "missing");
  } catch (const ItemError& error) {
    CHECK(std::string(error.what()).find("no such file") != std::string::npos);
  }
}

TEST_CASE("probe: a fifo and a socket do not block") {
  const MediaFolder folder;
  REQUIRE(mkfifo(folder.path("fifo").c_str(), 0600) == 0);
  CHECK(error_code([&] { probe_input(folder.path("fifo"), "fifo"); }) == "input.not_a_file");
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, folder.path("socket").c_str(), sizeof(address.sun_path) - 1);
  REQUIRE(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  CHECK(error_code([&] { probe_input(folder.path("socket"), "socket"); }) == "input.not_a_file");
  close(listener);
}

TEST_CASE("probe: names that are not UTF-8 work as paths and are shown with U+FFFD") {
  const MediaFolder folder;
  const auto path = folder.write("caf\xE9.txt", "words");
  const InputFile file = probe_input(path, "caf\xE9.txt");
  CHECK(file.media == MediaKind::text);
  CHECK(file.name == "caf\xEF\xBF\xBD.txt");
  CHECK(file.path == path);
}

TEST_CASE("probe: a file that grows meanwhile is refused, however long it grows") {
  const MediaFolder folder;
  const auto path = folder.write("log", std::string(8U << 20U, 'a'));
  std::atomic<bool> stop = false;
  std::atomic<bool> started = false;
  std::thread writer([&] {
    std::ofstream out(path, std::ios::app | std::ios::binary);
    while (!stop) {
      out << "more" << std::flush;
      started = true;
    }
  });
  while (!started) std::this_thread::yield();
  const std::string code = error_code([&] { probe_input(path, "log"); });
  stop = true;
  writer.join();
  CHECK(code == "input.changed");
}

TEST_CASE("utf8: invalid parts become one U+FFFD each, cuts fall between characters") {
  CHECK(replace_invalid_utf8("a\xC3\xBC\xE2\x82z\xFF\xFE") ==
        "a\xC3\xBC\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(replace_invalid_utf8("\xC0\xAF") == "\xEF\xBF\xBD\xEF\xBF\xBD");
  std::string text = "a\xF0\x9F\x98\x80";
  truncate_utf8(text, 4);
  CHECK(text == "a");
}
