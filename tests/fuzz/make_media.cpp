#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/stages/picture_files.h"
#include "tests/support/sound_maker.h"
#include "tests/support/video_maker.h"

/// Writes one small good file of each kind into a folder, for mutate_media.py to damage:
///
///   reelfolio_make_media FOLDER
namespace {

using namespace reelfolio;

void paint(AVFrame& frame, int index) {
  test::fill(frame, index < 12 ? 60 : 180, 110, 140);
  test::fill(frame, 3 * index % 40, 3 * index % 40 + 8, 235, 128, 128);
}

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  if (!file.flush()) throw std::runtime_error(path.string() + ": cannot be written");
}

void write_films(const std::filesystem::path& folder) {
  test::VideoSpec film;
  film.container = "mp4";
  film.codec = "mpeg4";
  film.b_frames = 2;
  film.rotation = 90;
  test::make_video(folder / "film.mp4", film, 30, paint);
  film.container = "mpegts";
  film.codec = "mpeg2video";
  film.rotation = 0;
  test::make_video(folder / "film.ts", film, 30, paint);
  film.container = "avi";
  film.codec = "mjpeg";
  film.format = AV_PIX_FMT_YUVJ420P;
  film.b_frames = 0;
  test::make_video(folder / "film.avi", film, 30, paint);
  test::SoundFileSpec heard;
  heard.container = "matroska";
  heard.video_s = 1.2;
  heard.tracks = {{.codec = "flac", .seconds = 1.2, .sound = test::tone(440, 0.3)}};
  test::make_sound_file(folder / "heard.mkv", heard);
}

void write_sounds(const std::filesystem::path& folder) {
  for (const auto& [name, container, codec, rate] : {std::tuple{"sound.wav", "wav", "pcm_s16le", 16000},
                                                     {"sound.flac", "flac", "flac", 44100},
                                                     {"sound.ogg", "ogg", "libopus", 48000},
                                                     {"sound.m4a", "mp4", "aac", 48000}}) {
    test::SoundFileSpec spec;
    spec.container = container;
    spec.tracks = {
        {.codec = codec, .rate = rate, .channels = 2, .seconds = 1, .sound = test::tone(330, 0.5)}};
    test::make_sound_file(folder / name, spec);
  }
}

void write_pictures(const std::filesystem::path& folder) {
  const engine::RgbImage picture = stages::test_picture();
  write(folder / "picture.png", stages::png_file(picture, true, stages::exif_block(6, true)));
  write(folder / "picture.jpg",
        stages::jpeg_file(picture, {.progressive = true, .exif = stages::exif_block(3, false)}));
  write(folder / "picture.webp", stages::webp_file(picture));
  stages::write_tiff(folder / "picture.tiff", {stages::tiff_page(picture), stages::tiff_page(picture)});
  write(folder / "picture.bmp", stages::bmp_file(picture));
  write(folder / "moving.gif", stages::gif_file(3));
  write(folder / "picture.ppm", "P6\n3 2\n255\nabcdefghijklmnopqr");
}

void write_documents(const std::filesystem::path& folder) {
  write(folder / "page.pdf",
        "%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
        "2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n"
        "3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Contents 4 0 R"
        " /Resources << /Font << /F 5 0 R >> >> >>\nendobj\n"
        "4 0 obj\n<< /Length 58 >>\nstream\nBT /F 18 Tf 20 40 Td (Invoice A-17) Tj ET 10 10 50 20 re "
        "f\n\nendstream\n"
        "endobj\n5 0 obj\n<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>\nendobj\n"
        "trailer << /Size 6 /Root 1 0 R >>\n%%EOF\n");
  write(folder / "page.html",
        "<html><body><h1>Title</h1><p>Words &amp; more.<ul><li>one<li>two</ul></body></html>\n");
  write(folder / "spoken.srt",
        "1\n00:00:01,000 --> 00:00:02,500\nHello there.\n\n2\n00:00:03,000 --> 00:00:04,000\nBye.\n");
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
    return 2;
  }
  try {
    const std::filesystem::path folder = arguments[1];
    std::filesystem::create_directories(folder);
    write_films(folder);
    write_sounds(folder);
    write_pictures(folder);
    write_documents(folder);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
